"""The server's side of the OCI distribution-spec 1.1: a method here for each of its endpoints (end-1 …).

The event loop only moves bytes between sockets; what touches the disk or computes a hash runs in a thread.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from aiohttp import StreamReader, web

from kit.images import documents
from kit.images.descriptor import OCI_INDEX, Descriptor, algorithm_of, digest_of
from kit.images.store import Store
from kit.linux.errors import KernelError
from kit.registries import manifests, uploads
from kit.registries.errors import ErrorAnswer
from kit.registries.mirror import Download, Mirror
from kit.registries.repositories import Repository, digest, is_tag
from kit.registries.uploads import Upload

IDLE = 60.0  # seconds that a client may be silent in the middle of a body
_CHUNK = 1 << 20  # bytes
FETCHED = web.RequestKey("fetched", int)  # bytes that a mirror got to answer this request


class Api:
    """The endpoints of a registry that keeps its content in ``store``, as routes of an application."""

    def __init__(self, store: Store, mirror: Mirror | None = None) -> None:
        self.store, self.mirror = store, mirror
        self._uploads: dict[tuple[str, str], Upload] = {}

    def routes(self) -> list[web.RouteDef]:
        """The table of the specification."""
        name = "/v2/{name:.+}"
        upload = f"{name}/blobs/uploads/{{id}}"
        return [
            web.get("/v2/", self.base),
            web.get("/v2", self.base),
            web.post(f"{name}/blobs/uploads{{slash:/?}}", self.begin),
            web.get(upload, self.progress),
            web.patch(upload, self.append),
            web.put(upload, self.end),
            web.delete(upload, self.cancel),
            web.get(f"{name}/blobs/{{digest}}", self.blob),
            web.delete(f"{name}/blobs/{{digest}}", self.delete_blob),
            web.get(f"{name}/manifests/{{reference}}", self.manifest),
            web.put(f"{name}/manifests/{{reference}}", self.put_manifest),
            web.delete(f"{name}/manifests/{{reference}}", self.delete_manifest),
            web.get(f"{name}/tags/list", self.tags),
            web.get(f"{name}/referrers/{{digest}}", self.referrers),
        ]

    async def base(self, request: web.Request) -> web.StreamResponse:
        """end-1: whoever gets this answer speaks to a registry, and is known to it."""
        return web.json_response({})

    # Blobs

    async def blob(self, request: web.Request) -> web.StreamResponse:
        """end-2: a blob or a range of it, by sendfile(2), or only its headers."""
        repository, wanted = self._repository(request), digest(request.match_info["digest"])
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": wanted}
        if not repository.has(wanted) and self.mirror:
            size = await asyncio.to_thread(self.mirror.blob, repository, wanted)
            if not repository.has(wanted):
                return await self._mirrored(request, repository, wanted, size, headers)
        if not repository.has(wanted):
            raise _no_blob(repository, wanted)
        if request.method == "HEAD":  # who asks so may push a manifest that needs it
            repository.touch(wanted)
        return web.FileResponse(self.store.path(wanted), _CHUNK, headers=headers)

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
            return web.FileResponse(self.store.path(wanted), _CHUNK, headers=headers)
        response = web.StreamResponse(headers={**headers, "Content-Length": str(size)})
        await _follow(coming, request, response)
        return response

    async def delete_blob(self, request: web.Request) -> web.StreamResponse:
        """end-10: the repository has it no longer; its bytes go when they are collected."""
        repository, wanted = self._repository(request), digest(request.match_info["digest"])
        if not repository.has(wanted):
            raise _no_blob(repository, wanted)
        repository.unlink(wanted)
        return web.Response(status=202)

    # Uploads

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """end-4a: an upload begins; end-4b: with all of it; end-11: a blob that another repository has."""
        repository, query = self._repository(request), request.query
        if "mount" in query:
            wanted = digest(query["mount"])
            source = Repository(self.store, query["from"]) if "from" in query else None
            if await asyncio.to_thread(repository.mount, wanted, source):
                return _created(repository, wanted)
        if expected := query.get("digest"):
            digest(expected)
        upload = await asyncio.to_thread(uploads.begin, repository)
        self._uploads[repository.name, upload.id] = upload
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
        upload = await self._upload(request)
        async with upload.lock:
            await _receive(request, upload)
            return web.Response(status=202, headers=upload.progress())

    async def end(self, request: web.Request) -> web.StreamResponse:
        """end-6: maybe a last chunk, and the digest of the whole."""
        upload = await self._upload(request)
        if "digest" not in request.query:
            raise ErrorAnswer(
                "DIGEST_INVALID", "an upload ends with its digest: PUT <location>?digest=<digest>"
            )
        return await self._end(request, upload, digest(request.query["digest"]))

    async def _end(self, request: web.Request, upload: Upload, expected: str) -> web.StreamResponse:
        async with upload.lock:
            await _receive(request, upload)
            self._forget(upload)
            await asyncio.to_thread(upload.commit, expected)
        return _created(upload.repository, expected)

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """end-14: the client gives up."""
        upload = await self._upload(request)
        async with upload.lock:
            self._forget(upload)
            upload.cancel()
        return web.Response(status=204)

    async def _upload(self, request: web.Request) -> Upload:
        repository, name = self._repository(request), request.match_info["id"]
        key = repository.name, name
        if key in self._uploads and not self._uploads[key].path.exists():  # a collector took it for abandoned
            del self._uploads[key]
        if key not in self._uploads:
            found = await asyncio.to_thread(uploads.resume, repository, name)
            self._uploads.setdefault(key, found)
        return self._uploads[key]

    def _forget(self, upload: Upload) -> None:
        self._uploads.pop((upload.repository.name, upload.id), None)

    # Manifests

    async def manifest(self, request: web.Request) -> web.StreamResponse:
        """end-3: a manifest, byte for byte as it was pushed."""
        repository, reference = self._repository(request), request.match_info["reference"]
        if self.mirror:
            request[FETCHED] = await asyncio.to_thread(self.mirror.manifest, repository, reference)
        found = await asyncio.to_thread(repository.find, reference)
        data = await asyncio.to_thread(self.store.read, found)
        headers = {"Content-Type": found.media_type, "Docker-Content-Digest": found.digest}
        return web.Response(body=data, headers={**headers, "ETag": f'"{found.digest}"'})

    async def put_manifest(self, request: web.Request) -> web.StreamResponse:
        """end-7: a manifest whose parts are there, by a tag, or by its digest with any number of tags."""
        repository, reference = self._repository(request), request.match_info["reference"]
        by_digest = ":" in reference
        tags = request.query.getall("tag", []) if by_digest else [reference]
        for tag in tags:
            if not is_tag(tag):
                form = "it has up to 128 letters, digits, '_', '.', '-', and begins with none of the last two"
                raise ErrorAnswer("MANIFEST_INVALID", f"{tag[:150]!r} is no tag: {form}")
        algorithm = algorithm_of(digest(reference)) if by_digest else "sha256"
        data = await _document(request)
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
            kept = self.store.put(data, media_type, algorithm)
            repository.put(Descriptor(media_type, kept.digest, kept.size), list(tags))
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
        if not repository.exists():
            raise ErrorAnswer("NAME_UNKNOWN", f"nothing was ever pushed to {repository.name}")
        found = sorted(
            one for one in repository.references() if ":" not in one and one > request.query.get("last", "")
        )
        headers = {}
        if (text := request.query.get("n")) is not None:
            if not text.isdecimal():
                raise ErrorAnswer("UNSUPPORTED", f"n is a number of tags, and not {text[:50]!r}", status=400)
            rest, found = found[int(text) :], found[: int(text)]
            if rest and found:
                link = f"/v2/{repository.name}/tags/list?n={text}&last={quote(found[-1])}"
                headers["Link"] = f'<{link}>; rel="next"'
        return web.json_response({"name": repository.name, "tags": found}, headers=headers)

    async def referrers(self, request: web.Request) -> web.StreamResponse:
        """end-12: the manifests that have this one as their subject."""
        repository, subject = self._repository(request), digest(request.match_info["digest"])
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


def _no_blob(repository: Repository, wanted: str) -> ErrorAnswer:
    return ErrorAnswer(
        "BLOB_UNKNOWN", f"the repository {repository.name} has no blob {wanted}", detail={"digest": wanted}
    )


def _created(repository: Repository, found: str) -> web.Response:
    headers = {"Location": f"/v2/{repository.name}/blobs/{found}", "Docker-Content-Digest": found}
    return web.Response(status=201, headers=headers)


def _json(document: Any, content_type: str, headers: dict[str, str]) -> web.Response:
    return web.Response(body=json.dumps(document).encode(), headers={**headers, "Content-Type": content_type})


async def _receive(request: web.Request, upload: Upload) -> None:
    """Append a request's body: while a thread writes and hashes one piece, the next one comes.

    What came before a cut stays, so that the client can go on. Where the disk is full, it does not.
    """
    content_range = request.headers.get("Content-Range")
    upload.check_range(content_range, request.content_length)
    before = upload.size
    writing: asyncio.Future[None] | None = None
    try:
        try:
            while data := await _piece(request.content):
                if writing:
                    await writing
                writing = asyncio.ensure_future(asyncio.to_thread(upload.write, data))
        finally:
            if writing:
                await writing
    except KernelError:
        await asyncio.to_thread(upload.truncate, before)
        raise
    if content_range and upload.size - before != _length(content_range):
        what = f"{upload.size - before} bytes came for the Content-Range {content_range}"
        await asyncio.to_thread(upload.truncate, before)
        raise ErrorAnswer("SIZE_INVALID", what)


def _length(content_range: str) -> int:
    first, _, last = content_range.partition("-")
    return int(last) - int(first) + 1


async def _piece(content: StreamReader) -> bytes:
    try:
        async with asyncio.timeout(IDLE):
            return await content.readany()
    except TimeoutError:
        raise ErrorAnswer("BLOB_UPLOAD_INVALID", f"nothing came for {IDLE:.0f} seconds", status=408) from None


async def _document(request: web.Request) -> bytes:
    """A manifest's bytes, which are few."""
    what = f"a manifest has at most {documents.LIMIT:,} bytes"
    if (request.content_length or 0) > documents.LIMIT:
        raise ErrorAnswer("SIZE_INVALID", what, status=413)
    data = bytearray()
    while piece := await _piece(request.content):
        data += piece
        if len(data) > documents.LIMIT:
            raise ErrorAnswer("SIZE_INVALID", what, status=413)
    return bytes(data)


async def _follow(coming: Download, request: web.Request, response: web.StreamResponse) -> None:
    """Hand on the bytes of a download as they come. Where it fails, the answer is cut short."""
    await coming.more(min(0, coming.size - 1))
    await response.prepare(request)
    sent = 0
    try:
        while sent < coming.size:
            ready = await coming.more(sent)
            data = await asyncio.to_thread(coming.read, sent, min(_CHUNK, ready - sent))
            await response.write(data)
            sent += len(data)
    except (ErrorAnswer, KernelError):  # too late for another answer
        if request.transport:
            request.transport.abort()
