"""docker exec: one more process in a container that runs, and health checks, which are such processes.

See "Exec" of the Docker Engine API, and HEALTHCHECK in the Dockerfile reference.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import web

from kit.engine import asked
from kit.engine.asked import Refused, bad, conflict, missing
from kit.engine.container import Container
from kit.engine.logs import stamp
from kit.engine.options import words
from kit.engine.streams import STDERR, STDOUT, Audience, Client, Stdio, ready, take_over
from kit.images.documents import Document

if TYPE_CHECKING:
    from kit.containers.container import Running
    from kit.engine.server import Engine

_KEPT = 50  # that have ended, and can still be asked for their status
_CREATE: Document = {
    **dict.fromkeys("Tty AttachStdin AttachStdout AttachStderr Detach".split(), bool),
    **dict.fromkeys("User WorkingDir DetachKeys Container".split(), str),  # the last is in the path
    "Env": [str], "Cmd": [str], "ConsoleSize": [int],
}  # fmt: skip
DETACH = "ctrl-p,ctrl-q"  # the keys that end an attachment to a terminal


async def end_of(process: Running) -> int:
    """The exit status of a process, once it has ended: its pidfd becomes readable then. See pidfd_open(2)."""
    await ready(process.pidfd)
    return await asyncio.to_thread(process.wait)


class Run:
    """One process that was added to a container."""

    def __init__(self, container: Container, document: Document, engine: Engine | None = None) -> None:
        self.container, self.document, self.engine = container, document, engine
        self.id = secrets.token_hex(32)
        self.terminal = bool(document.get("Tty"))
        self.audience = Audience()
        self.process: Running | None = None
        self.stdio: Stdio | None = None
        self.status: int | None = None
        self.ended = asyncio.Event()

    @property
    def running(self) -> bool:
        return self.process is not None and self.status is None

    async def start(self, size: tuple[int, int] | None = None) -> None:
        """Start it; raises KernelError naming the step."""
        from kit import containers

        container, document = self.container, self.document
        task = container.task
        if task is None or container.state["Paused"]:
            raise conflict(f"Container {container.id} is {'paused' if task else 'not running'}")
        stdio = self.stdio = Stdio(self.terminal, bool(document.get("AttachStdin")))

        def begin() -> Any:
            process: Document = {"args": document["Cmd"]}
            process["env"] = [*task.config["process"]["env"], *(document.get("Env") or [])]
            if document.get("WorkingDir"):
                process["cwd"] = document["WorkingDir"]
            if document.get("User"):
                process["user"] = containers.user(container.disk.path, document["User"])
            stdin, stdout, stderr = stdio.theirs
            return task.exec(process, tty=self.terminal, size=size, stdin=stdin, stdout=stdout, stderr=stderr)

        try:
            process: Running = await asyncio.to_thread(begin)
        except BaseException as error:
            stdio.close()
            self.status = 126 if getattr(error, "errno", 0) != 2 else 127
            self.ended.set()
            raise
        self.process = process
        stdio.begin(self.audience, process.master)
        self._job = asyncio.create_task(self._wait(process, stdio))

    async def _wait(self, process: Running, stdio: Stdio) -> None:
        status = await end_of(process)
        await stdio.end()
        self.status = status
        self.audience.end()
        self.ended.set()
        if self.engine:
            self.engine.life.tell(self.container, "exec_die", execID=self.id, exitCode=str(status))
        await asyncio.to_thread(process.close)

    def kill(self) -> None:
        if self.process and self.running:
            self.process.kill(signal.SIGKILL)

    def inspect(self) -> Document:
        """GET /exec/{id}/json."""
        program, *arguments = self.document["Cmd"]
        streams = {
            f"Open{name}": bool(self.document.get(f"Attach{name}")) for name in ("Stdin", "Stdout", "Stderr")
        }
        process = {"entrypoint": program, "arguments": arguments, "user": self.document.get("User") or ""}
        return {
            "ID": self.id, "ContainerID": self.container.id, "Running": self.running, "ExitCode": self.status,
            "Pid": self.process.pid if self.process else 0, **streams, "CanRemove": False, "DetachKeys": "",
            "ProcessConfig": {"tty": self.terminal, "privileged": False, **process},
        }  # fmt: skip


def _find(engine: Engine, request: web.Request) -> Run:
    name = request.match_info["id"]
    for container in engine.containers:
        if name in container.execs:
            return container.execs[name]
    raise missing(f"No such exec instance: {name}")


@asked.route("POST", "/containers/{id}/exec")
async def create_exec(engine: Engine, request: web.Request) -> web.Response:
    container, document = engine.find(request), await asked.body(request)
    document["Cmd"] = words(document.get("Cmd"))
    asked.known(document, _CREATE)
    detach_keys(document.get("DetachKeys") or DETACH)
    if not document["Cmd"]:
        raise bad("No exec command specified")
    if not container.running or container.state["Paused"]:
        raise conflict(f"Container {container.id} is {'paused' if container.running else 'not running'}")
    run = Run(container, document, engine)
    for old in [one for one in container.execs.values() if one.ended.is_set()][:-_KEPT]:
        del container.execs[old.id]
    container.execs[run.id] = run
    engine.life.tell(container, f"exec_create: {' '.join(document['Cmd'])}", execID=run.id)
    return asked.reply({"Id": run.id}, status=201)


@asked.route("POST", "/exec/{id}/start")
async def start_exec(engine: Engine, request: web.Request) -> web.StreamResponse:
    run, document = _find(engine, request), await asked.body(request)
    asked.known(document, {"Detach": bool, "Tty": bool, "ConsoleSize": [int]})
    if run.process is not None or run.ended.is_set():
        raise conflict(f"exec {run.id} has been started already")
    size = document.get("ConsoleSize") or run.document.get("ConsoleSize")
    if document.get("Detach"):
        run.document["AttachStdin"] = False
        await _begin(engine, run, size)
        return web.Response()
    raw = bool(document.get("Tty"))  # what the client expects, whether there is a terminal or not
    response, incoming = await take_over(request, raw)
    named = {STDOUT: "AttachStdout", STDERR: "AttachStderr"}
    wanted = {stream for stream, key in named.items() if run.document.get(key)}
    client = Client(response, wanted, raw)
    run.audience.clients.add(client)
    try:
        await _begin(engine, run, size)
    except (Refused, OSError, ValueError) as error:
        text = f"OCI runtime exec failed: {error}\r\n"
        await client.hear(STDOUT if STDOUT in wanted else STDERR, text.encode())
        return response
    keys = run.document.get("DetachKeys") or DETACH
    await attached(client, incoming, run if run.document.get("AttachStdin") else None, keys)
    return response


async def _begin(engine: Engine, run: Run, size: list[int] | None) -> None:
    await run.start((size[0], size[1]) if size else None)
    engine.life.tell(run.container, f"exec_start: {' '.join(run.document['Cmd'])}", execID=run.id)


@asked.route("POST", "/exec/{id}/resize")
async def resize_exec(engine: Engine, request: web.Request) -> web.Response:
    return resized(request, _find(engine, request).process)


def resized(request: web.Request, process: Running | None) -> web.Response:
    """Set the size of a terminal. Raises Refused."""
    rows, columns = asked.number(request, "h"), asked.number(request, "w")
    if process is None or process.master < 0 or not rows or not columns:
        raise conflict("there is no terminal now, or h and w are missing")
    process.resize(int(rows), int(columns))
    return web.Response()


@asked.route("GET", "/exec/{id}/json")
async def inspect_exec(engine: Engine, request: web.Request) -> object:
    return _find(engine, request).inspect()


def detach_keys(text: str) -> bytes:
    """What a terminal sends for keys like "ctrl-p,ctrl-q" or "a". Raises Refused."""
    found = b""
    for key in text.split(","):
        control = key.removeprefix("ctrl-")
        if not key.isascii() or len(control) != 1:
            raise bad(f"detachKeys: {key!r:.40} is no key: one is a letter, or like ctrl-p")
        found += bytes([ord(control) & 31 if key != control else ord(control)])
    return found


async def attached(
    client: Client,
    incoming: asyncio.StreamReader,
    process: Run | Container | None,
    keys: str,
    once: bool = True,
) -> None:
    """Pass on what a client types until the process ends; ``once``: the input ends with the client's.

    At a terminal ``keys`` end the attachment, and the process goes on.
    """
    terminal, sequence = process is not None and process.terminal, detach_keys(keys)

    async def listen() -> None:
        held = b""  # what may be the beginning of the keys
        try:
            while data := await incoming.read(65536):
                data, detached = held + data, b""
                if terminal:
                    data, detached, _ = data.partition(sequence)
                    sizes = range(min(len(sequence), len(data) + 1))
                    held = max((sequence[:n] for n in sizes if data.endswith(sequence[:n])), key=len)
                    data = data.removesuffix(held)
                if data:
                    await begun(data)
                if detached:
                    client.gone.set()
        except ConnectionError:  # the client has gone
            client.gone.set()
        if once and not terminal:  # a terminal can be attached to again
            await begun(b"")

    async def begun(data: bytes) -> None:
        if isinstance(process, Container):
            await process.started.wait()  # a client attaches before it starts the container
        if process and process.stdio:
            await process.stdio.write(data) if data else process.stdio.close_stdin()

    typing = asyncio.create_task(listen())
    await client.gone.wait()
    typing.cancel()


_RESULTS, _LONGEST = 5, 4096  # results, and characters of each


class _Ear(Client):
    """Keeps the beginning of what is printed."""

    def __init__(self) -> None:
        self.heard, self.gone = bytearray(), asyncio.Event()

    async def hear(self, stream: int, data: bytes) -> None:
        self.heard += data[: _LONGEST - len(self.heard)]


async def watch(engine: Engine, container: Container, check: Document) -> None:
    """Check until the container ends."""
    kind, *command = check.get("Test") or ["NONE"]
    if kind == "NONE" or not command:
        return
    if kind == "CMD-SHELL":
        command = ["/bin/sh", "-c", command[0]]
    interval, timeout = (float(check.get(name) or 30e9) / 1e9 for name in ("Interval", "Timeout"))
    grace, early = (float(check.get(name) or 0) / 1e9 for name in ("StartPeriod", "StartInterval"))
    began = time.monotonic()
    health = container.state["Health"] = {"Status": "starting", "FailingStreak": 0, "Log": []}
    while not container.stopped.is_set():
        with suppress(TimeoutError):
            starting = health["Status"] == "starting" and time.monotonic() - began < grace
            await asyncio.wait_for(container.stopped.wait(), early or 5.0 if starting else interval)
            return
        result, before = await _probe(container, command, timeout), health["Status"]
        health["Log"] = [*health["Log"], result][-_RESULTS:]
        if result["ExitCode"] == 0:
            health |= {"FailingStreak": 0, "Status": "healthy"}
        elif before != "starting" or time.monotonic() - began >= grace:
            health["FailingStreak"] += 1
            if health["FailingStreak"] >= (check.get("Retries") or 3):
                health["Status"] = "unhealthy"
        if health["Status"] != before:
            engine.life.tell(container, f"health_status: {health['Status']}")


async def _probe(container: Container, command: list[str], timeout: float) -> Document:
    start, run, ear = stamp(), Run(container, {"Cmd": command}), _Ear()
    try:
        run.audience.clients.add(ear)
        await run.start()
        await asyncio.wait_for(run.ended.wait(), timeout)
        status = run.status or 0
    except TimeoutError:
        run.kill()
        status = -1
        ear.heard[:] = f"Health check exceeded timeout ({timeout:g}s)".encode()
    except Exception as error:  # the check itself can't be run: that is a result too
        status, ear.heard[:] = -1, str(error).encode()
    said = ear.heard.decode("utf-8", "replace")
    return {"Start": start, "End": stamp(), "ExitCode": status, "Output": said}
