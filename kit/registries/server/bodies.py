"""Bodies of requests and answers, a piece at a time: no blob is whole in memory, nothing waits for a disk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import BinaryIO

from aiohttp import web

from kit.registries.server.errors import ErrorAnswer

IDLE = 60.0  # seconds that a client may be silent in the middle of a body
_PIECE = 512 * 1024  # bytes of an answer: few trips to a thread, and room for many clients


async def pieces(request: web.Request) -> AsyncIterator[bytes]:
    """A request's body as it comes; status 408 for a client that falls silent."""
    while True:
        try:
            async with asyncio.timeout(IDLE):
                piece = await request.content.readany()
        except TimeoutError:
            what = f"nothing came for {IDLE:.0f} seconds"
            raise ErrorAnswer(408, "BLOB_UPLOAD_INVALID", what) from None
        if not piece:
            return
        yield piece


async def give(
    request: web.Request,
    digest: str,
    file: BinaryIO,
    size: int,
    more: Callable[[int], Awaitable[int]] | None = None,
) -> web.StreamResponse:
    """The answer to a request for a blob of ``size`` bytes, or for a range of it. See RFC 9110, "Range".

    Where the file still grows, ``more`` waits until it has more than so many bytes, and says how many. This
    is not by sendfile(2), which would leave the copying to the client, and that has a hash to compute.
    """
    headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
    ranged = "Range" in request.headers
    try:
        sent, end, _ = request.http_range.indices(size)
    except ValueError:
        sent = end = size
    if ranged and sent >= end:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
    if ranged:
        headers["Content-Range"] = f"bytes {sent}-{end - 1}/{size}"
    headers |= {"Accept-Ranges": "bytes", "Content-Length": str(end - sent)}
    response = web.StreamResponse(status=206 if ranged else 200, headers=headers)
    if request.method == "HEAD":
        return response
    if more:
        await more(min(sent, size - 1))
    await response.prepare(request)
    try:
        while sent < end:
            there = min(end, await more(sent)) if more else end
            data = await asyncio.to_thread(os.pread, file.fileno(), min(_PIECE, there - sent), sent)
            if not data:
                raise OSError(f"{file.name} has become shorter")
            await response.write(data)
            sent += len(data)
    except (ErrorAnswer, OSError):  # too late for another answer: this one is cut short
        if request.transport:
            request.transport.abort()
    return response
