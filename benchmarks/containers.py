"""Containers and the engine: the kit beside Docker, and beside bwrap, crun and runc. Needs root.

    sudo .venv/bin/python -m benchmarks.containers [--json] [--runs N]

Both engines are programs on sockets of their own, driven by the same docker command and the same requests, in
one network namespace in which there is nothing else, and which ends with the benchmark together with all
links and rules that they make in it. Docker is Debian's docker.io, unpacked for this if it is not installed,
with containerd and runc, and started by hand in further namespaces, so that nothing of it stays. Memory is
proportional set size (PSS, see proc(5)).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.engines import Engine, docker, fetched
from benchmarks.images import STEPS, settle
from benchmarks.namespaces import BWRAP, program
from benchmarks.registries import Server
from benchmarks.report import Measurement, main, measure, version
from kit import containers, owner
from kit.images import Store, save, seed
from kit.linux.clone import CLONE_NEWNET, CLONE_NEWNS, unshare
from kit.linux.mount import MNT_DETACH, umount
from kit.linux.proc import mountinfo
from kit.namespaces import Root

CLONE_FS = 0x200
SIZE, MANY = 100 * 10**6, 100  # bytes of the large image; containers at once
STREAM = 10**9  # bytes through a published port
VERSIONS: dict[str, str] = {}  # filled while it runs: Docker may have to be fetched first


@contextmanager
def engines(directory: Path, path: str) -> Iterator[list[Engine]]:
    """The kit's, and Docker's where it can be had; both have busybox and the large image."""
    with ExitStack() as cleanup:
        (directory / "kit").mkdir()
        words = ["--socket", f"{directory}/kit/socket", "--data-root", f"{directory}/kit/data"]
        command = [sys.executable, "-m", "kit", "engine", *words]
        found = [Engine("kit", command, directory / "kit", os.environ["PATH"])]
        cleanup.callback(found[0].stop)
        if path:
            try:
                found.append(cleanup.enter_context(docker(directory / "docker", path)))
            except RuntimeError as error:
                VERSIONS["dockerd"] = " ".join(str(error).split())
        context, archive = directory / "large", directory / "busybox.tar"
        context.mkdir()
        (context / "blob").write_bytes(random.Random(6).randbytes(SIZE))
        (context / "Dockerfile").write_text("FROM busybox\nCOPY blob /\n")
        store = Store(directory / "store")
        seed(store, ["busybox"])
        with archive.open("wb") as file:
            save(store, ["busybox"], file, "docker-old")
        for engine in found:
            engine.do("load", "-q", "-i", str(archive))
            engine.do("build", "-q", "-t", "large", str(context))
        yield found


def each(found: list[Engine], act: Callable[[Engine], Callable[[], object] | None]) -> dict[str, Any]:
    """The same call of each engine, None for one that is missing."""
    return {"docker": None, **{engine.name: act(engine) for engine in found}}


def everyday(found: list[Engine], runs: int) -> list[Measurement]:
    """What people wait for, by the docker command and by the API."""

    def clear() -> None:
        for engine in found:
            engine.clear()

    def api(engine: Engine) -> Callable[[], None]:
        return lambda: engine("POST", f"/containers/{engine.start('true')}/wait")

    def row(engine: Engine) -> Callable[[], None]:
        def call() -> None:
            for _ in range(50):
                made = engine.start("true")
                engine("POST", f"/containers/{made}/wait")
                engine("DELETE", f"/containers/{made}")

        return call

    run = measure(each(found, lambda one: one.docker("run", "--rm", "busybox", "true")), runs)
    by_api = measure(each(found, api), runs, after=clear)
    fifty = measure(each(found, row), 1, warmup=0)
    for engine in found:
        engine.start("sleep", "1000")
    names = {engine.name: engine("GET", "/containers/json")[0]["Id"] for engine in found}
    inside = measure(each(found, lambda one: one.docker("exec", names[one.name], "true")), runs)
    clear()
    return [
        Measurement.of("docker run --rm busybox true", "ms", run, scale=1000),
        Measurement.of("create, start and wait for a container by the API", "ms", by_api, scale=1000),
        Measurement.of("docker exec CONTAINER true", "ms", inside, scale=1000),
        Measurement.of("50 containers in a row by the API, removed too", "s", fifty),
    ]


def in_process(directory: Path, runs: int) -> list[Measurement]:
    """The kit without its engine, called from Python; runc and crun run its bundle."""
    with Root() as root, ThreadPoolExecutor(1, initializer=_without_hybrid) as apart:
        config = containers.config({}, cmd=["/bin/busybox", "true"], hostname="bench")
        bundle = directory / "bundle"
        bundle.mkdir()
        document = {**config, "root": {**config["root"], "path": str(root.path)}}
        (bundle / "config.json").write_text(json.dumps(document))

        def kit() -> None:
            with containers.start("bench", config, root.path) as container:
                if container.wait(30):
                    raise RuntimeError("true failed")

        def runtime(name: str) -> Callable[[], None] | None:
            call = program(name, "--root", f"{directory}/{name}", "run", "--bundle", str(bundle), "bench")
            return (lambda: apart.submit(call).result()) if call else None

        tree = ["--bind", str(root.path), "/", "--proc", "/proc", "--dev", "/dev"]
        calls = {
            "kit": kit,
            "bwrap": program(*BWRAP, *tree, "/bin/busybox", "true"),
            "crun run": runtime("crun"),
            "runc run": runtime("runc"),
        }
        times = measure(calls, runs)
    return [Measurement.of("start and end a container, no engine", "ms", times, scale=1000)]


def _without_hybrid() -> None:
    """This thread in a mount namespace without the version 2 tree of hybrid control groups: crun wants so."""
    unshare(CLONE_FS | CLONE_NEWNS)
    if any(mount.mount_point == "/sys/fs/cgroup/unified" for mount in mountinfo()):
        umount("/sys/fs/cgroup/unified", MNT_DETACH)


def images(found: list[Engine], directory: Path, runs: int) -> list[Measurement]:
    """Building, and moving 100 MB."""
    context, few = directory / "context", max(runs // 4, 1)
    (context / "lib").mkdir(parents=True)
    for number in range(20):
        (context / "lib" / f"{number}.sh").write_text("echo\n" * 1000)
    (context / "app.sh").write_text("echo answer\n")
    (context / "Dockerfile").write_text(STEPS)
    there = "docker-registry" if shutil.which("docker-registry") else "kit"
    server = Server(there, directory)
    name = f"{server.address}/bench/large:1"

    def drop() -> None:
        for engine in found:
            with suppress(AssertionError):  # it has it under that name no more
                engine("DELETE", f"/images/{name}?force=1")

    def tag() -> None:
        for engine in found:
            engine("POST", f"/images/large/tag?repo={name.rpartition(':')[0]}&tag=1")

    def only_saved() -> None:
        for engine in found:
            engine("DELETE", "/images/large?force=1")

    try:
        build = ["build", "-q", "-t", "app"]
        cached = measure(each(found, lambda one: one.docker(*build, str(context))), runs)
        cold = measure(each(found, lambda one: one.docker(*build, "--no-cache", str(context))), few, 1)
        tag()
        push = measure(each(found, lambda one: one.docker("push", "-q", name)), few, 0, server.anew)
        found[0].do("push", "-q", name)
        archive = {one.name: f"{directory}/{one.name}.tar" for one in found}
        kept = measure(each(found, lambda one: one.docker("save", "-o", archive[one.name], "large")), few, 1)
        only_saved()
        drop()
        pull = measure(each(found, lambda one: one.docker("pull", "-q", name)), few, 0, drop)
        load = measure(each(found, lambda one: one.docker("load", "-q", "-i", archive[one.name])), 1, 0)
        for _ in range(few - 1):
            only_saved()
            more = measure(each(found, lambda one: one.docker("load", "-q", "-i", archive[one.name])), 1, 0)
            load = {who: times + more[who] for who, times in load.items()}
    finally:
        server.stop()
    rows = {
        "docker build of 6 steps, all cached": cached, "docker build of 6 steps, nothing cached": cold,
        f"docker push of 100 MB to {there}": push, f"docker pull of 100 MB from {there}": pull,
        "docker save of 100 MB": kept, "docker load of 100 MB": load,
    }  # fmt: skip
    return [Measurement.of(what, "ms", times, scale=1000) for what, times in rows.items()]


def at_once(found: list[Engine]) -> list[Measurement]:
    """A hundred that sleep. Their cost is the engine's memory and the kernel's, without their programs'."""
    started, each_one, engine_memory, listing = (each([], lambda _: None) for _ in range(4))
    for values in (started, each_one, engine_memory, listing):
        values["docker"] = []
    for engine in found:
        engine.start("true")
        engine.clear()
        time.sleep(1)
        before, begin = engine.overhead(), time.perf_counter()
        for _ in range(MANY):
            engine.start("sleep", "1000")
        started[engine.name] = [(time.perf_counter() - begin) / MANY]
        time.sleep(1)
        engine_memory[engine.name] = [engine.memory()]
        each_one[engine.name] = [(engine.overhead() - before) / MANY]
        asked = measure({"": lambda engine=engine: engine("GET", "/containers/json")}, 30)
        listing[engine.name] = asked[""]
        engine.clear()
    return [
        Measurement.of(f"start one of {MANY} that run at once", "ms", started, scale=1000),
        Measurement.of(f"memory of one of {MANY}, beyond its program's own", "MB", each_one, scale=1e-6),
        Measurement.of(f"memory of the engine with {MANY} running", "MB", engine_memory, scale=1e-6),
        Measurement.of(f"list {MANY} running by the API", "ms", listing, scale=1000),
    ]


def port(found: list[Engine], runs: int) -> list[Measurement]:
    """An HTTP server of busybox gives a file without blocks on the disk; this program reads it."""
    ports = {}
    for engine in found:
        script = f"mkdir /w; dd if=/dev/zero of=/w/f bs=1 count=0 seek={STREAM} 2>/dev/null; httpd -f -h /w"
        host = {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "0"}]}}
        made = engine.start("sh", "-c", script, ExposedPorts={"80/tcp": {}}, HostConfig=host)
        about = engine("GET", f"/containers/{made}/json")
        ports[engine.name] = int(about["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
    time.sleep(1)

    def read(engine: Engine) -> Callable[[], None]:
        def call() -> None:
            buffer = bytearray(1 << 20)
            with socket.create_connection(("127.0.0.1", ports[engine.name])) as client:
                client.sendall(b"GET /f HTTP/1.0\r\n\r\n")
                total = 0
                while count := client.recv_into(buffer):
                    total += count
            if total < STREAM:
                raise RuntimeError(f"{engine.name}: {total} bytes of {STREAM}")

        return call

    times = measure(each(found, read), runs, 1)
    for engine in found:
        engine.clear()
    return [Measurement.of("1 GB through a published port of 127.0.0.1", "ms", times, scale=1000)]


def measurements(runs: int) -> list[Measurement]:
    """Times in milliseconds or seconds, memory in MB (10^6 bytes)."""
    with owner.directory("containers") as directory:
        path = ""
        try:
            path = fetched(directory / "docker")
            VERSIONS["dockerd"] = version(shutil.which("dockerd", path=path) or "dockerd")
        except RuntimeError as error:
            VERSIONS["dockerd"] = " ".join(str(error).split())
        settle(directory)
        unshare(CLONE_NEWNET)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        os.environ |= {"DOCKER_BUILDKIT": "0", "DOCKER_CONFIG": str(directory)}
        found = in_process(directory, 2 * runs)
        with engines(directory, path) as both:
            found += everyday(both, runs)
            found += images(both, directory, runs)
            found += at_once(both)
            found += port(both, max(runs // 4, 1))
        return found


if __name__ == "__main__":
    VERSIONS.update({name: version(name) for name in ("docker", "bwrap", "crun", "runc", "docker-registry")})
    main(measurements, versions=VERSIONS, runs=20)
