"""Registries that do as a test tells them, and a wire that breaks: all on real sockets of this machine."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kit.images.store import Store


@dataclass
class Say:
    """An answer: ``length`` is what Content-Length says, by default true; ``forever`` repeats the body."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    forever: bool = False


@dataclass
class Asked:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Scripted:
    """A server that answers as ``answer`` says, and keeps what it was asked."""

    def __init__(self, answer: Callable[[Asked], Say]) -> None:
        self.asked: list[Asked] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except (ConnectionError, TimeoutError):  # the client has heard enough
                    self.close_connection = True

            def _do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                asked = Asked(self.command, self.path, dict(self.headers.items()), body)
                outer.asked.append(asked)
                said = answer(asked)
                self.send_response(said.status)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                length = len(said.body) if said.length is None else said.length
                if said.forever:
                    self.close_connection = True
                else:
                    self.send_header("Content-Length", str(length))
                self.end_headers()
                if self.command == "HEAD":
                    return
                self.wfile.write(said.body)
                while said.forever:
                    self.wfile.write(said.body)
                if length > len(said.body):
                    self.close_connection = True

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _do

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def paths(self) -> list[str]:
        return [one.path for one in self.asked if one.path != "/v2/"]

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def of_store(store: Store, change: Callable[[Asked, Say], Say] = lambda _, said: said) -> Scripted:
    """A registry that serves the images of a store, under whatever repository; ``change`` spoils answers."""

    def answer(asked: Asked) -> Say:
        kind, _, which = asked.path.rpartition("/")
        said = Say(404, b'{"errors": [{"code": "NAME_UNKNOWN", "message": "no"}]}')
        if asked.path == "/v2/":
            said = Say()
        elif kind.endswith("/manifests"):
            found = [one for one in store.entries() if one["annotations"][_NAME].endswith(f":{which}")]
            digest = found[0]["digest"] if found else which
            if ":" in digest and store.has(digest):
                data = store.read(digest)
                media_type = json.loads(data)["mediaType"]
                said = Say(200, data, {"Content-Type": media_type, "Docker-Content-Digest": digest})
        elif kind.endswith("/blobs") and store.has(which):
            said = Say(200, store.path(which).read_bytes())
        return change(asked, said)

    return Scripted(answer)


_NAME = "org.opencontainers.image.ref.name"


class Wire:
    """A way to ``address`` on which the first ``cuts`` connections that carry so many bytes break.

    ``to`` may be changed for later connections, which ``connections`` counts; ``up`` and ``down`` count what
    has been carried to the registry and from it.
    """

    def __init__(self, address: str, after: int, cuts: int) -> None:
        self.to = address
        self._after, self._cuts = after, cuts
        self.up = self.down = self.broken = self.connections = 0
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._carry, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _carry(self, client: socket.socket) -> None:
        host, _, port = self.to.partition(":")
        try:
            server = socket.create_connection((host, int(port)))
        except ConnectionRefusedError:
            client.close()
            return
        with client, server:
            carried = {client: 0, server: 0}
            while True:
                for one in select.select([client, server], [], [])[0]:
                    try:
                        data = one.recv(1 << 16)
                        if data:
                            (server if one is client else client).sendall(data)
                    except ConnectionError:
                        return
                    if not data:
                        return
                    with self._lock:
                        carried[one] += len(data)
                        if one is client:
                            self.up += len(data)
                        else:
                            self.down += len(data)
                        if carried[one] > self._after and self.broken < self._cuts:
                            self.broken += 1
                            return

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(20)


@contextmanager
def nobody() -> Iterator[str]:
    """An address at which nobody listens, while the block runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"
