"""Requests over connections that are kept for the next one, from any thread. See RFC 9112 and urllib3.

urllib3 speaks HTTP and TLS and keeps the connections. What it leaves to us is here: an end that a waiting
thread hears, bodies out of files, and proxies as the environment names them.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakSet

import urllib3
from urllib3.exceptions import HTTPError, InsecureRequestWarning

from kit.images import documents
from kit.registries.exchange import Exchange
from kit.registries.refusals import RegistryError, Unreachable, broken

CHUNK = 1 << 17  # bytes: what is lost of an answer at most when its connection breaks
_CONNECTING, _SILENCE = 15.0, 60.0  # seconds, at most
_KEPT = 64  # idle connections to one host, at most

urllib3.disable_warnings(InsecureRequestWarning)  # who would see it has named the host as insecure


@dataclass(frozen=True)
class Part:
    """``count`` bytes of a file from ``offset`` on, to be sent; ``report`` hears how many have gone."""

    path: Path
    offset: int
    count: int
    report: Callable[[int], None]

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            sent = 0
            while sent < self.count:
                data = file.read(min(CHUNK, self.count - sent))
                if not data:
                    raise RegistryError(f"{self.path} became shorter while it was sent")
                yield data
                sent += len(data)
                self.report(sent)


Body = bytes | Part | None


class Answer:
    """A registry's answer, ``exchange``, whose body is still to be read: use it in a ``with`` block.

    A connection whose answer was read to its end serves another time.
    """

    def __init__(self, response: urllib3.BaseHTTPResponse, exchange: Exchange) -> None:
        self._response, self.exchange = response, exchange
        self.status, self.headers = exchange.status, exchange.headers

    def stream(self) -> Iterator[bytes]:
        """The body in pieces, as they come; raises :class:`Unreachable` where it was cut."""
        try:
            yield from self._response.stream(CHUNK, decode_content=False)
        except HTTPError as error:
            raise broken(error, self.exchange.url) from None

    def read(self) -> Exchange:
        """The exchange with its body, of which 4 MiB are kept; raises as :meth:`stream`."""
        body = bytearray()
        for data in self.stream():
            body += data
            if len(body) > documents.LIMIT:
                break
        self.exchange.body, self.exchange.whole = bytes(body[: documents.LIMIT]), len(body) <= documents.LIMIT
        return self.exchange

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()


class Transport:
    """Connections to any number of servers; certificates of those that are ``insecure`` are not checked."""

    def __init__(self, insecure: Collection[str]) -> None:
        self._insecure = insecure
        self._pools: dict[tuple[str, bool], urllib3.PoolManager] = {}
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._lock = threading.Lock()
        self.ended = threading.Event()

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Body) -> Answer:
        """One request, once; raises :class:`Unreachable`, and RegistryError for a certificate not trusted."""
        if self.ended.is_set():
            raise Unreachable("the transfer was given up", url)
        if body is not None:
            headers = {**headers, "Content-Length": str(len(body))}
        start = time.perf_counter()
        try:
            response = self._pool(url).urlopen(
                method, url, body=body, headers=headers, redirect=False, retries=False, preload_content=False
            )
        except HTTPError as error:
            raise broken(error, url) from None
        exchange = Exchange(method, url, headers, response.status, response.reason or "", Message())
        exchange.seconds = time.perf_counter() - start
        for name, value in response.headers.items():
            exchange.headers[name] = value
        return Answer(response, exchange)

    def close(self) -> None:
        """Close every connection; a thread that waits at one gets :class:`Unreachable`."""
        with self._lock:
            self.ended.set()
            for one in self._sockets:
                with suppress(OSError):  # it may not be connected any more
                    socket.socket.shutdown(one, socket.SHUT_RDWR)  # TLS would want to say goodbye
            for pool in self._pools.values():
                pool.clear()

    def _connected(self, one: socket.socket) -> None:
        with self._lock:
            if self.ended.is_set():
                raise Unreachable("the transfer was given up")
            self._sockets.add(one)

    def _pool(self, url: str) -> urllib3.PoolManager:
        key = proxy_for(url), urlsplit(url).netloc in self._insecure
        with self._lock:
            if key not in self._pools:
                self._pools[key] = self._new_pool(*key)
            return self._pools[key]

    def _new_pool(self, proxy: str, insecure: bool) -> urllib3.PoolManager:
        context = ssl.create_default_context()
        if insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        timeout = urllib3.Timeout(connect=_CONNECTING, read=_SILENCE)
        how: dict[str, Any] = {"maxsize": _KEPT, "ssl_context": context, "timeout": timeout}
        if proxy:
            login = urllib3.util.parse_url(proxy).auth
            headers = urllib3.make_headers(proxy_basic_auth=unquote(login)) if login else None
            pool: urllib3.PoolManager = urllib3.ProxyManager(proxy, proxy_headers=headers, **how)
        else:
            pool = urllib3.PoolManager(**how)
        pool.pool_classes_by_scheme = {
            scheme: _watched(kind, self._connected) for scheme, kind in pool.pool_classes_by_scheme.items()
        }
        return pool


def _watched(pool: Any, connected: Callable[[socket.socket], None]) -> Any:
    """Pools that tell of their connections: urllib3 itself can't end one that waits for an answer."""
    connection = pool.ConnectionCls

    def connect(self: Any) -> None:
        connection.connect(self)
        self.sock.settimeout(_SILENCE)  # also while a body is sent
        connected(getattr(self.sock, "socket", self.sock))  # the outer one of TLS within a proxy's TLS

    watched = type("Watched", (connection,), {"connect": connect})
    return type("Pool", (pool,), {"ConnectionCls": watched})


def loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine itself."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def proxy_for(url: str) -> str:
    """What $HTTP_PROXY, $HTTPS_PROXY and $NO_PROXY say; as in Go, never one for this machine itself."""
    parts = urlsplit(url)
    if loopback(parts.netloc) or proxy_bypass(parts.netloc):
        return ""
    proxy = getproxies().get(parts.scheme, "")
    return proxy if "://" in proxy or not proxy else f"http://{proxy}"
