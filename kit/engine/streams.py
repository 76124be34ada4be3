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
from contextlib import suppress
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


async def take_over(request: web.Request, raw: bool) -> tuple[web.StreamResponse, asyncio.StreamReader]:
    """Answer, and have the connection: what is written goes out as it is, what comes in is read."""
    headers = {"Content-Type": kind_of(raw)}
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


def kind_of(raw: bool) -> str:
    """The type of an answer that is output: as a terminal gave it, or in frames."""
    return f"application/vnd.docker.{'raw' if raw else 'multiplexed'}-stream"


class _Body(io.RawIOBase):
    """A request's body as a file, or where an answer's is written to, for a thread; asyncio does the work."""

    def __init__(self, request: web.Request, put: Callable[[bytes], Awaitable[Any]] | None = None) -> None:
        self._put, self._take, self._loop = put, request.content.read, asyncio.get_running_loop()

    def _wait(self, awaited: Awaitable[Any]) -> Any:
        async def result() -> Any:
            return await awaited

        return asyncio.run_coroutine_threadsafe(result(), self._loop).result()

    def readable(self) -> bool:
        return self._put is None

    def writable(self) -> bool:
        return self._put is not None

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._wait(self._take(len(view)))
        view[: len(data)] = data
        return len(data)

    def write(self, data: Any, /) -> int:
        assert self._put is not None
        self._wait(self._put(bytes(data)))
        return len(data)


def received(request: web.Request) -> io.BufferedReader:
    """The request's body as a file for a thread."""
    return io.BufferedReader(_Body(request), CHUNK)


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

    raw = _Body(request, put)

    def write() -> None:
        with io.BufferedWriter(cast(Any, raw), CHUNK) as out:
            work(out)

    await asyncio.to_thread(write)
    return response


async def progress(request: web.Request, work: Callable[[Tell], None]) -> web.StreamResponse:
    """Answer with what ``work``, in a thread, tells: a JSON object on each line.

    An error before the first one is the answer's own, a later one is told as the last.
    """

    def told(out: io.BufferedWriter) -> None:
        begun = False

        def tell(document: dict[str, Any]) -> None:
            nonlocal begun
            begun = True
            out.write(json.dumps(document).encode() + b"\r\n")
            out.flush()

        try:
            work(tell)
        except ConnectionError:
            raise
        except Exception as error:
            if not begun:
                raise
            tell({"errorDetail": {"message": message_of(error)}, "error": message_of(error)})

    return await sent(request, "application/json", told)


_PIECE = 65536
_PATIENCE = 2.0  # seconds that output may still come after the process's end


class Client:
    """One who is attached: an answer that output is written to. ``gone`` is set when it ends."""

    def __init__(self, response: web.StreamResponse, streams: set[int], raw: bool) -> None:
        self.response, self.streams, self.raw = response, streams, raw
        self.gone = asyncio.Event()

    async def hear(self, stream: int, data: bytes) -> None:
        """Pass output on; a client that is slow slows the container down, as a slow terminal would."""
        if stream in self.streams and not self.gone.is_set():
            try:
                await self.response.write(data if self.raw else frame(stream, data))
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


async def ready(fd: int, write: bool = False) -> None:
    """Wait until a descriptor can be read, or written to. See epoll(7)."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    (loop.add_writer if write else loop.add_reader)(fd, event.set)
    try:
        await event.wait()
    finally:
        (loop.remove_writer if write else loop.remove_reader)(fd)


class Stdio:
    """The two ends of a process's streams: ``theirs`` are descriptors for it, and closed once it has them."""

    def __init__(self, terminal: bool, stdin: bool) -> None:
        self._pumps: list[asyncio.Task[None]] = []
        self._outs: list[int] = []
        self._stdin = -1
        self._writing: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()  # of those who type
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.theirs = [nothing] * 3
        if not terminal:  # which the runtime makes
            if stdin:
                os.close(nothing)
                nothing, self._stdin = os.pipe()
            (out, out_write), (err, err_write) = os.pipe(), os.pipe()
            self.theirs, self._outs = [nothing, out_write, err_write], [out, err]

    def close(self) -> None:
        """Let go of all ends; the process never began."""
        for fd in {*self.theirs, *self._outs}:
            os.close(fd)
        self.close_stdin()

    def begin(self, audience: Audience, master: int) -> None:
        """Pass on all that comes, from the pipes or from the terminal's ``master`` (-1: there is none)."""
        if master >= 0:
            self._outs, self._stdin = [os.dup(master)], os.dup(master)
        for fd in set(self.theirs):
            os.close(fd)
        if self._stdin >= 0:
            os.set_blocking(self._stdin, False)
        self._pumps = [
            asyncio.create_task(_pump(fd, stream, audience.hear))
            for stream, fd in zip((STDOUT, STDERR), self._outs, strict=False)
        ]

    async def write(self, data: bytes) -> None:
        """To standard input, as fast as it is read; nothing once that is closed."""
        view = memoryview(data)
        async with self._turn:
            while view and self._stdin >= 0:
                self._writing = asyncio.create_task(ready(self._stdin, write=True))
                await self._writing
                try:
                    view = view[os.write(self._stdin, view) :]
                except BlockingIOError:  # a terminal that has room for less than it said
                    continue
                except OSError:  # EPIPE, EIO: nobody reads
                    self.close_stdin()

    def close_stdin(self) -> None:
        """The end of standard input."""
        if self._stdin >= 0:
            if self._writing and not self._writing.done():  # it watches the descriptor
                self._writing.cancel()
                asyncio.get_running_loop().remove_writer(self._stdin)
            os.close(self._stdin)
            self._stdin = -1

    async def end(self) -> None:
        """The process has ended: wait for what it has printed before, then let go of everything."""
        self.close_stdin()
        if self._pumps:
            _, late = await asyncio.wait(self._pumps, timeout=_PATIENCE)
            for pump in late:
                pump.cancel()


async def _pump(fd: int, stream: int, hear: Callable[[int, bytes], Awaitable[None]]) -> None:
    try:
        while True:
            await ready(fd)
            with suppress(BlockingIOError):  # nothing there after all
                if not (data := os.read(fd, _PIECE)):
                    return
                await hear(stream, data)
    except OSError:  # EIO: a terminal that nobody has open any more
        return
    finally:
        os.close(fd)
