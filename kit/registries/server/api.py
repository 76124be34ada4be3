"""The endpoints of the OCI distribution-spec 1.1, as routes; those of content discovery are here themselves.

The event loop only moves bytes between sockets; what reads and writes files or computes a hash runs in a
thread.
"""

from __future__ import annotations

import asyncio
import json
import re
from urllib.parse import quote

from aiohttp import web

from kit.images.descriptor import OCI_INDEX
from kit.registries.server import blobs, manifests
from kit.registries.server.errors import ErrorAnswer
from kit.registries.server.log import FETCHED
from kit.registries.server.mirror import MIRROR, Mirror
from kit.registries.server.repositories import Repository, checked_digest, repository_of

_NUMBER = re.compile(r"[0-9]{1,18}")


def routes() -> list[web.RouteDef]:
    """The table of the specification."""
    name = "/v2/{name:.+}"
    blob, manifest = f"{name}/blobs/{{digest}}", f"{name}/manifests/{{reference}}"
    upload = f"{name}/blobs/uploads/{{id}}"
    return [
        web.get("/v2{slash:/?}", base),
        web.post(f"{name}/blobs/uploads{{slash:/?}}", blobs.begin),
        web.get(upload, blobs.progress),
        web.patch(upload, blobs.append),
        web.put(upload, blobs.end),
        web.delete(upload, blobs.cancel),
        web.get(blob, blobs.get),
        web.delete(blob, blobs.delete),
        web.get(manifest, manifests.get),
        web.put(manifest, manifests.put),
        web.delete(manifest, manifests.delete),
        web.get(f"{name}/tags/list", tags),
        web.get(f"{name}/referrers/{{digest}}", referrers),
    ]


async def base(request: web.Request) -> web.StreamResponse:
    """end-1: whoever gets this answer speaks to a registry, and is known to it."""
    return web.json_response({})


async def tags(request: web.Request) -> web.StreamResponse:
    """end-8: the tags in the order of their characters, ``n`` of them, after ``last``."""
    repository, headers = repository_of(request), {}
    if mirror := request.app[MIRROR]:
        return await _passed_on(request, mirror)
    found = await asyncio.to_thread(_tags, repository, request.query.get("last", ""))
    if (text := request.query.get("n")) is not None:
        if not _NUMBER.fullmatch(text):
            raise ErrorAnswer(400, "UNSUPPORTED", f"n is a number of tags, and not {text[:50]!r}")
        rest, found = found[int(text) :], found[: int(text)]
        if rest and found:
            link = f"/v2/{repository.name}/tags/list?n={text}&last={quote(found[-1])}"
            headers["Link"] = f'<{link}>; rel="next"'
    return web.json_response({"name": repository.name, "tags": found}, headers=headers)


def _tags(repository: Repository, last: str) -> list[str]:
    if not repository.exists():
        raise ErrorAnswer(404, "NAME_UNKNOWN", f"nothing was ever pushed to {repository.name}")
    return sorted(one for one in repository.references() if ":" not in one and one > last)


async def referrers(request: web.Request) -> web.StreamResponse:
    """end-12: the manifests that have this one as their subject, maybe of one ``artifactType`` only."""
    repository, subject = repository_of(request), checked_digest(request.match_info["digest"])
    if mirror := request.app[MIRROR]:
        return await _passed_on(request, mirror)
    found, headers = await asyncio.to_thread(manifests.referrers, repository, subject), {}
    if (wanted := request.query.get("artifactType")) is not None:
        found = [one for one in found if one.get("artifactType") == wanted]
        headers["OCI-Filters-Applied"] = "artifactType"
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
    return web.Response(body=json.dumps(index).encode(), content_type=OCI_INDEX, headers=headers)


async def _passed_on(request: web.Request, mirror: Mirror) -> web.StreamResponse:
    """What only the registry behind a mirror knows."""
    exchange = await asyncio.to_thread(mirror.ask, "GET", request.path_qs)
    request[FETCHED] = len(exchange.body)
    telling = ("Content-Type", "Link", "OCI-Filters-Applied")
    headers = {name: value for name in telling if (value := exchange.headers.get(name))}
    return web.Response(body=exchange.body, headers=headers)
