"""The endpoints for blobs: end-2, end-4 to end-6, end-10, end-11, end-13 and end-14 of the specification."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from kit.images.store import Store
from kit.registries.server import bodies, uploads
from kit.registries.server.errors import ErrorAnswer
from kit.registries.server.mirror import Mirror
from kit.registries.server.repositories import Repository, checked_digest
from kit.registries.server.uploads import Upload

FETCHED = web.RequestKey("fetched", int)  # bytes that a mirror got to answer this request
_KEPT = 1000  # uploads that nobody writes to now


class Blobs:
    """Blobs given, taken and forgotten; ``mirror`` gets those that are not there."""

    def __init__(self, store: Store, mirror: Mirror | None) -> None:
        self.store, self.mirror = store, mirror
        self._uploads: dict[tuple[str, str], Upload] = {}

    async def get(self, request: web.Request) -> web.StreamResponse:
        """end-2: a blob or a range of it, by sendfile(2), or only its headers."""
        repository, wanted = self._repository(request), checked_digest(request.match_info["digest"])
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": wanted}
        if not repository.has(wanted) and self.mirror:
            size = await asyncio.to_thread(self.mirror.blob, repository, wanted)
            if not repository.has(wanted):
                return await self._mirrored(request, repository, wanted, size, headers)
        if not repository.has(wanted):
            raise _no_blob(repository, wanted)
        if request.method == "HEAD":  # who asks so may push a manifest that needs it
            repository.touch(wanted)
        return web.FileResponse(self.store.path(wanted), bodies.CHUNK, headers=headers)

    async def _mirrored(
        self, request: web.Request, repository: Repository, wanted: str, size: int, headers: dict[str, str]
    ) -> web.StreamResponse:
        """A blob that comes from another registry: all of it at the pace at which it comes."""
        assert self.mirror is not None
        if request.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(size)})
        coming = self.mirror.download(repository, wanted, size)
        request[FETCHED] = size
        if "Range" in request.headers:
            await coming.more(size - 1)
            return web.FileResponse(self.store.path(wanted), bodies.CHUNK, headers=headers)
        response = web.StreamResponse(headers={**headers, "Content-Length": str(size)})
        await bodies.follow(coming, request, response)
        return response

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """end-10: the repository has it no longer; its bytes go when they are collected."""
        repository, wanted = self._repository(request), checked_digest(request.match_info["digest"])
        if not repository.has(wanted):
            raise _no_blob(repository, wanted)
        repository.unlink(wanted)
        return web.Response(status=202)

    # Uploads

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """end-4a: an upload begins; end-4b: with all of it; end-11: a blob that another repository has."""
        repository, query = self._repository(request), request.query
        if "mount" in query:
            wanted = checked_digest(query["mount"])
            source = Repository(self.store, query["from"]) if "from" in query else None
            if await asyncio.to_thread(repository.mount, wanted, source):
                return _created(repository, wanted)
        if expected := query.get("digest"):
            checked_digest(expected)
        upload = await asyncio.to_thread(uploads.begin, repository)
        self._remember(upload)
        if not expected:
            return web.Response(status=202, headers=upload.progress())
        try:
            return await self._end(request, upload, expected)
        except BaseException:  # the client does not know the upload, so it can't go on with it
            self._forget(upload)
            upload.cancel()
            raise

    async def progress(self, request: web.Request) -> web.StreamResponse:
        """end-13: how much has come."""
        upload = await self._upload(request)
        return web.Response(status=204, headers=upload.progress())

    async def append(self, request: web.Request) -> web.StreamResponse:
        """end-5: the next chunk, or all of the rest."""
        async with self._held(request) as upload:
            await bodies.receive(request, upload)
            return web.Response(status=202, headers=upload.progress())

    async def end(self, request: web.Request) -> web.StreamResponse:
        """end-6: maybe a last chunk, and the digest of the whole."""
        async with self._held(request) as upload:
            if "digest" not in request.query:
                what = "an upload ends with its digest: PUT <location>?digest=<digest>"
                raise ErrorAnswer("DIGEST_INVALID", what)
            return await self._end(request, upload, checked_digest(request.query["digest"]))

    async def _end(self, request: web.Request, upload: Upload, expected: str) -> web.StreamResponse:
        await bodies.receive(request, upload)
        await asyncio.to_thread(upload.commit, expected)
        self._forget(upload)  # not before: nobody may begin with it anew while it becomes a blob
        return _created(upload.repository, expected)

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """end-14: the client gives up."""
        async with self._held(request) as upload:
            await asyncio.to_thread(upload.cancel)
            self._forget(upload)
        return web.Response(status=204)

    async def _upload(self, request: web.Request) -> Upload:
        repository, name = self._repository(request), request.match_info["id"]
        key = repository.name, name
        if key not in self._uploads:
            found = await asyncio.to_thread(uploads.resume, repository, name)
            self._uploads.setdefault(key, found)
        self._uploads[key].check()
        return self._uploads[key]

    @asynccontextmanager
    async def _held(self, request: web.Request) -> AsyncIterator[Upload]:
        """The upload of a request, for this request alone; another may have ended it before."""
        upload = await self._upload(request)
        async with upload.lock:
            upload.check()
            yield upload

    def _remember(self, upload: Upload) -> None:
        """Keep its hash at hand. One that is forgotten meanwhile is read again from its file."""
        idle = [key for key, one in self._uploads.items() if not one.lock.locked()]
        for key in idle[:-_KEPT]:
            del self._uploads[key]
        self._uploads[upload.repository.name, upload.id] = upload

    def _forget(self, upload: Upload) -> None:
        self._uploads.pop((upload.repository.name, upload.id), None)

    def _repository(self, request: web.Request) -> Repository:
        return Repository(self.store, request.match_info["name"])


def _no_blob(repository: Repository, wanted: str) -> ErrorAnswer:
    return ErrorAnswer(
        "BLOB_UNKNOWN", f"the repository {repository.name} has no blob {wanted}", detail={"digest": wanted}
    )


def _created(repository: Repository, found: str) -> web.Response:
    headers = {"Location": f"/v2/{repository.name}/blobs/{found}", "Docker-Content-Digest": found}
    return web.Response(status=201, headers=headers)
