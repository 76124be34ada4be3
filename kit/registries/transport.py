"""Requests over connections that are kept for the next one, from any thread. See http.client, RFC 9112.

Each thread that transfers a layer has a connection of its own, and works from socket to file in large pieces;
so nothing here waits for anything else, and nothing is in memory as a whole.
"""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from kit.registries.exchange import Exchange, plain
from kit.registries.refusals import Cut, RegistryError, Unreachable

CHUNK = 1 << 17  # bytes: what is lost of an answer at most when its connection breaks
_CONNECTING, _SILENCE = 15.0, 60.0  # seconds, at most
_GONE = (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)


@dataclass(frozen=True)
class Part:
    """``count`` bytes of a file from ``offset`` on, to be sent; ``tell`` hears how many have gone so far."""

    path: Path
    offset: int
    count: int
    tell: Callable[[int], None]

    def send(self, to: socket.socket) -> None:
        """By sendfile(2) where the connection is plain."""
        with self.path.open("rb") as file:
            sent = 0
            while sent < self.count:
                now = to.sendfile(file, self.offset + sent, min(CHUNK, self.count - sent))
                if not now:
                    raise RegistryError(f"{self.path} became shorter while it was sent")
                sent += now
                self.tell(sent)


def repeatable(method: str, body: bytes | Part | None) -> bool:
    """Whether a request may be sent again if nobody knows what has become of it; a part of an upload may
    have arrived in part.
    """
    return method != "PATCH" and not isinstance(body, Part)


class Answer:
    """A registry's answer whose body is still to be read: use it in a ``with`` block.

    ``exchange`` is what is known already. A connection whose answer was read to its end serves another time.
    """

    def __init__(
        self, transport: Transport, connection: HTTPConnection, response: HTTPResponse, exchange: Exchange
    ) -> None:
        self._transport, self._connection, self._response = transport, connection, response
        self.exchange = exchange
        self.status, self.headers = exchange.status, exchange.headers

    def readinto(self, buffer: memoryview) -> int:
        """Some of the body's bytes, 0 at its end; raises :class:`Unreachable` where it was cut."""
        try:
            count = self._response.readinto(buffer)
        except (OSError, HTTPException) as error:
            raise self._transport.failed(error, self.exchange.url) from None
        if not count and self._response.length:  # bytes that were announced and did not come
            raise Cut("the connection was cut in the middle of an answer", self.exchange.url)
        return count

    def read(self, limit: int) -> bytes:
        """The body, and at most ``limit`` + 1 bytes of it."""
        found, buffer = bytearray(), memoryview(bytearray(min(limit + 1, CHUNK)))
        while len(found) <= limit and (count := self.readinto(buffer[: limit + 1 - len(found)])):
            found += buffer[:count]
        return bytes(found)

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.release(self._connection, self._response, self.exchange.url)


class Transport:
    """Connections to any number of servers; certificates of those that are ``insecure`` are not checked."""

    def __init__(self, insecure: Collection[str] = ()) -> None:
        self._insecure = insecure
        self._idle: dict[tuple[str, str], list[HTTPConnection]] = {}
        self._busy: dict[HTTPConnection, socket.socket | None] = {}
        self._contexts: dict[bool, ssl.SSLContext] = {}  # which are slow to make
        self._lock = threading.Lock()
        self.ended = threading.Event()

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | Part | None) -> Answer:
        """One request, once; raises :class:`Unreachable`, and RegistryError for a certificate not trusted."""
        if body is not None:
            length = body.count if isinstance(body, Part) else len(body)
            headers = {**headers, "Content-Length": str(length)}
        while True:
            connection, reused = self._connection(url)
            start = time.perf_counter()
            try:
                if not reused:
                    connection.connect()
                    connection.sock.settimeout(_SILENCE)
                with self._lock:  # the connection may forget its socket before the answer is read
                    self._busy[connection] = connection.sock
                response = _exchange(connection, method, url, headers, body)
            except BaseException as error:
                self.release(connection, None, url)
                if reused and isinstance(error, _GONE) and repeatable(method, body):  # closed while idle
                    continue
                if isinstance(error, OSError | HTTPException):
                    raise self.failed(error, url) from None
                raise
            shown = {name: _hidden(name, value) for name, value in headers.items()}
            seconds = time.perf_counter() - start
            exchange = Exchange(
                method, url, shown, response.status, response.reason, response.headers, seconds=seconds
            )
            return Answer(self, connection, response, exchange)

    def _connection(self, url: str) -> tuple[HTTPConnection, bool]:
        """A connection that nobody uses, and whether it has been used before."""
        parts = urlsplit(url)
        with self._lock:
            if self.ended.is_set():
                raise Unreachable("the transfer was given up", url)
            if idle := self._idle.get((parts.scheme, parts.netloc)):
                connection, reused = idle.pop(), True
            elif parts.scheme == "https":
                context = self._context(checked=parts.netloc not in self._insecure)
                connection = HTTPSConnection(parts.netloc, timeout=_CONNECTING, context=context)
                reused = False
            else:
                connection, reused = HTTPConnection(parts.netloc, timeout=_CONNECTING), False
            self._busy[connection] = None
        return connection, reused

    def _context(self, checked: bool) -> ssl.SSLContext:
        if checked not in self._contexts:
            context = self._contexts[checked] = ssl.create_default_context()
            if not checked:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return self._contexts[checked]

    def release(self, connection: HTTPConnection, response: HTTPResponse | None, url: str) -> None:
        """Keep a connection for the next request if its answer was read to the end, and close it if not."""
        parts = urlsplit(url)
        with self._lock:
            del self._busy[connection]
            done = response is not None and response.isclosed() and not response.will_close
            if done and not self.ended.is_set():
                self._idle.setdefault((parts.scheme, parts.netloc), []).append(connection)
                return
        connection.close()
        if response is not None:
            response.close()

    def close(self) -> None:
        """Close every connection; a thread that waits at one gets :class:`Unreachable`."""
        with self._lock:
            self.ended.set()
            for busy in self._busy.values():
                if busy is not None:
                    with suppress(OSError):  # it may not be connected any more
                        socket.socket.shutdown(busy, socket.SHUT_RDWR)  # TLS would want to say goodbye
            idle = [one for some in self._idle.values() for one in some]
            self._idle.clear()
        for connection in idle:
            connection.close()

    def failed(self, error: Exception, url: str) -> RegistryError:
        """What a connection's failure means, in words."""
        host = urlsplit(url).netloc
        if isinstance(error, RegistryError):
            return error
        if isinstance(error, ssl.SSLCertVerificationError):
            remedy = "Point SSL_CERT_FILE at the certificate of who signed it, or name the host as insecure."
            return RegistryError(
                f"the certificate of {host} is not trusted: {error.verify_message}", url, remedy
            )
        if isinstance(error, TimeoutError):
            return Unreachable(f"{host} was silent for too long (ETIMEDOUT)", url, "Try again.")
        if isinstance(error, ConnectionRefusedError):
            return Unreachable(f"nobody listens at {host} (ECONNREFUSED)", url, "Is the registry running?")
        if isinstance(error, socket.gaierror):
            remedy = "Check its name, and the network; without one, `kit registry` serves the base images."
            return Unreachable(f"the host {host} is not known", url, remedy)
        if isinstance(error, HTTPException | ConnectionError | ssl.SSLError):
            return Cut(f"the connection to {host} ended without an answer ({type(error).__name__})", url)
        name = errno.errorcode.get(getattr(error, "errno", None) or 0, type(error).__name__)
        return Unreachable(f"no connection to {host}: {name} ({plain(error)})", url)


def _exchange(
    connection: HTTPConnection, method: str, url: str, headers: Mapping[str, str], body: bytes | Part | None
) -> HTTPResponse:
    parts = urlsplit(url)
    connection.putrequest(method, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    for name, value in headers.items():
        connection.putheader(name, value)
    try:
        connection.endheaders(body if isinstance(body, bytes) else None)
        if isinstance(body, Part):
            body.send(connection.sock)
    except (BrokenPipeError, ConnectionResetError):  # it may have said why before it hung up
        response = connection.getresponse()
        response.will_close = True
        return response
    return connection.getresponse()


def _hidden(name: str, value: str) -> str:
    return f"{value.partition(' ')[0]} …" if name.lower() == "authorization" else value
