"""Networks, as the Docker Engine API tells of them. See "Networks" of the API."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from aiohttp import web

from kit.engine import asked
from kit.engine.errors import Refused, bad, conflict
from kit.engine.logs import stamp
from kit.engine.plugs import FIXED, network_of
from kit.images.documents import Document

if TYPE_CHECKING:
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


@asked.route("POST", "/networks/{id}/connect")
async def connect_network(engine: Engine, request: web.Request) -> web.Response:
    name = engine.networks.find(request.match_info["id"])["Name"]
    document = await asked.body(request)
    asked.check(document, {"Container": str, "EndpointConfig": dict})
    container = engine.find(document.get("Container") or "")
    wish, networks = document.get("EndpointConfig") or {}, container.document["Networks"]
    async with container.lock:
        if name in networks:
            raise Refused(403, f"endpoint with name {container.name} already exists in network {name}")
        if name in ("host", "none") or not network_of(container.host.get("NetworkMode") or ""):
            raise bad("a container with the host's network, or another container's, has no others")
        if container.plugged:
            await asyncio.to_thread(engine.networks.connect, container, container.plugged, name, wish)
            engine.life.files(container)  # its name server may be another one now
        networks[name] = wish
        container.save()
    engine.events.tell("network", "connect", engine.networks.known[name]["Id"], {"container": container.id})
    return web.Response()


@asked.route("POST", "/networks/{id}/disconnect")
async def disconnect_network(engine: Engine, request: web.Request) -> web.Response:
    name = engine.networks.find(request.match_info["id"])["Name"]
    document = await asked.body(request)
    asked.check(document, {"Container": str, "Force": bool})
    container = engine.find(document.get("Container") or "")
    async with container.lock:
        if name not in container.document["Networks"]:
            raise Refused(403, f"container {container.id} is not connected to network {name}")
        if container.plugged and name in container.plugged.endpoints:
            endpoint = container.plugged.endpoints.pop(name)
            await asyncio.to_thread(endpoint.network.disconnect, endpoint)
        del container.document["Networks"][name]
        container.save()
    engine.events.tell(
        "network", "disconnect", engine.networks.known[name]["Id"], {"container": container.id}
    )
    return web.Response()
