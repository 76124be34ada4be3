"""Networks, as the Docker Engine API tells of them, and containers plugged in. See network_namespaces(7).

What a network is called and which subnet it has stands in <data root>/networks.json; its bridge is made when
the first container needs it, and goes with the engine.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import threading
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from kit.engine import asked, options
from kit.engine.asked import Refused, bad, conflict, missing
from kit.engine.logs import stamp
from kit.engine.volumes import LABELS, store
from kit.images.documents import Document

if TYPE_CHECKING:
    from kit.containers.networks import Endpoint, Network, Published
    from kit.engine.container import Container
    from kit.engine.server import Engine

FIXED = {"bridge": "bridge", "host": "host", "none": "null"}  # name -> driver
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{,254}")
_REQUEST: Document = {
    "Name": str, "CheckDuplicate": bool, "Driver": ("", "default", "bridge"), "Scope": ("", "local"),
    "Internal": bool, "Attachable": bool, "Labels": {str: str}, "Options": {},
    "ConfigFrom": {"Network": ("",)},
    "IPAM": {"Driver": ("", "default"), "Options": {}, "Config": [{"Subnet": str, "Gateway": str}]},
}  # fmt: skip


def _users(engine: Engine, name: str) -> list[Container]:
    return [one for one in engine.containers if one.plugged and name in one.plugged.endpoints]


def _shown(engine: Engine, about: Document, whole: bool = True) -> Document:
    """A network, and if it is the ``whole`` truth the containers that are plugged in."""
    inside: Document = {}
    for one in _users(engine, about["Name"]) if whole else ():
        assert one.plugged
        endpoint = one.plugged.settings()[about["Name"]]
        inside[one.id] = {
            "Name": one.name, "EndpointID": endpoint["EndpointID"], "MacAddress": endpoint["MacAddress"],
            "IPv4Address": f"{endpoint['IPAddress']}/{endpoint['IPPrefixLen']}", "IPv6Address": "",
        }  # fmt: skip
    made = engine.networks.made.get(about["Name"])
    has = {**about, **({"Subnet": made.subnet, "Gateway": made.gateway} if made else {})}
    pool = {key: has[key] for key in ("Subnet", "Gateway") if has.get(key)}
    return {
        **{key: about[key] for key in ("Name", "Id", "Created", "Driver")}, "Scope": "local",
        "IPAM": {"Driver": "default", "Options": None, "Config": [pool] if pool else []},
        "Internal": bool(about.get("Internal")), "Attachable": bool(about.get("Attachable")),
        "EnableIPv6": False, "Ingress": False, "ConfigFrom": {"Network": ""}, "ConfigOnly": False,
        "Containers": inside, "Options": {}, "Labels": about.get("Labels") or {},
    }  # fmt: skip


@asked.route("GET", "/networks")
async def list_networks(engine: Engine, request: web.Request) -> object:
    tests = {
        **LABELS,
        "name": lambda one, text: text in one["Name"],
        "id": lambda one, text: text in one["Id"],
        "driver": lambda one, text: one["Driver"] == text,
        "scope": lambda one, text: text == "local",
        "type": lambda one, text: text == ("builtin" if one["Name"] in FIXED else "custom"),
        "dangling": lambda one, text: asked.is_true(text) != (one["Name"] in _used(engine)),
    }
    found = asked.chosen(request, engine.networks.known.values(), tests)
    return [_shown(engine, one, False) for one in found]


def _used(engine: Engine) -> set[str]:
    """The names of those that containers have, and of those that are always there."""
    return {*FIXED, *(name for one in engine.containers for name in one.document["Networks"])}


@asked.route("GET", "/networks/{id}")
async def inspect_network(engine: Engine, request: web.Request) -> object:
    return _shown(engine, engine.networks.find(request.match_info["id"]))


@asked.route("POST", "/networks/create")
async def create_network(engine: Engine, request: web.Request) -> web.Response:
    document = await asked.body(request)
    asked.known(document, _REQUEST)
    name, pools = document.get("Name") or "", (document.get("IPAM") or {}).get("Config") or []
    if not _NAME.fullmatch(name):
        raise bad(f"{name!r:.60} can't name a network: use up to 255 letters, digits, '_', '.' and '-'")
    if name in FIXED:
        raise Refused(403, f"operation is not permitted on predefined {name} network")
    if name in engine.networks.known:
        raise conflict(f"network with name {name} already exists")
    if len(pools) > 1:
        raise bad("a network has one subnet here, of IPv4")
    about = {"Name": name, "Id": secrets.token_hex(32), "Driver": "bridge", "Created": stamp()}
    about |= {key: document.get(key) for key in ("Internal", "Attachable", "Labels")}
    engine.networks.known[name] = about | {key: text for pool in pools for key, text in pool.items()}
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
    def is_older(one: Document, text: str) -> bool:
        return datetime.fromisoformat(one["Created"]).timestamp() < asked.moment(text)

    found = asked.chosen(request, engine.networks.known.values(), {**LABELS, "until": is_older})
    unused = [about for about in found if about["Name"] not in _used(engine)]
    for about in unused:
        await _remove(engine, about)
    return {"NetworksDeleted": [about["Name"] for about in unused] or None}


@asked.route("POST", "/networks/{id}/{action:connect|disconnect}")
async def replug(engine: Engine, request: web.Request) -> web.Response:
    """Plug a container in, or pull it out; one that does not run will have it so at its start."""
    about, document = engine.networks.find(request.match_info["id"]), await asked.body(request)
    asked.known(document, {"Container": str, "Force": bool, "EndpointConfig": dict})
    container, name = engine.find(document.get("Container") or ""), about["Name"]
    wish, wishes = document.get("EndpointConfig") or {}, container.document["Networks"]
    options.endpoint(wish)
    action = request.match_info["action"]
    if not network_of(container.host["NetworkMode"]) or name in ("host", "none"):
        raise Refused(403, f"can't {action}: the host's network, or another container's, is the only one")
    async with container.lock:
        plugged = container.plugged
        if action == "connect":
            if name in wishes:
                raise Refused(403, f"endpoint with name {container.name} already exists in network {name}")
            if plugged:
                await asyncio.to_thread(engine.networks.connect, container, plugged, name, wish)
                await asyncio.to_thread(engine.networks.publish, container, plugged)
                engine.life.files(container)  # its name server may be another one now
            wishes[name] = wish
        else:
            if name not in wishes:
                raise Refused(403, f"container {container.id} is not connected to network {name}")
            if plugged and name in plugged.endpoints:
                await asyncio.to_thread(engine.networks.disconnect, container, plugged, name)
            del wishes[name]
        container.save()
    engine.events.tell("network", action, about["Id"], {"container": container.id, "name": name})
    return web.Response()


class Plugged:
    """The network of a running container or a build: namespace, endpoints by network, published ports."""

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
                "IPAddress": one.ip, "IPPrefixLen": one.network.prefixlen,
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
        self._closed = False
        self._lock = threading.RLock()
        for name, driver in FIXED.items():
            if name not in self.known:
                about = {"Name": name, "Id": secrets.token_hex(32), "Driver": driver}
                self.known[name] = {**about, "Created": stamp()}

    def save(self) -> None:
        store(self.file, self.known)

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
            if self._closed:  # a request that is still at work in a thread
                raise conflict("the engine is closing")
            if name not in self.made:
                about = self.find(name)
                wish = about.get("Subnet") or None, about.get("Gateway") or None, bool(about.get("Internal"))
                network = self.made[name] = Network.create(name, *wish, id=about["Id"])
                if name not in FIXED:  # it has them from now on
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
        """Remove all bridges; there will be no more."""
        with self._lock:
            self._closed = True
            while self.made:
                self.made.popitem()[1].close()

    def plug(self, container: Container) -> Plugged:
        """A network namespace for a container that is about to start, on all of its networks."""
        from kit.linux.netlink import new_namespace

        plugged = Plugged(new_namespace())
        try:
            for name, wish in container.document["Networks"].items():
                if name != "none":
                    self.connect(container, plugged, name, wish)
            self.publish(container, plugged)
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
            plugged.path, ip=wanted, aliases=dict.fromkeys(names), mac=wish.get("MacAddress") or None,
            upstreams=container.host.get("Dns") or (),
        )  # fmt: skip

    def disconnect(self, container: Container, plugged: Plugged, name: str) -> None:
        """Pull it out of a network; ports that led to it there lead to it by another one, if it has one."""
        endpoint = plugged.endpoints.pop(name)
        was = [(port, one) for port, found in plugged.published.items() for one in found]
        if lost := [(port, one) for port, one in was if one.container_ip == endpoint.ip]:
            plugged.published = {}
            for _, one in lost:
                one.close()
        endpoint.network.disconnect(endpoint)
        self.publish(container, plugged, [(port, one.host_ip, one.host_port) for port, one in lost])

    def publish(
        self, container: Container, plugged: Plugged, again: Collection[tuple[str, str, int]] = ()
    ) -> None:
        """Publish its ports, as before or ``again``, by a network that leads outside, unless that is done."""
        from kit.containers.networks import publish

        wanted = again or options.ports(container.host, container.config.get("ExposedPorts") or {})
        ways = [one for one in plugged.endpoints.values() if not one.network.internal]
        for name, host_ip, host_port in wanted if ways and not plugged.published else ():
            number, _, protocol = name.partition("/")
            found = publish(host_ip, host_port, ways[0].ip, int(number), protocol)
            plugged.published.setdefault(name, []).append(found)


def network_of(mode: str) -> str:
    """The network that a NetworkMode means; "" for another container's or the host's."""
    if mode in ("", "default"):
        return "bridge"
    return "" if mode == "host" or mode.startswith("container:") else mode
