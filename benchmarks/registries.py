"""Registries: the kit's beside Debian's docker-registry, and the kit's client beside skopeo.

    sudo .venv/bin/python -m benchmarks.registries [--json] [--runs N]

Both servers are programs on this machine, without TLS, that begin each run with nothing. They keep what they
are sent on the same file system; the kit brings it to the disk (fsync) before it says that it is there. As a
client the kit is called from Python, as a notebook calls it, and once as a program; it, too, brings what it
pulls to the disk, and it verifies what it has.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.images import machine, settle
from benchmarks.namespaces import program
from benchmarks.report import Measurement, main, measure, version
from kit import owner
from kit.images.descriptor import OCI_LAYER_GZIP, Descriptor, digest_of
from kit.images.image import write_image
from kit.images.store import Store
from kit.registries import Client, pull, push

SIZE, MANY = 100 * 10**6, 10  # bytes in all; layers
LARGE = 2 * 10**9  # bytes
AT_ONCE, REQUESTS, SMALL = 64, 3200, 2000  # connections; requests in all; bytes of each answer
CACHE = Path("/var/lib/containers/cache")  # where skopeo remembers which registry has what


class Server:
    """A registry as a program on a port of its own, which can begin anew with nothing."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name, self.storage = name, directory / name
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{one.getsockname()[1]}"
        if name == "kit":
            self._command = [sys.executable, "-m", "kit", "registry", "--listen", self.address]
            self._command += ["--storage", str(self.storage)]
        else:
            config = {
                "version": "0.1",
                "log": {"level": "error"},
                "storage": {"filesystem": {"rootdirectory": str(self.storage)}},
                "http": {"addr": self.address},
            }
            file = directory / f"{name}.json"
            file.write_text(json.dumps(config))
            self._command = [name, "serve", str(file)]
        self._start()

    def _start(self) -> None:
        if self.name == "kit":
            Store(self.storage)  # so that it is not a new one, which would begin with making base images
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(self._command, stdout=quiet, stderr=quiet)
        host, _, port = self.address.partition(":")
        for _ in range(1000):
            with socket.socket() as probe:
                if not probe.connect_ex((host, int(port))):
                    return
            if self.process.poll() is not None:
                raise RuntimeError(f"{self._command} ended")
            time.sleep(0.01)
        raise RuntimeError(f"{self._command} does not listen")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.storage, ignore_errors=True)

    def anew(self) -> None:
        self.stop()
        self._start()

    def memory(self) -> float:
        """The most bytes that it has had in memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * float(next(line.split()[1] for line in status.splitlines() if "VmHWM" in line))


class Place:
    """The servers, and a store with the images to send: ``one`` layer, ``ten``, and a ``large`` one."""

    def __init__(self, directory: Path) -> None:
        self.store, self.pulled = Store(directory / "store"), directory / "pulled"
        self.kit = Server("kit", directory)
        there = shutil.which("docker-registry")
        self.debian = Server("docker-registry", directory) if there else None
        self.servers = [server for server in (self.kit, self.debian) if server]

    def put(self, name: str, layers: int, size: int) -> None:
        """An image with layers of bytes that can't be made shorter, under a name for each server."""
        block = random.Random(layers).randbytes(min(size, 10**7))
        made = []
        with self.store.writing():
            for number in range(layers):
                with self.store.writer() as out:
                    out.write(number.to_bytes(8, "big"))
                    while out.size < size // layers:
                        out.write(block)
                    digest, length = out.commit()
                layer = Descriptor(OCI_LAYER_GZIP, digest, length)
                made.append((layer, digest_of(b"%d" % number)))
            image = write_image(self.store, made, {})
            for server in self.servers:
                self.store.tag(f"{server.address}/bench/{name}:1", image)

    def anew(self) -> None:
        """Both registries empty, and nothing remembered of what they had."""
        for server in self.servers:
            server.anew()
        shutil.rmtree(CACHE, ignore_errors=True)

    def forget(self) -> None:
        """Nothing pulled."""
        shutil.rmtree(self.pulled, ignore_errors=True)

    # The clients

    def skopeo_push(self, server: Server | None, name: str) -> Callable[[], None] | None:
        if server is None:
            return None
        whole = f"{server.address}/bench/{name}:1"
        source = f"oci:{self.store.directory}:{whole}"
        return program("skopeo", "copy", "-q", "--dest-tls-verify=false", source, f"docker://{whole}")

    def skopeo_pull(self, server: Server | None, name: str) -> Callable[[], None] | None:
        if server is None:
            return None
        source = f"docker://{server.address}/bench/{name}:1"
        return program("skopeo", "copy", "-q", "--src-tls-verify=false", source, f"oci:{self.pulled}:1")

    def kit_push(self, server: Server, name: str) -> Callable[[], object]:
        return lambda: push(self.store, f"{server.address}/bench/{name}:1")

    def kit_pull(self, server: Server, name: str) -> Callable[[], object]:
        return lambda: pull(Store(self.pulled), f"{server.address}/bench/{name}:1")


def servers(place: Place, runs: int) -> list[Measurement]:
    """skopeo is the client of both."""
    found = []
    for name, how in (("one", "1 layer"), ("ten", f"{MANY} layers")):
        place.anew()
        sending = {one.name: place.skopeo_push(one, name) for one in place.servers}
        times = measure({"docker-registry": None, **sending}, runs, 1, place.anew)
        found.append(Measurement.of(f"receive 100 MB in {how} from skopeo", "ms", times, scale=1000))
        fill(place, name)
        giving = {one.name: place.skopeo_pull(one, name) for one in place.servers}
        times = measure({"docker-registry": None, **giving}, runs, 1, place.forget)
        found.append(Measurement.of(f"give 100 MB in {how} to skopeo", "ms", times, scale=1000))
    return found


def fill(place: Place, name: str) -> None:
    for server in place.servers:
        place.kit_push(server, name)()


def clients(place: Place, runs: int) -> list[Measurement]:
    """Both speak to the same registry, docker-registry where there is one."""
    server = place.debian or place.kit
    found = []
    for name, how in (("one", "1 layer"), ("ten", f"{MANY} layers")):
        place.anew()
        calls = {"kit": place.kit_push(server, name), "skopeo": place.skopeo_push(server, name)}
        times = measure(calls, runs, 1, place.anew)
        found.append(Measurement.of(f"push 100 MB in {how} to {server.name}", "ms", times, scale=1000))
        fill(place, name)
        calls = {"kit": place.kit_pull(server, name), "skopeo": place.skopeo_pull(server, name)}
        times = measure(calls, runs, 1, place.forget)
        found.append(Measurement.of(f"pull 100 MB in {how} from {server.name}", "ms", times, scale=1000))
    whole = f"{server.address}/bench/{name}:1"
    command = program(sys.executable, "-m", "kit", "pull", "-q", "--store", str(place.pulled), whole)
    times = measure({"kit": command, "skopeo": calls["skopeo"]}, runs, 1, place.forget)
    what = f"pull 100 MB in {MANY} layers from {server.name}, both as programs"
    return [*found, Measurement.of(what, "ms", times, scale=1000)]


def requests(place: Place, runs: int) -> list[Measurement]:
    """A small blob, asked for by many at once, each over a connection that it keeps."""
    place.anew()
    data = random.Random(0).randbytes(SMALL)
    digest = digest_of(data)
    calls: dict[str, Callable[[], object] | None] = {"docker-registry": None}
    for server in place.servers:
        with Client(server.address) as client:
            begun = client.post("/v2/bench/small/blobs/uploads/").headers["Location"]
            client.put(f"{begun}{'&' if '?' in begun else '?'}digest={digest}", data)
        calls[server.name] = _asker(server.address, f"/v2/bench/small/blobs/{digest}")
    times = measure(calls, runs, 1)
    what = f"a request for a small blob, {AT_ONCE} at once"
    return [Measurement.of(what, "us", times, scale=1e6 / REQUESTS)]


def _asker(address: str, path: str) -> Callable[[], None]:
    host, _, port = address.partition(":")
    request = f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()

    async def one() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in range(REQUESTS // AT_ONCE):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            await reader.readexactly(SMALL)
        writer.close()

    async def all_of_them() -> None:
        await asyncio.gather(*(one() for _ in range(AT_ONCE)))

    return lambda: asyncio.run(all_of_them())


def memory(place: Place) -> list[Measurement]:
    """The server's peak; a push by skopeo."""
    place.put("large", 1, LARGE)
    place.anew()
    peaks: dict[str, list[float]] = {"docker-registry": []}
    for server in place.servers:
        whole = f"{server.address}/bench/large:1"
        source = f"oci:{place.store.directory}:{whole}"
        send = ["skopeo", "copy", "-q", "--dest-tls-verify=false", source, f"docker://{whole}"]
        subprocess.run(send, check=True, timeout=300)
        peaks[server.name] = [server.memory()]
    return [Measurement.of("peak of a server's memory, receiving 2 GB", "MB", peaks, scale=1e-6)]


def measurements(runs: int) -> list[Measurement]:
    """Times in milliseconds or microseconds, memory in MB (10^6 bytes)."""
    with owner.directory("registries") as directory:
        settle(directory)
        os.environ["DOCKER_CONFIG"] = str(directory)
        place = Place(directory)
        try:
            place.put("one", 1, SIZE)
            place.put("ten", MANY, SIZE)
            return [
                *servers(place, runs),
                *clients(place, runs),
                *requests(place, 2 * runs),
                *memory(place),
            ]
        finally:
            for server in place.servers:
                server.stop()


if __name__ == "__main__":
    peers = {name: version(name) for name in ("docker-registry", "skopeo")}
    main(measurements, versions={**machine(), **peers}, runs=7)
