"""A registry that runs: :mod:`kit.registries.server.api` behind a socket, in a thread of this program.

    with serve(directory) as registry:
        registry.address, registry.log

See aiohttp.web for the server, and the OCI distribution-spec for what it serves.
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
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from aiohttp import ClientError, web

from kit.images.errors import ImageError
from kit.images.gc import Collected
from kit.images.seed import BASES
from kit.images.seed import seed as make
from kit.images.store import Store
from kit.linux.errors import KernelError
from kit.registries.server.api import Api
from kit.registries.server.auth import Htpasswd, refused
from kit.registries.server.blobs import FETCHED
from kit.registries.server.collect import HOUR, collect
from kit.registries.server.errors import ErrorAnswer
from kit.registries.server.log import Access, telling
from kit.registries.server.mirror import Mirror
from kit.registries.server.repositories import Repository, names

_THREADS = 16  # for disks and hashes
_BUFFER = 256 * 1024  # bytes of a body that may wait for its thread
_KEPT = 10_000  # requests in the log
_READS = ("GET", "HEAD")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def serve(
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
) -> Registry:
    """Start a registry that keeps its content in ``directory``; close it, or use it in a ``with`` block.

    ``listen`` is a host and a port, 0 for any. With ``htpasswd`` a push needs a name and a password, a pull
    doesn't. ``tls`` are the files of a certificate and its key. ``mirror_of`` is the URL of a registry whose
    images are fetched as they are asked for; nothing is pushed then. ``log`` hears of every request. ``seed``
    puts in the base images of chapter 05. Raises ImageError, KernelError, OSError for a file not readable.
    """
    store = Store(directory)
    if seed:
        put_base_images(store)
    mirror = Mirror(mirror_of) if mirror_of else None
    return Registry(
        store, listen, mirror, Htpasswd(htpasswd) if htpasswd else None, tls, read_only, delete, log
    )


def put_base_images(store: Store) -> None:
    """Have the base images under the names that the Hub gives them, such as library/busybox:latest."""
    wanted = [name for name in BASES if not Repository(store, f"library/{name}").exists()]
    for name, image in make(store, wanted).items():
        store.change({f"docker.io/library/{name}:latest": None, f"library/{name}:latest": image.descriptor})
        Repository(store, f"library/{name}").adopt()


class Registry:
    """A registry at ``address``, such as 127.0.0.1:5000; ``log`` has its latest requests, oldest first."""

    def __init__(
        self,
        store: Store,
        listen: str,
        mirror: Mirror | None,
        users: Htpasswd | None,
        tls: tuple[str | Path, str | Path] | None,
        read_only: bool,
        delete: bool,
        tell: Callable[[Access], None] | None,
    ) -> None:
        self.store, self.mirror = store, mirror
        self.log: deque[Access] = deque(maxlen=_KEPT)
        self._users, self._tell = users, tell
        self._read_only, self._delete = read_only, delete
        self._tls = _certificate(*tls) if tls else None
        for name in names(store):
            if not (found := Repository(store, name)).directory.exists():
                with suppress(ImageError):  # one that is damaged must not hide the rest
                    found.adopt()
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

    def collect(self, younger: float = HOUR) -> Collected:
        """Remove now what no manifest needs, but nothing ``younger`` than so many seconds."""
        return collect(self.store, younger)

    async def _start(self, listener: socket.socket) -> web.AppRunner:
        app = web.Application(middlewares=[self._admit])
        app.add_routes(Api(self.store, self.mirror).routes())
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
        except web.HTTPMethodNotAllowed as error:
            answer = ErrorAnswer(
                "UNSUPPORTED",
                f"{request.method} is nothing to do here",
                headers={"Allow": error.headers["Allow"]},
            )
        except web.HTTPNotFound:
            answer = ErrorAnswer("UNSUPPORTED", f"the specification has no {request.path[:300]}", status=404)
        except (ClientError, ConnectionError) as error:  # nobody hears this one
            answer = ErrorAnswer("BLOB_UPLOAD_INVALID", f"the body was cut: {error}")
        except KernelError as error:
            answer = ErrorAnswer("UNKNOWN", str(error), status=507 if error.errno in _FULL else 500)
        except (ImageError, OSError) as error:
            answer = ErrorAnswer("UNKNOWN", str(error))
        return web.json_response(answer.body(), status=answer.status, headers=answer.headers)

    async def _check(self, request: web.Request) -> None:
        credentials = request.headers.get("Authorization")
        if self._users:
            user = await asyncio.to_thread(self._users.check, credentials) if credentials else ""
            # The base path is asked by who wants to know whether its credentials are right.
            if not user and (request.method not in _READS or request.path.rstrip("/") == "/v2"):
                raise refused("a push needs a name and a password; a pull needs none")
        if request.method not in _READS and (self._read_only or self.mirror):
            why = f"this is a mirror of {self.mirror.url}" if self.mirror else "this registry is read-only"
            raise ErrorAnswer("UNSUPPORTED", f"{why}: nothing can be pushed or deleted")
        if request.method == "DELETE" and not self._delete and "id" not in request.match_info:
            raise ErrorAnswer("UNSUPPORTED", "nothing can be deleted from this registry")

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

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Registry({self.url!r})"


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
        raise ImageError(
            f"{listen!r} is no address to listen at", remedy="One is 127.0.0.1:5000, or [::1]:5000."
        )
    try:
        found = socket.getaddrinfo(host.strip("[]") or "0.0.0.0", int(port), type=socket.SOCK_STREAM)[0]
        return socket.create_server(found[4][:2], family=found[0], backlog=512)
    except OSError as error:
        remedy = (
            "Another program listens there: choose another port." if error.errno == errno.EADDRINUSE else ""
        )
        raise KernelError(f"listen at {listen}", error.errno or 0, remedy) from None
