"""Networks, as the Docker Engine API tells of them, and containers plugged in. See network_namespaces(7).

What a network is called and which subnet it has stands in <data root>/networks.json; its bridge is made when
the first container needs it, and goes with the engine.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from kit.engine import asked
from kit.engine.asked import Refused, bad, conflict, missing
from kit.engine.logs import stamp
from kit.engine.options import ports
from kit.images.documents import Document
from kit.linux.clone import CLONE_NEWNET
from kit.linux.libc import call, libc

if TYPE_CHECKING:
    from kit.containers.networks import Endpoint, Network, Published
    from kit.engine.container import Container
    from kit.engine.server import Engine


def _users(engine: Engine, name: str) -> list[Container]:
    return [one for one in engine.containers if one.plugged and name in one.plugged.endpoints]


def _shown(engine: Engine, about: Document, whole: bool = True) -> Document:
    inside: Document = {}
    for one in _users(engine, about["Name"]) if whole else ():
        assert one.plugged
        endpoint = one.plugged.settings()[about["Name"]]
        inside[one.id] = {
            "Name": one.name, "EndpointID": endpoint["EndpointID"], "MacAddress": endpoint["MacAddress"],
            "IPv4Address": f"{endpoint['IPAddress']}/{endpoint['IPPrefixLen']}", "IPv6Address": "",
        }  # fmt: skip
    pool = {key: about[key] for key in ("Subnet", "Gateway") if about.get(key)}
    return {
        **{key: about[key] for key in ("Name", "Id", "Created", "Driver")}, "Scope": "local",
        "IPAM": {"Driver": "default", "Options": {}, "Config": [pool] if pool else []},
        "Internal": bool(about.get("Internal")), "Attachable": bool(about.get("Attachable")),
        "EnableIPv6": False, "Ingress": False, "ConfigFrom": {"Network": ""}, "ConfigOnly": False,
        "Containers": inside, "Options": {}, "Labels": about.get("Labels") or {},
    }  # fmt: skip


@asked.route("GET", "/networks")
async def list_networks(engine: Engine, request: web.Request) -> object:
    tests = {
        "name": lambda one, text: text in one["Name"],
        "id": lambda one, text: one["Id"].startswith(text),
        "driver": lambda one, text: one["Driver"] == text,
        "label": lambda one, text: asked.labelled(one.get("Labels"), text),
    }
    return [
        _shown(engine, one, False) for one in asked.chosen(request, engine.networks.known.values(), tests)
    ]


@asked.route("GET", "/networks/{id}")
async def inspect_network(engine: Engine, request: web.Request) -> object:
    return _shown(engine, engine.networks.find(request.match_info["id"]))


@asked.route("POST", "/networks/create")
async def create_network(engine: Engine, request: web.Request) -> web.Response:
    document = await asked.body(request)
    types = {"Name": str, "Driver": str, "Internal": bool, "IPAM": dict, "Labels": dict, "Options": dict}
    asked.check(document, types)
    name, pools = document.get("Name") or "", (document.get("IPAM") or {}).get("Config") or []
    if not name or "/" in name:
        raise bad(f"{name!r:.60} can't name a network")
    if name in engine.networks.known:
        raise conflict(f"network with name {name} already exists")
    if document.get("EnableIPv6") or document.get("Ingress") or document.get("ConfigOnly") or len(pools) > 1:
        raise bad("networks have one IPv4 subnet here: no EnableIPv6, Ingress, ConfigOnly")
    if document.get("Driver") not in (None, "", "default", "bridge"):
        raise bad(f"network driver {document['Driver']!r:.40}: there is bridge")
    if document.get("Options"):
        raise bad("the driver bridge takes no options here")
    pool = pools[0] if pools else {}
    if others := pool.keys() - {"Subnet", "Gateway"}:
        raise bad(f"the engine does not have the option IPAM.Config.{min(others)}")
    about = {"Name": name, "Id": secrets.token_hex(32), "Driver": "bridge", "Created": stamp(), **pool}
    about |= {key: document.get(key) for key in ("Internal", "Attachable", "Labels")}
    engine.networks.known[name] = about
    try:
        await asyncio.to_thread(engine.networks.make, name)
    except BaseException:
        del engine.networks.known[name]
        raise
    engine.events.tell("network", "create", about["Id"], {"name": name, "type": "bridge"})
    return asked.reply({"Id": about["Id"], "Warning": ""}, status=201)


@asked.route("DELETE", "/networks/{id}")
async def delete_network(engine: Engine, request: web.Request) -> None:
    about = engine.networks.find(request.match_info["id"])
    name = about["Name"]
    if name in FIXED:
        raise Refused(403, f"{name} is a pre-defined network and cannot be removed")
    if users := _users(engine, name):
        raise Refused(403, f"network {name} has active endpoints: {', '.join(one.name for one in users)}")
    await _remove(engine, about)


async def _remove(engine: Engine, about: Document) -> None:
    await asyncio.to_thread(engine.networks.remove, about["Name"])
    engine.events.tell("network", "destroy", about["Id"], {"name": about["Name"], "type": "bridge"})


@asked.route("POST", "/networks/prune")
async def prune_networks(engine: Engine, request: web.Request) -> object:
    tests = {"label": lambda one, text: asked.labelled(one.get("Labels"), text)}
    used = {*FIXED, *(name for one in engine.containers for name in one.document["Networks"])}
    found = asked.chosen(request, engine.networks.known.values(), tests)
    unused = [about for about in found if about["Name"] not in used]
    for about in unused:
        await _remove(engine, about)
    return {"NetworksDeleted": [about["Name"] for about in unused] or None}


@asked.route("POST", "/networks/{id}/{action:connect|disconnect}")
async def replug(engine: Engine, request: web.Request) -> web.Response:
    """Plug a container in, or pull it out; one that does not run will have it so at its start."""
    about, document = engine.networks.find(request.match_info["id"]), await asked.body(request)
    asked.check(document, {"Container": str, "EndpointConfig": dict, "Force": bool})
    container, name = engine.find(document.get("Container") or ""), about["Name"]
    wish, wishes, action = document.get("EndpointConfig") or {}, container.document["Networks"], "connect"
    if not network_of(container.host["NetworkMode"]) or name in ("host", "none"):
        raise bad("a container with the host's network, or another container's, has no others")
    async with container.lock:
        plugged = container.plugged
        if request.match_info["action"] == action:
            if name in wishes:
                raise Refused(403, f"endpoint with name {container.name} already exists in network {name}")
            if plugged:
                await asyncio.to_thread(engine.networks.connect, container, plugged, name, wish)
                engine.life.files(container)  # its name server may be another one now
            wishes[name] = wish
        else:
            action = "disconnect"
            if name not in wishes:
                raise Refused(403, f"container {container.id} is not connected to network {name}")
            if plugged and name in plugged.endpoints:
                endpoint = plugged.endpoints.pop(name)
                await asyncio.to_thread(endpoint.network.disconnect, endpoint)
            del wishes[name]
        container.save()
    engine.events.tell("network", action, about["Id"], {"container": container.id, "name": name})
    return web.Response()


FIXED = {"bridge": "bridge", "host": "host", "none": "null"}  # name -> driver


def _new_namespace() -> int:
    """A descriptor of a new network namespace, which lasts as long as somebody has one."""
    found: list[int | OSError] = []

    def run() -> None:  # in a thread that ends: unshare(2) moves only the one that calls it
        try:
            call(libc.unshare, CLONE_NEWNET)
            found.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


class Plugged:
    """A running container's network: its namespace, its endpoints by network, its published ports."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.path = f"/proc/{os.getpid()}/fd/{fd}"
        self.endpoints: dict[str, Endpoint] = {}
        self.published: dict[str, list[Published]] = {}

    def settings(self) -> dict[str, Document]:
        """The endpoints, as `docker inspect` has them."""
        return {
            name: {
                "NetworkID": one.network.id, "EndpointID": one.id, "Gateway": one.network.gateway,
                "IPAddress": one.ip, "IPPrefixLen": int(one.network.subnet.partition("/")[2]),
                "MacAddress": one.mac, "DNSNames": list(one.names),
            }
            for name, one in self.endpoints.items()
        }  # fmt: skip

    def ports(self) -> Document:
        """The published ports, as `docker inspect` has them."""
        return {
            name: [{"HostIp": one.host_ip, "HostPort": str(one.host_port)} for one in found]
            for name, found in self.published.items()
        }

    def close(self) -> None:
        """Unplug everything."""
        for found in self.published.values():
            for one in found:
                one.close()
        for endpoint in self.endpoints.values():
            endpoint.network.disconnect(endpoint, ended=True)
        self.published, self.endpoints = {}, {}
        os.close(self.fd)


class Networks:
    """All networks: ``known`` are their documents by name, ``made`` those that have a bridge now."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.known: dict[str, Document] = json.loads(file.read_bytes()) if file.exists() else {}
        self.made: dict[str, Network] = {}
        self._lock = threading.RLock()
        for name, driver in FIXED.items():
            if name not in self.known:
                about = {"Name": name, "Id": secrets.token_hex(32), "Driver": driver}
                self.known[name] = {**about, "Created": stamp()}

    def save(self) -> None:
        temporary = self.file.with_name(".networks.json")
        fresh = {name: {"Subnet": None, "Gateway": None} if name in FIXED else {} for name in self.known}
        temporary.write_text(json.dumps({name: {**one, **fresh[name]} for name, one in self.known.items()}))
        os.replace(temporary, self.file)

    def find(self, text: str) -> Document:
        """By name, id or the beginning of an id; raises Refused."""
        text = "bridge" if text == "default" else text
        if text in self.known:
            return self.known[text]
        fits = [one for one in self.known.values() if text and one["Id"].startswith(text)]
        if len(fits) != 1:
            raise missing(f"network {text} not found") if not fits else bad(f"network {text} is ambiguous")
        return fits[0]

    def make(self, name: str) -> Network:
        """Its bridge, made if it isn't there."""
        from kit.containers.networks import Network

        with self._lock:
            if name not in self.made:
                about = self.find(name)
                wish = about.get("Subnet"), about.get("Gateway"), bool(about.get("Internal"))
                network = Network.create(name, *wish, id=about["Id"])
                self.made[name] = network
                about |= {"Subnet": network.subnet, "Gateway": network.gateway}
                self.save()
            return self.made[name]

    def remove(self, name: str) -> None:
        with self._lock:
            if name in self.made:
                self.made.pop(name).close()
            del self.known[name]
            self.save()

    def close(self) -> None:
        """Remove all bridges."""
        with self._lock:
            while self.made:
                self.made.popitem()[1].close()

    def plug(self, container: Container) -> Plugged:
        """A network namespace for a container that is about to start, on all of its networks."""
        plugged = Plugged(_new_namespace())
        try:
            for name, wish in container.document["Networks"].items():
                if name != "none":
                    self.connect(container, plugged, name, wish)
            self._publish(container, plugged)
        except BaseException:
            plugged.close()
            raise
        return plugged

    def connect(self, container: Container, plugged: Plugged, name: str, wish: Mapping[str, Any]) -> None:
        """Plug it into one more network."""
        names = [container.name, container.id[:12], *(wish.get("Aliases") or ())]
        wanted = (wish.get("IPAMConfig") or {}).get("IPv4Address") or None
        network = self.make(name)
        plugged.endpoints[name] = network.connect(
            plugged.path, ip=wanted, aliases=dict.fromkeys(names), mac=wish.get("MacAddress") or None
        )

    def _publish(self, container: Container, plugged: Plugged) -> None:
        from kit.containers.networks import publish

        wanted = ports(container.host, container.config.get("ExposedPorts") or {})
        ways = [one for one in plugged.endpoints.values() if not one.network.internal]
        for name, host_ip, host_port in wanted if ways else ():
            number, _, protocol = name.partition("/")
            found = publish(host_ip, host_port, ways[0].ip, int(number), protocol)
            plugged.published.setdefault(name, []).append(found)


def network_of(mode: str) -> str:
    """The network that a NetworkMode means; "" for another container's or the host's."""
    if mode in ("", "default"):
        return "bridge"
    return "" if mode == "host" or mode.startswith("container:") else mode
