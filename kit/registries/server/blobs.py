"""The endpoints for blobs: end-2, end-4 to end-6, end-10, end-11, end-13 and end-14 of the OCI
distribution-spec, "Pulling blobs" and "Pushing blobs".
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from kit.linux.errors import KernelError
from kit.registries.server.bodies import give, pieces
from kit.registries.server.errors import ErrorAnswer
from kit.registries.server.mirror import MIRROR
from kit.registries.server.repositories import STORE, Repository, checked_digest, repository_of
from kit.registries.server.upload import Upload, resume
from kit.registries.server.upload import begin as new

UPLOADS = web.AppKey("uploads", dict[tuple[str, str], Upload])
_KEPT = 1000  # uploads whose hash is at hand


async def get(request: web.Request) -> web.StreamResponse:
    """end-2: a blob or a range of it, or only its headers."""
    repository, wanted = repository_of(request), checked_digest(request.match_info["digest"])
    if (mirror := request.app[MIRROR]) and not repository.has(wanted):
        size = await asyncio.to_thread(mirror.blob, repository, wanted)
        if not repository.has(wanted):
            return await mirror.hand_on(request, repository, wanted, size)
    _check(repository, wanted)
    if request.method == "HEAD":  # who asks so may push a manifest that needs it
        repository.touch(wanted)
    with repository.store.path(wanted).open("rb") as file:
        return await give(request, wanted, file, os.fstat(file.fileno()).st_size)


async def delete(request: web.Request) -> web.StreamResponse:
    """end-10: the repository has it no longer; its bytes go when they are collected."""
    repository, wanted = repository_of(request), checked_digest(request.match_info["digest"])
    _check(repository, wanted)
    repository.unlink(wanted)
    return web.Response(status=202)


def _check(repository: Repository, wanted: str) -> None:
    if not repository.has(wanted):
        what = f"the repository {repository.name} has no blob {wanted}"
        raise ErrorAnswer(404, "BLOB_UNKNOWN", what, detail={"digest": wanted})


# Uploads


async def begin(request: web.Request) -> web.StreamResponse:
    """end-4a: an upload begins; end-4b: with all of it; end-11: a blob that another repository has."""
    repository, query = repository_of(request), request.query
    if "mount" in query:
        wanted = checked_digest(query["mount"])
        source = Repository(request.app[STORE], query["from"]) if "from" in query else None
        if await asyncio.to_thread(repository.mount, wanted, source):
            return _created(repository, wanted)
    expected = checked_digest(query["digest"]) if "digest" in query else None
    upload = await asyncio.to_thread(new, repository)
    if not expected:
        return web.Response(status=202, headers=upload.progress())
    try:
        await receive(request, upload)
        await asyncio.to_thread(upload.commit, expected)
    finally:
        upload.cancel()  # the client does not know it, so it can't go on with it
    return _created(repository, expected)


async def progress(request: web.Request) -> web.StreamResponse:
    """end-13: how much has come."""
    return web.Response(status=204, headers=_upload(request).progress())


async def append(request: web.Request) -> web.StreamResponse:
    """end-5: the next chunk, or all of the rest."""
    async with _held(request) as upload:
        await receive(request, upload)
        return web.Response(status=202, headers=upload.progress())


async def end(request: web.Request) -> web.StreamResponse:
    """end-6: maybe a last chunk, and the digest of the whole."""
    async with _held(request) as upload:
        digest = checked_digest(request.query.get("digest", ""))
        await receive(request, upload)
        await asyncio.to_thread(upload.commit, digest)
        return _created(upload.repository, digest)


async def cancel(request: web.Request) -> web.StreamResponse:
    """end-14: the client gives up."""
    async with _held(request) as upload:
        upload.cancel()
        return web.Response(status=204)


def _upload(request: web.Request) -> Upload:
    """The upload that a request names, the same one for all requests, since it has the hash and the lock."""
    repository, id = repository_of(request), request.match_info["id"]
    known, key = request.app[UPLOADS], (repository.name, id)
    if key not in known:
        if len(known) >= _KEPT:  # forget those that nobody writes to: their files stay
            for idle in [one for one, upload in known.items() if not upload.lock.locked()]:
                del known[idle]
        known[key] = resume(repository, id)
    known[key].check()
    return known[key]


@asynccontextmanager
async def _held(request: web.Request) -> AsyncIterator[Upload]:
    """The upload that a request names, for this request alone; another may have ended it before."""
    upload = _upload(request)
    async with upload.lock:
        upload.check()
        yield upload


def _created(repository: Repository, digest: str) -> web.Response:
    headers = {"Location": f"/v2/{repository.name}/blobs/{digest}", "Docker-Content-Digest": digest}
    return web.Response(status=201, headers=headers)


async def receive(request: web.Request, upload: Upload) -> None:
    """Append a request's body; while a thread writes and hashes a piece of it, the next one comes.

    What came before a cut stays, so that the client can go on. Where the disk is full, it does not. Refuses a
    Content-Range that is not the next one, or not what came.
    """
    before, content_range = upload.size, request.headers.get("Content-Range")
    after = upload.after(content_range) if content_range is not None else None
    try:
        async for piece in pieces(request):
            await asyncio.to_thread(upload.write, piece)
    except KernelError:
        await asyncio.to_thread(upload.truncate, before)
        raise
    if after is not None and upload.size != after:
        what = f"{upload.size - before} bytes came, and the Content-Range has {after - before}"
        await asyncio.to_thread(upload.truncate, before)
        raise ErrorAnswer(400, "SIZE_INVALID", what)
