"""The kit's registry for tests, in this program or in one that can be killed, and single requests to it."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

from kit.images.descriptor import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, digest_of
from tests.registries.debian import free_port

Body = bytes | Iterator[bytes]


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The specification's, of an answer that says no."""
        return str(self.json()["errors"][0]["code"])


def ask(
    address: str, method: str, path: str, body: Body = b"", headers: Mapping[str, str] | None = None
) -> Reply:
    """One request on a connection of its own; what has no length is sent in chunks."""
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        chunked = not isinstance(body, bytes)
        connection.request(method, path, body, dict(headers or {}), encode_chunked=chunked)
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read())
    finally:
        connection.close()


def begin(address: str, repository: str) -> str:
    """The location of a new upload."""
    reply = ask(address, "POST", f"/v2/{repository}/blobs/uploads/")
    assert reply.status == 202
    return str(reply.headers["Location"])


def push_blob(address: str, repository: str, data: bytes, algorithm: str = "sha256") -> str:
    """A blob in two steps; its digest."""
    digest = digest_of(data, algorithm)
    reply = ask(address, "PUT", f"{begin(address, repository)}?digest={digest}", data)
    assert reply.status == 201, reply.body
    return digest


def descriptor(media_type: str, data: bytes, algorithm: str = "sha256", **more: Any) -> dict[str, Any]:
    """The descriptor of these bytes."""
    return {"mediaType": media_type, "digest": digest_of(data, algorithm), "size": len(data), **more}


def manifest(*layers: bytes, **more: Any) -> bytes:
    """An image manifest of these layers."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, b"{}"),
        "layers": [descriptor(OCI_LAYER, layer) for layer in layers],
    }
    return json.dumps({**document, **more}).encode()


def put(address: str, repository: str, reference: str, data: bytes, media_type: str = OCI_MANIFEST) -> Reply:
    """Push a manifest."""
    path = f"/v2/{repository}/manifests/{reference}"
    return ask(address, "PUT", path, data, {"Content-Type": media_type})


def created(address: str, reply: Reply, data: bytes) -> None:
    """Whether a push got a yes, and the data is where the answer says."""
    assert reply.status == 201, reply.body
    assert reply.headers["Location"].endswith(reply.headers["Docker-Content-Digest"])
    found = ask(address, "GET", reply.headers["Location"])
    assert (found.status, found.body, found.headers["Content-Length"]) == (200, data, str(len(data)))


def push(address: str, repository: str, tag: str, *layers: bytes, **more: Any) -> str:
    """An image of these layers; the digest of its manifest."""
    for data in (*layers, b"{}"):
        push_blob(address, repository, data)
    data = manifest(*layers, **more)
    reply = put(address, repository, tag, data)
    assert reply.status == 201, reply.body
    return digest_of(data)


class Program:
    """`kit registry` in a program of its own; what it says is in the file ``told``."""

    def __init__(self, storage: Path, *options: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.told = storage.with_name(f"{storage.name}.told")
        command = [
            sys.executable,
            "-m",
            "kit",
            "registry",
            "--listen",
            self.address,
            "--storage",
            str(storage),
        ]
        with self.told.open("w") as told:
            self.process = subprocess.Popen([*command, *options], stdout=told, stderr=told)
        while "Serving" not in self.told.read_text():
            assert self.process.poll() is None, self.told.read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        """At once: no handler runs, nothing is written any more."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def memory(self) -> int:
        """The most bytes that it ever had in memory."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(one.split()[1]) * 1024 for one in lines if one.startswith("VmHWM"))


@contextmanager
def program(storage: Path, *options: str) -> Iterator[Program]:
    """`kit registry` while the block runs."""
    started = Program(storage, *options)
    try:
        yield started
    finally:
        started.kill()
