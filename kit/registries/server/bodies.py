"""Bodies of requests and answers, a piece at a time: no blob is whole in memory, nothing waits for a disk."""

from __future__ import annotations

import asyncio

from aiohttp import StreamReader, web

from kit.images import documents
from kit.linux.errors import KernelError
from kit.registries.server.errors import ErrorAnswer
from kit.registries.server.mirror import Download
from kit.registries.server.uploads import Upload

IDLE = 60.0  # seconds that a client may be silent in the middle of a body
CHUNK = 1 << 20  # bytes


async def receive(request: web.Request, upload: Upload) -> None:
    """Append a request's body: while a thread writes and hashes one piece, the next one comes.

    What came before a cut stays, so that the client can go on. Where the disk is full, it does not. Refuses a
    Content-Range that is not the next one, or not what came.
    """
    expected = upload.expect(request.headers.get("Content-Range"), request.content_length)
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
    if expected is not None and upload.size - before != expected:
        what = f"{upload.size - before} bytes came, and the Content-Range has {expected}"
        await asyncio.to_thread(upload.truncate, before)
        raise ErrorAnswer("SIZE_INVALID", what)


async def document(request: web.Request) -> bytes:
    """The body of a request that is short enough for a manifest; SIZE_INVALID with status 413 for others."""
    what = f"a manifest has at most {documents.LIMIT:,} bytes"
    if (request.content_length or 0) > documents.LIMIT:
        raise ErrorAnswer("SIZE_INVALID", what, status=413)
    data = bytearray()
    while piece := await _piece(request.content):
        data += piece
        if len(data) > documents.LIMIT:
            raise ErrorAnswer("SIZE_INVALID", what, status=413)
    return bytes(data)


async def _piece(content: StreamReader) -> bytes:
    try:
        async with asyncio.timeout(IDLE):
            return await content.readany()
    except TimeoutError:
        what = f"nothing came for {IDLE:.0f} seconds"
        raise ErrorAnswer("BLOB_UPLOAD_INVALID", what, status=408) from None


async def follow(coming: Download, request: web.Request, response: web.StreamResponse) -> None:
    """Hand on the bytes of a download as they come. Where it fails, the answer is cut short."""
    await coming.more(min(0, coming.size - 1))
    await response.prepare(request)
    sent = 0
    try:
        while sent < coming.size:
            ready = await coming.more(sent)
            data = await asyncio.to_thread(coming.read, sent, min(CHUNK, ready - sent))
            await response.write(data)
            sent += len(data)
    except (ErrorAnswer, KernelError):  # too late for another answer
        if request.transport:
            request.transport.abort()
