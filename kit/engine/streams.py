"""Bytes that flow while a request lasts: taken-over connections, progress, and threads at a body's other end.

A client that attaches asks for an "Upgrade: tcp"; after the answer 101 the connection is no longer HTTP's:
what the client writes is standard input, until it shuts down its writing side; what it reads is output, in
frames where there is no terminal. See the Docker Engine API, "Attach to a container", and shutdown(2).
"""

from __future__ import annotations

import asyncio
import io
import json
import select
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web

from kit.engine.errors import message_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK = 1 << 20
STDOUT, STDERR = 1, 2
Tell = Callable[[dict[str, Any]], None]


def frame(stream: int, data: bytes) -> bytes:
    """Output with the number of its stream and its length before it."""
    return struct.pack(">BxxxL", stream, len(data)) + data


class Connection(web.RequestHandler):
    """A client's connection. It stays open for the answer when the client has said all that it has to say."""

    ended = False
    incoming: asyncio.StreamReader | None = None

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio has it so, aiohttp never needed it
        self.ended = True
        if self.incoming:
            self.incoming.feed_eof()
        if self.transport is None:
            return False
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), 0)
        return not poll.poll(0)  # POLLHUP: it doesn't read any more either

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Bytes of a connection that was taken over, as :meth:`set_parser` wants them to be taken."""
        assert self.incoming is not None
        if data:
            self.incoming.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        """The connection was lost."""
        assert self.incoming is not None
        self.incoming.set_exception(ConnectionResetError("the client has gone"))


async def take_over(request: web.Request, terminal: bool) -> tuple[web.StreamResponse, asyncio.StreamReader]:
    """Answer, and have the connection: what is written goes out as it is, what comes in is read."""
    kind = "raw" if terminal else "multiplexed"
    headers = {"Content-Type": f"application/vnd.docker.{kind}-stream"}
    upgrade = "Upgrade" in request.headers
    if upgrade:
        headers |= {"Connection": "Upgrade", "Upgrade": "tcp"}
    response = web.StreamResponse(
        status=101 if upgrade else 200, reason="UPGRADED" if upgrade else None, headers=headers
    )
    response.force_close()
    connection = cast(Connection, request.protocol)
    connection.incoming = incoming = asyncio.StreamReader()
    await response.prepare(request)
    if upgrade:
        if request.transport is not None:
            incoming.set_transport(request.transport)
        connection.set_parser(cast(Any, connection))
    if connection.ended or not upgrade:
        incoming.feed_eof()
    return response, incoming


async def progress(request: web.Request, work: Callable[[Tell], None]) -> web.StreamResponse:
    """Answer with what ``work``, in a thread, tells: a JSON object on each line.

    An error before the first one is the answer's own, a later one is told as the last.
    """
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    loop = asyncio.get_running_loop()

    async def put(document: dict[str, Any]) -> None:
        if not response.prepared:
            await response.prepare(request)
        await response.write(json.dumps(document).encode() + b"\r\n")

    def tell(document: dict[str, Any]) -> None:
        asyncio.run_coroutine_threadsafe(put(document), loop).result()

    try:
        await asyncio.to_thread(work, tell)
    except ConnectionError:
        raise
    except Exception as error:
        if not response.prepared:
            raise
        await put({"errorDetail": {"message": message_of(error)}, "error": message_of(error)})
    if not response.prepared:
        await response.prepare(request)
    return response


class _Raw(io.RawIOBase):
    """A body, seen from a thread."""

    def __init__(
        self,
        read: Callable[[int], Awaitable[bytes]] | None = None,
        write: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> None:
        self._read, self._write, self._loop = read, write, asyncio.get_running_loop()

    def readable(self) -> bool:
        return self._read is not None

    def writable(self) -> bool:
        return self._write is not None

    def _wait(self, awaited: Awaitable[Any]) -> Any:
        async def result() -> Any:
            return await awaited

        return asyncio.run_coroutine_threadsafe(result(), self._loop).result()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        assert self._read is not None
        data = self._wait(self._read(len(view)))
        view[: len(data)] = data
        return len(data)

    def write(self, data: Any, /) -> int:
        assert self._write is not None
        self._wait(self._write(bytes(data)))
        return len(data)


def received(request: web.Request) -> io.BufferedReader:
    """The request's body as a file for a thread."""
    return io.BufferedReader(_Raw(read=request.content.read), CHUNK)


async def sent(
    request: web.Request,
    kind: str,
    work: Callable[[io.BufferedWriter], object],
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Answer with what ``work``, in a thread, writes; an error before the first bytes is the answer."""
    response = web.StreamResponse(headers={"Content-Type": kind, **(headers or {})})

    async def put(data: bytes) -> None:
        if not response.prepared:
            await response.prepare(request)
        await response.write(data)

    raw = _Raw(write=put)

    def write() -> None:
        with io.BufferedWriter(cast(Any, raw), CHUNK) as out:
            work(out)

    await asyncio.to_thread(write)
    return response
