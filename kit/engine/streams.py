"""Bytes that flow: taken-over connections, progress, bodies for threads, and a process's standard streams.

A client that attaches asks for an "Upgrade: tcp"; after the answer 101 the connection is no longer HTTP's:
what the client writes is standard input, until it shuts down its writing side; what it reads is output, in
frames where there is no terminal. See the Docker Engine API, "Attach to a container", and shutdown(2).
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import select
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web

from kit.engine.asked import message_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from kit.engine.logs import Log

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


_PIECE = 65536
_PATIENCE = 2.0  # seconds that output may still come after the process's end


class Client:
    """One who is attached: an answer that output is written to. ``gone`` is set when it ends."""

    def __init__(self, response: web.StreamResponse, streams: set[int], terminal: bool) -> None:
        self.response, self.streams, self.terminal = response, streams, terminal
        self.gone = asyncio.Event()

    async def hear(self, stream: int, data: bytes) -> None:
        """Pass output on; a client that is slow slows the container down, as a slow terminal would."""
        if stream in self.streams and not self.gone.is_set():
            try:
                await self.response.write(data if self.terminal else frame(stream, data))
            except (ConnectionError, RuntimeError):  # it went away
                self.gone.set()


class Audience:
    """Who hears a process: its log, if it has one, and the clients that are attached."""

    def __init__(self, log: Log | None = None) -> None:
        self.log = log
        self.clients: set[Client] = set()

    async def hear(self, stream: int, data: bytes) -> None:
        if self.log:
            self.log.write(stream, data)
        for client in tuple(self.clients):
            await client.hear(stream, data)

    def end(self) -> None:
        """Nothing more will come."""
        if self.log:
            self.log.end()
        for client in self.clients:
            client.gone.set()


class Stdio:
    """The two ends of a process's streams: ``theirs`` are descriptors for it, and closed once it has them."""

    def __init__(self, terminal: bool, stdin: bool) -> None:
        self.terminal = terminal
        self._pumps: list[asyncio.Task[None]] = []
        self._writer: asyncio.WriteTransport | None = None
        self._ours: list[int] = []
        self._stdin = -1
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        if terminal:  # the runtime makes it; these are not used then
            self.theirs = [nothing, os.dup(nothing), os.dup(nothing)]
            return
        if stdin:
            os.close(nothing)
            nothing, self._stdin = os.pipe()
        (out, out_write), (err, err_write) = os.pipe(), os.pipe()
        self.theirs, self._ours = [nothing, out_write, err_write], [out, err]

    def close(self) -> None:
        """Let go of all ends; the process never began."""
        for fd in (*self.theirs, *self._ours, *([self._stdin] if self._stdin >= 0 else [])):
            os.close(fd)
        self.theirs, self._ours, self._stdin = [], [], -1

    async def begin(self, audience: Audience, master: int | None) -> None:
        """Pass on all that comes, from the pipes or from the terminal's ``master``."""
        if master is not None:
            self._ours, self._stdin = [os.dup(master)], os.dup(master)
        for fd in self.theirs:
            os.close(fd)
        loop = asyncio.get_running_loop()
        if self._stdin >= 0:
            self._writer, self._flow = await loop.connect_write_pipe(_Flow, os.fdopen(self._stdin, "wb", 0))
        for stream, fd in zip((STDOUT, STDERR), self._ours, strict=False):
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            pipe, _ = await loop.connect_read_pipe(lambda: protocol, os.fdopen(fd, "rb", 0))  # noqa: B023
            self._pumps.append(asyncio.create_task(_pump(reader, pipe, stream, audience.hear)))
        self.theirs, self._ours, self._stdin = [], [], -1

    async def write(self, data: bytes) -> None:
        """To standard input, as fast as it is read; nothing once that is closed."""
        if self._writer and not self._writer.is_closing():
            self._writer.write(data)
            await self._flow.open.wait()

    def close_stdin(self) -> None:
        """The end of standard input."""
        if self._writer:
            self._writer.close()

    async def end(self) -> None:
        """The process has ended: wait for what it has printed before, then let go of everything."""
        if self._writer and not self._flow.lost:
            self._writer.abort()
        if self._pumps:
            _, late = await asyncio.wait(self._pumps, timeout=_PATIENCE)
            for pump in late:
                pump.cancel()


class _Flow(asyncio.BaseProtocol):
    """Whether standard input takes more: ``open`` is set while it does, ``lost`` once it is closed."""

    def __init__(self) -> None:
        self.open, self.lost = asyncio.Event(), False
        self.open.set()

    def pause_writing(self) -> None:
        self.open.clear()

    def resume_writing(self) -> None:
        self.open.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self.open.set()


async def _pump(
    reader: asyncio.StreamReader,
    pipe: asyncio.ReadTransport,
    stream: int,
    hear: Callable[[int, bytes], Awaitable[None]],
) -> None:
    try:
        while data := await reader.read(_PIECE):
            await hear(stream, data)
    except OSError:  # EIO: a terminal that nobody has open any more
        return
    finally:
        pipe.close()
