"""The server's side of the OCI distribution-spec 1.1: a method here, or in ``blobs``, for each endpoint.

The event loop only moves bytes between sockets; what touches the disk or computes a hash runs in a thread.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from aiohttp import web

from kit.images.descriptor import OCI_INDEX, Descriptor, algorithm_of, digest_of
from kit.images.store import Store
from kit.registries.server import bodies, manifests
from kit.registries.server.blobs import FETCHED, Blobs
from kit.registries.server.errors import ErrorAnswer
from kit.registries.server.mirror import Mirror
from kit.registries.server.repositories import Repository, checked_digest, is_tag

_NUMBER = re.compile(r"[0-9]{1,18}")


class Api:
    """The endpoints of a registry that keeps its content in ``store``, as routes of an application."""

    def __init__(self, store: Store, mirror: Mirror | None = None) -> None:
        self.store, self.mirror = store, mirror
        self._blobs = Blobs(store, mirror)

    def routes(self) -> list[web.RouteDef]:
        """The table of the specification."""
        name, blobs = "/v2/{name:.+}", self._blobs
        upload = f"{name}/blobs/uploads/{{id}}"
        return [
            web.get("/v2/", self.base),
            web.get("/v2", self.base),
            web.post(f"{name}/blobs/uploads{{slash:/?}}", blobs.begin),
            web.get(upload, blobs.progress),
            web.patch(upload, blobs.append),
            web.put(upload, blobs.end),
            web.delete(upload, blobs.cancel),
            web.get(f"{name}/blobs/{{digest}}", blobs.get),
            web.delete(f"{name}/blobs/{{digest}}", blobs.delete),
            web.get(f"{name}/manifests/{{reference}}", self.manifest),
            web.put(f"{name}/manifests/{{reference}}", self.put_manifest),
            web.delete(f"{name}/manifests/{{reference}}", self.delete_manifest),
            web.get(f"{name}/tags/list", self.tags),
            web.get(f"{name}/referrers/{{digest}}", self.referrers),
        ]

    async def base(self, request: web.Request) -> web.StreamResponse:
        """end-1: whoever gets this answer speaks to a registry, and is known to it."""
        return web.json_response({})

    # Manifests

    async def manifest(self, request: web.Request) -> web.StreamResponse:
        """end-3: a manifest, byte for byte as it was pushed."""
        repository, reference = self._repository(request), request.match_info["reference"]
        if self.mirror:
            request[FETCHED] = await asyncio.to_thread(self.mirror.manifest, repository, reference)
        found, data = await asyncio.to_thread(self._read, repository, reference)
        headers = {"Content-Type": found.media_type, "Docker-Content-Digest": found.digest}
        return web.Response(body=data, headers={**headers, "ETag": f'"{found.digest}"'})

    def _read(self, repository: Repository, reference: str) -> tuple[Descriptor, bytes]:
        found = repository.find(reference)
        return found, self.store.read(found)

    async def put_manifest(self, request: web.Request) -> web.StreamResponse:
        """end-7: a manifest whose parts are there, by a tag, or by its digest with any number of tags."""
        repository, reference = self._repository(request), request.match_info["reference"]
        by_digest = ":" in reference
        tags = request.query.getall("tag", []) if by_digest else [reference]
        for tag in tags:
            if not is_tag(tag):
                form = "it has up to 128 letters, digits, '_', '.', '-', and begins with none of the last two"
                raise ErrorAnswer("MANIFEST_INVALID", f"{tag[:150]!r} is no tag: {form}")
        algorithm = algorithm_of(checked_digest(reference)) if by_digest else "sha256"
        data = await bodies.document(request)
        found = await asyncio.to_thread(digest_of, data, algorithm)
        if by_digest and found != reference:
            raise ErrorAnswer("DIGEST_INVALID", f"the digest of the {len(data)} bytes that came is {found}")
        content_type = request.headers.get("Content-Type", "").partition(";")[0].strip()
        subject = await asyncio.to_thread(self._keep, repository, data, content_type, algorithm, tags)
        headers = {"Location": f"/v2/{repository.name}/manifests/{found}", "Docker-Content-Digest": found}
        if subject:
            headers["OCI-Subject"] = subject
        if by_digest and tags:
            headers["OCI-Tag"] = ", ".join(tags)
        return web.Response(status=201, headers=headers)

    def _keep(
        self, repository: Repository, data: bytes, content_type: str, algorithm: str, tags: Sequence[str]
    ) -> str:
        with self.store.writing():
            media_type, subject = manifests.check(repository, data, content_type)
            repository.put(self.store.put(data, media_type, algorithm), tags)
        return subject

    async def delete_manifest(self, request: web.Request) -> web.StreamResponse:
        """end-9: a tag, or by digest a manifest with all its tags."""
        repository, reference = self._repository(request), request.match_info["reference"]
        await asyncio.to_thread(repository.delete, reference)
        return web.Response(status=202)

    async def tags(self, request: web.Request) -> web.StreamResponse:
        """end-8: the tags in the order of their characters, ``n`` of them, after ``last``."""
        repository = self._repository(request)
        if self.mirror:
            return await self._passed_on(request)
        found = await asyncio.to_thread(self._tags, repository, request.query.get("last", ""))
        headers = {}
        if (text := request.query.get("n")) is not None:
            if not _NUMBER.fullmatch(text):
                raise ErrorAnswer("UNSUPPORTED", f"n is a number of tags, and not {text[:50]!r}", status=400)
            rest, found = found[int(text) :], found[: int(text)]
            if rest and found:
                link = f"/v2/{repository.name}/tags/list?n={text}&last={quote(found[-1])}"
                headers["Link"] = f'<{link}>; rel="next"'
        return web.json_response({"name": repository.name, "tags": found}, headers=headers)

    def _tags(self, repository: Repository, last: str) -> list[str]:
        if not repository.exists():
            raise ErrorAnswer("NAME_UNKNOWN", f"nothing was ever pushed to {repository.name}")
        return sorted(one for one in repository.references() if ":" not in one and one > last)

    async def referrers(self, request: web.Request) -> web.StreamResponse:
        """end-12: the manifests that have this one as their subject."""
        repository, subject = self._repository(request), checked_digest(request.match_info["digest"])
        if self.mirror:
            return await self._passed_on(request)
        artifact_type = request.query.get("artifactType")
        index = await asyncio.to_thread(manifests.referrers, repository, subject, artifact_type)
        headers = {"OCI-Filters-Applied": "artifactType"} if artifact_type is not None else {}
        return _json(index, OCI_INDEX, headers)

    async def _passed_on(self, request: web.Request) -> web.StreamResponse:
        """What only the registry behind a mirror knows."""
        assert self.mirror is not None
        exchange = await asyncio.to_thread(self.mirror.ask, "GET", request.path_qs)
        request[FETCHED] = len(exchange.body)
        headers = {
            name: value for name in ("Link", "OCI-Filters-Applied") if (value := exchange.headers.get(name))
        }
        return web.Response(
            body=exchange.body, content_type=exchange.headers.get_content_type(), headers=headers
        )

    def _repository(self, request: web.Request) -> Repository:
        return Repository(self.store, request.match_info["name"])


def _json(document: Any, content_type: str, headers: dict[str, str]) -> web.Response:
    return web.Response(body=json.dumps(document).encode(), headers={**headers, "Content-Type": content_type})
