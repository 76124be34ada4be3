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


class NetworkApi:
    """The requests that concern networks."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.networks = engine, engine.networks

    def routes(self) -> asked.Routes:
        return [
            ("GET", "/networks", self.list),
            ("POST", "/networks/create", self.create),
            ("POST", "/networks/prune", self.prune),
            ("GET", "/networks/{id}", self.inspect),
            ("DELETE", "/networks/{id}", self.delete),
            ("POST", "/networks/{id}/connect", self.connect),
            ("POST", "/networks/{id}/disconnect", self.disconnect),
        ]

    def _users(self, name: str) -> list[Container]:
        return [one for one in self.engine.containers if one.plugged and name in one.plugged.endpoints]

    def _shown(self, about: Document, whole: bool = True) -> Document:
        inside: Document = {}
        for one in self._users(about["Name"]) if whole else ():
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

    async def list(self, request: web.Request) -> object:
        wanted = asked.filters(request, ("name", "id", "label", "driver", "type", "scope", "dangling"))
        found = [
            one
            for one in self.networks.known.values()
            if any(text in one["Name"] for text in wanted.get("name", [""]))
            and any(one["Id"].startswith(text) for text in wanted.get("id", [""]))
            and one["Driver"] in wanted.get("driver", [one["Driver"]])
            and asked.labelled(one.get("Labels"), wanted.get("label", ()))
            and wanted.get("type", [""])[0] in ("", "builtin" if one["Name"] in FIXED else "custom")
            and wanted.get("scope", ["local"]) == ["local"]
            and ("dangling" not in wanted or (self._users(one["Name"]) == [] and one["Name"] not in FIXED))
        ]
        return [self._shown(one, whole=False) for one in found]

    async def inspect(self, request: web.Request) -> object:
        return self._shown(self.networks.find(request.match_info["id"]))

    async def create(self, request: web.Request) -> web.Response:
        document = await asked.body(request)
        types = {
            "Name": str,
            "Driver": str,
            "Internal": bool,
            "IPAM": dict,
            "Labels": dict,
            "EnableIPv6": bool,
        }
        asked.check(document, types)
        name, pools = document.get("Name") or "", (document.get("IPAM") or {}).get("Config") or []
        if not name or "/" in name:
            raise bad(f"{name!r:.60} can't name a network")
        if name in self.networks.known:
            raise conflict(f"network with name {name} already exists")
        if (
            document.get("EnableIPv6")
            or document.get("Ingress")
            or document.get("ConfigOnly")
            or len(pools) > 1
        ):
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
        self.networks.known[name] = about
        try:
            await asyncio.to_thread(self.networks.make, name)
        except BaseException:
            del self.networks.known[name]
            raise
        self.engine.events.tell("network", "create", about["Id"], {"name": name, "type": "bridge"})
        return asked.reply({"Id": about["Id"], "Warning": ""}, status=201)

    async def delete(self, request: web.Request) -> None:
        about = self.networks.find(request.match_info["id"])
        name = about["Name"]
        if name in FIXED:
            raise Refused(403, f"{name} is a pre-defined network and cannot be removed")
        if users := self._users(name):
            raise Refused(403, f"network {name} has active endpoints: {', '.join(one.name for one in users)}")
        await self._remove(about)

    async def _remove(self, about: Document) -> None:
        await asyncio.to_thread(self.networks.remove, about["Name"])
        self.engine.events.tell("network", "destroy", about["Id"], {"name": about["Name"], "type": "bridge"})

    async def prune(self, request: web.Request) -> object:
        wanted = asked.filters(request, ("label",))
        wished = {name for one in self.engine.containers for name in one.document["Networks"]}
        removed = []
        for name, about in list(self.networks.known.items()):
            labelled = asked.labelled(about.get("Labels"), wanted.get("label", ()))
            if name not in FIXED and name not in wished and labelled:
                await self._remove(about)
                removed.append(name)
        return {"NetworksDeleted": removed or None}

    async def connect(self, request: web.Request) -> web.Response:
        name = self.networks.find(request.match_info["id"])["Name"]
        document = await asked.body(request)
        asked.check(document, {"Container": str, "EndpointConfig": dict})
        container = self.engine.find(document.get("Container") or "")
        wish, networks = document.get("EndpointConfig") or {}, container.document["Networks"]
        async with container.lock:
            if name in networks:
                raise Refused(403, f"endpoint with name {container.name} already exists in network {name}")
            if name in ("host", "none") or not network_of(container.host.get("NetworkMode") or ""):
                raise bad("a container with the host's network, or another container's, has no others")
            if container.plugged:
                await asyncio.to_thread(self.networks.connect, container, container.plugged, name, wish)
                self.engine.life.files(container)  # its name server may be another one now
            networks[name] = wish
            container.save()
        self.engine.events.tell(
            "network", "connect", self.networks.known[name]["Id"], {"container": container.id}
        )
        return web.Response()

    async def disconnect(self, request: web.Request) -> web.Response:
        name = self.networks.find(request.match_info["id"])["Name"]
        document = await asked.body(request)
        asked.check(document, {"Container": str, "Force": bool})
        container = self.engine.find(document.get("Container") or "")
        async with container.lock:
            if name not in container.document["Networks"]:
                raise Refused(403, f"container {container.id} is not connected to network {name}")
            if container.plugged and name in container.plugged.endpoints:
                endpoint = container.plugged.endpoints.pop(name)
                await asyncio.to_thread(endpoint.network.disconnect, endpoint)
            del container.document["Networks"][name]
            container.save()
        self.engine.events.tell(
            "network", "disconnect", self.networks.known[name]["Id"], {"container": container.id}
        )
        return web.Response()
