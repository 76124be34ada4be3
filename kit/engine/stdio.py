"""A process's standard streams, and everybody who listens to them. See pipe(7), pty(7)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

from aiohttp import web

from kit.engine.logs import Log
from kit.engine.streams import STDERR, STDOUT, frame

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
