"""What a container printed: lines of JSON in a file that is cut into several. See Docker's json-file driver.

    {"log":"hello\\n","stream":"stdout","time":"2026-01-31T12:00:00.123456789Z"}

When the file has ``max-size`` bytes it becomes <file>.1, that <file>.2, and the last of ``max-file`` goes.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from aiohttp import web

from kit.engine import asked
from kit.engine.asked import Refused, bad
from kit.engine.streams import STDERR, STDOUT, frame, kind_of
from kit.images.documents import Document

if TYPE_CHECKING:
    from kit.engine.server import Engine

_SIZE, _FILES = 10 << 20, 3
_BATCH = 256  # lines that are written at once
_LONGEST = 16 << 10  # bytes of a line; a longer one becomes several
_NAMES = {STDOUT: "stdout", STDERR: "stderr"}
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def stamp(nanoseconds: int | None = None) -> str:
    """A time as Docker writes it, to the nanosecond; by default now."""
    now = time.time_ns() if nanoseconds is None else nanoseconds
    return f"{datetime.fromtimestamp(now // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{now % 10**9:09}Z"


def limits(options: Mapping[str, str]) -> tuple[int, int]:
    """Bytes of a file and number of files, from the options max-size and max-file. Raises Refused."""
    if others := options.keys() - {"max-size", "max-file"}:
        raise bad(f"log-opt {min(others)}: there are max-size and max-file")
    size = re.fullmatch(r"([1-9]\d*)([kmg]?)b?", options.get("max-size", str(_SIZE)).lower())
    files = options.get("max-file", str(_FILES))
    if not size or not files.isdecimal() or not 0 < int(files) <= 100:
        raise bad("log-opt max-size is like 10m, and max-file a number from 1 to 100")
    return int(size[1]) * _UNITS[size[2]], int(files)


class Log:
    """A container's log. Written and followed in the engine's loop; the driver "none" keeps nothing."""

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.path, self.kept = path, config.get("Type") != "none"
        self.size, self.files = limits(config.get("Config") or {})
        self.rotations = 0
        self.written = asyncio.Event()  # set and replaced with each write
        self._partial = {STDOUT: b"", STDERR: b""}
        self._file: BinaryIO | None = None

    def write(self, stream: int, data: bytes) -> None:
        """Keep what was printed, a record for each line; the rest waits for its end."""
        *lines, rest = (self._partial[stream] + data).split(b"\n")
        ready = [line + b"\n" for line in lines]
        while len(rest) > _LONGEST:
            ready.append(rest[:_LONGEST])
            rest = rest[_LONGEST:]
        self._partial[stream] = rest
        self._keep(stream, ready)

    def end(self) -> None:
        """Keep what has no end of line, and let go of the file."""
        for stream, rest in self._partial.items():
            self._keep(stream, [rest] if rest else [])
            self._partial[stream] = b""
        if self._file:
            self._file.close()
            self._file = None
        self.wake()

    def wake(self) -> None:
        """Have those who follow look again."""
        self.written.set()
        self.written = asyncio.Event()

    def _keep(self, stream: int, lines: list[bytes]) -> None:
        if not lines or not self.kept:
            return
        about = {"stream": _NAMES[stream], "time": stamp()}
        for start in range(0, len(lines), _BATCH):
            batch = lines[start : start + _BATCH]
            records = [json.dumps({"log": line.decode("utf-8", "replace"), **about}) + "\n" for line in batch]
            if self._file is None:
                self._file = self.path.open("ab", buffering=0)
            self._file.write("".join(records).encode())
            if self._file.tell() > self.size:
                self._rotate(self._file)
        self.wake()

    def _rotate(self, file: BinaryIO) -> None:
        file.close()
        for number in range(self.files - 1, 0, -1):
            with suppress(FileNotFoundError):
                os.replace(self._name(number - 1), self._name(number))
        self._file = self.path.open("wb", buffering=0)
        self.rotations += 1

    def _name(self, age: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{age}") if age else self.path

    def _open(self, age: int) -> BinaryIO | None:
        with suppress(FileNotFoundError):
            return self._name(age).open("rb")
        return None

    def past(self) -> Iterator[tuple[int, bytes]]:
        """All that was printed until now, by stream, the lines that have no end yet included."""
        for record in _parsed([file for age in range(self.files)[::-1] if (file := self._open(age))]):
            yield 1 + (record["stream"] == "stderr"), record["log"].encode()
        yield from ((stream, rest) for stream, rest in self._partial.items() if rest)

    async def records(self, tail: int | None, follow: asyncio.Event | None = None) -> AsyncIterator[Document]:
        """The last ``tail`` records, or all; then, until ``follow`` is set, those to come."""
        files = [file for age in range(self.files - 1, -1, -1) if (file := self._open(age))]
        seen = self.rotations
        for record in await asyncio.to_thread(lambda: deque(_parsed(files), tail)):
            yield record
        file = files[-1] if files else None
        while True:
            for record in _parsed([file] if file else []):
                yield record
            if file is None or seen < self.rotations:
                seen = max(seen + (file is not None), self.rotations - self.files + 1)
                file = self._open(self.rotations - seen)
                if file:
                    continue
            if follow is None or follow.is_set():
                return
            await self.written.wait()


@asked.route("GET", "/containers/{id}/logs")
async def tell_logs(engine: Engine, request: web.Request) -> web.StreamResponse:
    """The lines as they were printed, to standard output and error; ``follow``: those to come too."""
    container = engine.find(request)
    terminal, ended = container.terminal, container.stopped
    wanted = [name for name in _NAMES.values() if asked.flag(request, name)]
    if not wanted:
        raise bad("Bad parameters: you must choose at least one stream")
    if asked.flag(request, "details"):
        raise bad("the engine's logs have no details")
    if not container.log.kept:
        raise Refused(501, "configured logging driver does not support reading")
    tail = request.query.get("tail", "all")
    since, until = asked.number(request, "since") or 0.0, asked.number(request, "until") or float("inf")
    stamped = asked.flag(request, "timestamps")
    response = web.StreamResponse(headers={"Content-Type": kind_of(terminal)})
    await response.prepare(request)
    follow = ended if asked.flag(request, "follow") else None
    async for record in container.log.records(int(tail) if tail.isdecimal() else None, follow):
        then = datetime.fromisoformat(record["time"]).timestamp()
        if record["stream"] not in wanted or then < since:
            continue
        if then > until:
            break
        text = (f"{record['time']} " if stamped else "") + record["log"]
        data = text.encode()
        await response.write(data if terminal else frame(1 + (record["stream"] == "stderr"), data))
    return response


def _parsed(files: list[BinaryIO]) -> Iterator[Document]:
    for file in files:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:  # cut short by the death of the engine
                continue
