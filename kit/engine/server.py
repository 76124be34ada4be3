"""The engine: the Docker Engine API on a Unix socket, in a thread of this program. See unix(7).

    with serve("/run/kit.sock", "/var/lib/kit") as engine:
        ...                                     # DOCKER_HOST=unix:///run/kit.sock docker run hello-world

Its containers die with it, by whatever cause: the helper process (:mod:`kit.linux.helper`) holds them. The
next start says so (exit status 137), removes what is left and starts again what is to be restarted.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import grp
import json
import logging
import os
import socket as sockets
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, cast

from aiohttp import web

from kit.engine import archive, asked, build, containers, execs, images, networks, stats, transfers, wire  # noqa: F401
from kit.engine.asked import bad, message_of, missing, status_of
from kit.engine.container import Container
from kit.engine.events import Events
from kit.engine.life import Life
from kit.engine.networks import Networks
from kit.engine.streams import Connection
from kit.engine.system import API, HEADERS, OLDEST
from kit.engine.volumes import Volumes
from kit.linux.errors import KernelError
from kit.linux.remove import remove_path

_THREADS = 32  # for disks, mounts and registries
_BUFFER = 1 << 18  # bytes of a body that may wait for its thread
_QUIET = logging.Logger("kit.engine", logging.CRITICAL)  # the client hears of its own mistakes, nobody else
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def serve(
    socket: str | Path,
    data_root: str | Path,
    *,
    registry_mirror: str | None = None,
    insecure: Collection[str] = (),
) -> Engine:
    """Start an engine that listens at ``socket`` and keeps everything below ``data_root``; needs root.

    ``registry_mirror`` (a host, or its URL) is asked before the Hub, ``insecure`` are registries that may
    lack TLS. Raises KernelError: EPERM, EADDRINUSE where an engine listens at the socket, EAGAIN where one
    works in the directory.
    """
    mirror = (
        registry_mirror.removeprefix("https://").removeprefix("http://").strip("/") if registry_mirror else ""
    )
    return Engine(Path(socket), Path(data_root).absolute(), [mirror] if mirror else [], insecure)


class Engine:
    """An engine that runs. ``containers`` are those that it knows; ``watch`` tells what its clients say."""

    def __init__(self, socket: Path, root: Path, mirrors: Sequence[str], insecure: Collection[str]) -> None:
        if os.geteuid():
            raise KernelError("start an engine", errno.EPERM, "Be root: sudo.")
        self.socket, self.root, self.mirrors, self.insecure = socket, root, mirrors, insecure
        self.names: dict[str, str] = {}
        self.closing = False
        self._by_id: dict[str, Container] = {}
        self._watchers: list[Callable[[wire.Exchange], None]] = []
        with ExitStack() as cleanup:
            cleanup.callback(os.close, _lock(root))
            self.id = (root / "id").read_text() if (root / "id").exists() else os.urandom(16).hex()
            (root / "id").write_text(self.id)
            self.store = images.Images(root / "images")
            self.volumes, self.networks = Volumes(root / "volumes"), Networks(root / "networks.json")
            listener = _listener(socket)
            cleanup.callback(socket.unlink, missing_ok=True)
            self._loop = asyncio.new_event_loop()
            self._loop.set_default_executor(ThreadPoolExecutor(_THREADS, "engine"))
            thread = threading.Thread(target=self._loop.run_forever, name="engine", daemon=True)
            cleanup.callback(self._end_loop, thread)
            thread.start()
            asyncio.run_coroutine_threadsafe(self._start(listener), self._loop).result()
            self._cleanup = cleanup.pop_all()

    def _end_loop(self, thread: threading.Thread) -> None:
        asyncio.run_coroutine_threadsafe(self._loop.shutdown_default_executor(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        thread.join()
        self._loop.close()

    async def _start(self, listener: sockets.socket) -> None:
        self.events, self.life = Events(), Life(self)
        await asyncio.to_thread(self._load)
        app = web.Application(middlewares=[self._admit], client_max_size=asked.LIMIT)
        heads = {path for method, path, _ in asked.ROUTES if method == "HEAD"}
        for method, path, handler in asked.ROUTES:
            for prefix in ("", r"/v{version:\d+\.\d+}"):
                app.router.add_route(method, prefix + path, self._answering(handler))
                if method == "GET" and path not in heads:
                    app.router.add_route("HEAD", prefix + path, self._answering(handler))
        app.on_response_prepare.append(self._note)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        server = self._runner.server
        assert server is not None

        def connection() -> Connection:
            options = {
                "access_log": None,
                "logger": _QUIET,
                "read_bufsize": _BUFFER,
                "auto_decompress": False,
            }
            return Connection(server, loop=self._loop, **cast(Any, options))

        self._server = await self._loop.create_unix_server(connection, sock=listener, backlog=512)
        for container in self.containers:
            policy = (container.host.get("RestartPolicy") or {}).get("Name")
            by_hand = container.document["StoppedByHand"]
            again = policy == "always" or (policy == "unless-stopped" and not by_hand)
            if again and container.state["StartedAt"] != container.state["FinishedAt"]:
                self._loop.create_task(self._revive(container))

    def _load(self) -> None:
        """Read what there is, and say the truth about what ran when the last engine was killed."""
        from kit import owner

        with suppress(OSError):  # `kit clean` tells why
            owner.clean()  # the mounts, groups and links of engines that died
        directory = self.root / "containers"
        directory.mkdir(mode=0o711, exist_ok=True)
        found = []
        for place in directory.iterdir():
            if not (place / "config.json").exists() or place.name.startswith("."):
                remove_path(place)  # half made or half removed
                continue
            try:
                container = Container(self.store, place, json.loads((place / "config.json").read_bytes()))
            except ValueError:  # a power cut has emptied it: it stays where it is, and is no container
                continue
            if container.running or container.state["Restarting"]:
                container.over(137, error="the engine was killed")
            if container.host.get("AutoRemove") and container.state["Status"] == "exited":
                remove_path(place)
                continue
            with suppress(Exception):  # its image has gone: a start will say so
                container.disk.hold()
            found.append(container)
        for container in sorted(found, key=lambda one: str(one.document["Created"])):
            self.add(container)

    async def _revive(self, container: Container) -> None:
        with suppress(Exception):  # its state tells why
            await self.life.start(container)

    # What there is

    @property
    def containers(self) -> list[Container]:
        """All containers, oldest first."""
        return list(self._by_id.values())

    def add(self, container: Container) -> None:
        self._by_id[container.id] = container
        self.names[container.name] = container.id

    def forget(self, container: Container) -> None:
        self._by_id.pop(container.id, None)
        self.names.pop(container.name, None)

    def find(self, asked_for: str | web.Request) -> Container:
        """By name, id, or the beginning of an id, which a request has in its path; raises Refused."""
        text = (asked_for if isinstance(asked_for, str) else asked_for.match_info["id"]).lstrip("/")
        found = self._by_id.get(self.names.get(text, text))
        if found:
            return found
        fits = [one for one in self._by_id.values() if text and one.id.startswith(text)]
        if len(fits) > 1:
            raise bad(f"{text:.80} begins the ids of {len(fits)} containers: type more digits")
        if not fits:
            raise missing(f"No such container: {text:.80}")
        return fits[0]

    def tell(self, kind: str, action: str, subject: str, attributes: Mapping[str, str] | None = None) -> None:
        """An event, from a thread."""
        self._loop.call_soon_threadsafe(self.events.tell, kind, action, subject, attributes)

    # Requests

    def _answering(self, handler: asked.Handler) -> _Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            found = await handler(self, request)
            if isinstance(found, web.StreamResponse):
                return found
            return web.Response(status=204) if found is None else asked.reply(found)

        return answer

    @web.middleware
    async def _admit(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Whatever goes wrong becomes an answer in the API's form."""
        try:
            wanted = request.match_info.get("version", API)
            if _number(wanted) < _number(OLDEST):
                raise bad(f"client version {wanted} is too old. Minimum supported API version is {OLDEST}")
            if _number(wanted) > _number(API):
                raise bad(f"client version {wanted} is too new. Maximum supported API version is {API}")
            response = await handler(request)
        except web.HTTPException as error:
            text = "page not found" if error.status == 404 else error.text or error.reason
            response = asked.reply({"message": text}, status=error.status)
        except ConnectionError:  # the client went away: nobody hears this answer
            response = web.Response()
        except Exception as error:
            response = asked.reply({"message": message_of(error)}, status=status_of(error))
        if isinstance(request.protocol, Connection) and request.protocol.ended:
            response.force_close()
        return response

    async def _note(self, request: web.Request, response: web.StreamResponse) -> None:
        """Tell the watchers, before the client can have seen the answer."""
        response.headers.update(HEADERS)
        if self._watchers:
            exchange = await wire.exchange(request, response)
            for watcher in self._watchers:
                watcher(exchange)

    def watch(self, hear: Callable[[wire.Exchange], None]) -> Callable[[], None]:
        """Have ``hear`` called, in the engine's thread, with every exchange; call the result to end that."""
        self._watchers.append(hear)
        return lambda: self._watchers.remove(hear)

    # The end

    def close(self, seconds: float = 0.0) -> None:
        """End it and remove what it made; its directory stays.

        Its containers end too: they are sent their stop signals, and ``seconds`` later SIGKILL.
        """
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._end(seconds), self._loop).result()
        self._cleanup.close()

    async def _end(self, seconds: float) -> None:
        self.closing = True
        self._server.close()

        async def end(container: Container) -> None:
            by_hand = container.document["StoppedByHand"]
            with suppress(Exception):  # it has just ended
                await self.life.stop(container, seconds)
            if container.document["StoppedByHand"] != by_hand:  # it wasn't: the next engine may start it
                container.document["StoppedByHand"] = by_hand
                container.save()

        await asyncio.gather(*(end(one) for one in self.containers if one.running))
        jobs = [job for container in self.containers for job in container.jobs]
        if jobs:
            await asyncio.wait(jobs, timeout=5)
        for container in self.containers:
            for job in container.jobs:
                job.cancel()
            container.disk.close()
        await asyncio.gather(*self.life.removals, return_exceptions=True)  # the next start removes the rest
        await asyncio.to_thread(self.networks.close)
        await self._runner.cleanup()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Engine({str(self.socket)!r})"


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _lock(root: Path) -> int:
    """One engine in a directory: see flock(2)."""
    root.mkdir(mode=0o711, parents=True, exist_ok=True)
    fd = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise KernelError(f"work in {root}", errno.EAGAIN, "Another engine does: close it first.") from None
    return fd


def _listener(path: Path) -> sockets.socket:
    """A socket for its owner and the group docker, where there is one; a dead engine's is replaced."""
    listener = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    try:
        if path.is_socket():
            with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
                if probe.connect_ex(str(path)) == 0:
                    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            path.unlink()
        listener.bind(str(path))
        path.chmod(0o660)  # nobody can connect before it listens
        with suppress(KeyError):
            os.chown(path, 0, grp.getgrnam("docker").gr_gid)
        listener.listen(512)
    except OSError as error:
        listener.close()
        remedy = "Its name may have 107 bytes, its directory must be there, and no other engine listen at it."
        raise KernelError(f"listen at {path}", error.errno or errno.EINVAL, remedy) from None
    return listener
