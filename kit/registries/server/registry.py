"""A registry that runs: :mod:`kit.registries.server.api` behind a socket, in a thread of this program.

    with serve(directory) as registry:
        registry.address, registry.log

See aiohttp.web for the server.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from aiohttp import ClientError, web

from kit.images.errors import ImageError
from kit.images.gc import Collected
from kit.images.seed import BASES
from kit.images.seed import seed as make
from kit.images.store import Store
from kit.linux.errors import KernelError
from kit.registries.server.api import routes
from kit.registries.server.auth import Htpasswd, refused
from kit.registries.server.blobs import UPLOADS
from kit.registries.server.collect import HOUR, collect
from kit.registries.server.errors import ErrorAnswer
from kit.registries.server.log import FETCHED, Access, telling
from kit.registries.server.mirror import MIRROR, Mirror
from kit.registries.server.repositories import STORE, Repository, adopt

_THREADS = 16  # for disks and hashes
_BUFFER = 256 * 1024  # bytes of a body that may wait for its thread
_KEPT = 10_000  # requests in the log
_READS = ("GET", "HEAD")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Registry(AbstractContextManager["Registry"]):
    """A registry at ``address``, such as 127.0.0.1:5000; ``log`` has its latest requests, oldest first."""

    def __init__(
        self,
        directory: str | Path,
        listen: str = "127.0.0.1:0",
        *,
        htpasswd: str | Path | None = None,
        tls: tuple[str | Path, str | Path] | None = None,
        mirror_of: str | None = None,
        read_only: bool = False,
        delete: bool = True,
        log: Callable[[Access], None] | None = None,
        seed: bool = False,
    ) -> None:
        """Start a registry that keeps its content in ``directory``; close it, or use it in a ``with`` block.

        ``listen`` is a host and a port, 0 for any. With ``htpasswd`` a push needs a name and a password, a
        pull doesn't. ``tls`` are the files of a certificate and its key. ``mirror_of`` is the URL of a
        registry whose images are fetched as they are asked for; nothing is pushed then. ``log`` hears of each
        request. ``seed`` puts in the base images of chapter 05. Raises ImageError, KernelError, and OSError
        for a file not readable.
        """
        self.store = Store(directory)
        self.mirror = Mirror(mirror_of) if mirror_of else None
        self.log: deque[Access] = deque(maxlen=_KEPT)
        self._users = Htpasswd(htpasswd) if htpasswd else None
        self._tls = _certificate(*tls) if tls else None
        self._read_only, self._delete, self._tell = read_only, delete, log
        if seed:
            put_base_images(self.store)
        adopt(self.store)
        listener = _listener(listen)
        host, port = listener.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(_THREADS, "registry"))
        self._thread = threading.Thread(target=self._loop.run_forever, name="registry", daemon=True)
        self._thread.start()
        self._runner = asyncio.run_coroutine_threadsafe(self._start(listener), self._loop).result()

    @property
    def url(self) -> str:
        """The address with its scheme."""
        return f"{'https' if self._tls else 'http'}://{self.address}"

    def __repr__(self) -> str:
        return f"Registry({self.url!r})"

    def collect(self, younger: float = HOUR) -> Collected:
        """Remove now what no manifest needs, but nothing ``younger`` than so many seconds."""
        return collect(self.store, younger)

    async def _start(self, listener: socket.socket) -> web.AppRunner:
        app = web.Application(middlewares=[self._admit])
        app[STORE], app[MIRROR], app[UPLOADS] = self.store, self.mirror, {}
        app.add_routes(routes())
        app.on_response_prepare.append(self._note)
        runner = web.AppRunner(
            app, access_log=None, read_bufsize=_BUFFER, auto_decompress=False, shutdown_timeout=1.0
        )
        await runner.setup()
        await web.SockSite(runner, listener, ssl_context=self._tls, backlog=512).start()
        self._collector = asyncio.create_task(self._collect())
        return runner

    async def _collect(self) -> None:
        while not self._read_only:
            await asyncio.sleep(HOUR)
            with suppress(ImageError, OSError):  # a damaged image, or a push without end: the next time then
                await asyncio.to_thread(collect, self.store)

    @web.middleware
    async def _admit(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Let a request pass that may; whatever goes wrong becomes an answer in the specification's form."""
        try:
            await self._check(request)
            return await handler(request)
        except ErrorAnswer as error:
            answer = error
        except web.HTTPException as error:  # no such path, or no such method there
            what = f"the specification has no {request.method} {request.path[:300]}"
            headers = {name: value for name, value in error.headers.items() if name == "Allow"}
            answer = ErrorAnswer(error.status, "UNSUPPORTED", what, headers=headers)
        except (ClientError, ConnectionError) as error:  # nobody hears this one
            answer = ErrorAnswer(400, "BLOB_UPLOAD_INVALID", f"the body was cut: {error}")
        except KernelError as error:
            answer = ErrorAnswer(507 if error.errno in _FULL else 500, "UNKNOWN", str(error))
        except (ImageError, OSError) as error:
            answer = ErrorAnswer(500, "UNKNOWN", str(error))
        return answer.response()

    async def _check(self, request: web.Request) -> None:
        credentials = request.headers.get("Authorization")
        reads = request.method in _READS
        if self._users:
            user = await asyncio.to_thread(self._users.check, credentials) if credentials else ""
            # The base path is asked by who wants to know whether its credentials are right.
            if not user and (not reads or request.path.rstrip("/") == "/v2"):
                raise refused("a push needs a name and a password; a pull needs none")
        if not reads and (self._read_only or self.mirror):
            why = f"this is a mirror of {self.mirror.url}" if self.mirror else "this registry is read-only"
            raise ErrorAnswer(405, "UNSUPPORTED", f"{why}: nothing can be pushed or deleted")
        if request.method == "DELETE" and not self._delete and "id" not in request.match_info:
            raise ErrorAnswer(405, "UNSUPPORTED", "nothing can be deleted from this registry")

    async def _note(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add to the log, before the client can have seen the answer."""
        response.headers.update({"Docker-Distribution-API-Version": "registry/2.0", "Server": "kit"})
        access = Access(
            request.method,
            request.path_qs,
            response.status,
            request.content.total_bytes,
            0 if request.method == "HEAD" else response.content_length or 0,
            request.get(FETCHED, 0),
            telling(request.headers.items()),
            telling(response.headers.items()),
        )
        self.log.append(access)
        if self._tell:
            self._tell(access)

    def close(self) -> None:
        """End it: requests under way get a second; what it keeps stays in its directory."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._collector.cancel)
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        if self.mirror:
            self.mirror.close()
        asyncio.run_coroutine_threadsafe(self._loop.shutdown_default_executor(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __exit__(self, *exception: object) -> None:
        self.close()


serve = Registry  # "with serve(directory) as registry"


def put_base_images(store: Store) -> None:
    """Have the base images under the names that the Hub gives them, such as library/busybox:latest."""
    wanted = [name for name in BASES if not Repository(store, f"library/{name}").exists()]
    for name, image in make(store, wanted).items():
        store.change({f"docker.io/library/{name}:latest": None, f"library/{name}:latest": image.descriptor})


def _certificate(crt: str | Path, key: str | Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(crt, key)
    except ssl.SSLError as error:
        what = f"no certificate and key in PEM that belong together: {error.reason or error}"
        raise ImageError(what, f"{crt}, {key}") from None
    return context


def _listener(listen: str) -> socket.socket:
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        what, remedy = f"{listen!r} is no address to listen at", "One is 127.0.0.1:5000, or [::1]:5000."
        raise ImageError(what, remedy=remedy)
    try:
        found = socket.getaddrinfo(host.strip("[]") or "0.0.0.0", int(port), type=socket.SOCK_STREAM)[0]
        return socket.create_server(found[4][:2], family=found[0], backlog=512)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        remedy = "Another program listens there: choose another port." if taken else ""
        raise KernelError(f"listen at {listen}", error.errno or 0, remedy) from None
