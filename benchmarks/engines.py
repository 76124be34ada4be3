"""Engines that a benchmark drives: the kit's, and Debian's Docker, started by hand so that nothing stays."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.namespaces import program
from kit import owner
from kit.linux.proc import mountinfo

# dockerd writes below /run and /etc whatever it is told: it sees a /run and an /etc that end with it.
DOCKERD = """
mount -t tmpfs tmpfs /run && mkdir {0}/up {0}/work &&
mount -t overlay -o lowerdir=/etc,upperdir={0}/up,workdir={0}/work overlay /etc || exit
dockerd --host unix://{0}/socket --data-root {0}/data --exec-root {0}/exec --pidfile {0}/pid \\
    --cgroup-parent /{1} --storage-driver overlay2 --iptables={2} >{0}/log 2>&1 &
wait $!
"""


class Engine:
    """An engine that runs, and a connection to it. ``docker`` makes a call of its command."""

    def __init__(self, name: str, command: list[str], directory: Path, path: str = os.defpath) -> None:
        self.name, self.socket, self._command = name, directory / "socket", shutil.which("docker", path=path)
        environment = {**os.environ, "PATH": path}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(400):
            with suppress(OSError, AssertionError):
                self._connect()
                self("GET", "/_ping")
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.stop()
        log = directory / "log"
        raise RuntimeError(f"{name} does not start: {log.read_text()[-300:] if log.exists() else ''}")

    def _connect(self) -> None:
        self._connection = http.client.HTTPConnection("engine")
        self._connection.sock = socket.socket(socket.AF_UNIX)
        self._connection.sock.connect(str(self.socket))

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body)
        self._connection.request(method, path, data, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise AssertionError(f"{self.name}: {method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text) if text.strip().startswith((b"{", b"[")) else None

    def docker(self, *words: str) -> Callable[[], None] | None:
        if not self._command:
            return None
        return program(self._command, "-H", f"unix://{self.socket}", *words)

    def do(self, *words: str) -> None:
        call = self.docker(*words)
        assert call
        call()

    def start(self, *words: str, **more: Any) -> str:
        made = self("POST", "/containers/create", {"Image": "busybox", "Cmd": [*words], **more})["Id"]
        self("POST", f"/containers/{made}/start")
        return str(made)

    def clear(self) -> None:
        for one in self("GET", "/containers/json?all=1"):
            self("DELETE", f"/containers/{one['Id']}?force=1")

    def memory(self) -> float:
        """Bytes of the engine and all that it holds its containers with, but not of what runs in them."""
        everyone = [process.pid for process in psutil.Process(self.process.pid).children(recursive=True)]
        own = {_pid_namespace(self.process.pid), _pid_namespace(everyone[0])}
        return sum(_memory(pid) for pid in (self.process.pid, *everyone) if _pid_namespace(pid) in own)

    def overhead(self) -> float:
        """Those bytes, and the kernel's own on this machine: tables, stacks, namespaces, links, groups."""
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        kernel = ("Slab", "KernelStack", "PageTables", "Percpu")
        return self.memory() + sum(1024 * float(fields[name].split()[0]) for name in kernel)

    def stop(self) -> None:
        """What Docker started ends with its pid namespace, what the kit started with its helper."""
        with suppress(OSError, AttributeError, AssertionError, http.client.HTTPException):
            self.clear()
        self.process.terminate() if self.name == "kit" else self.process.kill()
        self.process.wait(30)


def _pid_namespace(pid: int) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/pid")
    return "gone"


def _memory(pid: int) -> float:
    with suppress(psutil.NoSuchProcess):
        return float(psutil.Process(pid).memory_full_info().pss)
    return 0.0


def fetched(directory: Path) -> str:
    """The PATH with dockerd, containerd and runc: Debian's, unpacked where they are missing.

    Raises RuntimeError with the reason where they can't be had.
    """
    directory.mkdir()
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    wanted = {"docker.io": "dockerd", "containerd": "containerd", "runc": "runc"}
    missing = [package for package, command in wanted.items() if not shutil.which(command, path=path)]
    if missing:
        fetch = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *missing]
        done = subprocess.run(fetch, cwd=directory, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(missing)} can't be downloaded: {done.stderr.strip()[-200:]}")
        for package in directory.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, directory], check=True)
        path = f"{directory}/usr/sbin:{directory}/usr/bin:{path}"
    return path


@contextmanager
def docker(directory: Path, path: str) -> Iterator[Engine]:
    """Debian's, from this PATH. Raises RuntimeError where it does not start."""
    rules = "true" if shutil.which("iptables", path=path) else "false"  # without: its networks lead nowhere
    parent = f"{owner.prefix()}-docker"
    script = DOCKERD.format(directory, parent, rules)
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script]
    with ExitStack() as cleanup:
        for mount in mountinfo():
            if mount.fstype in ("cgroup", "cgroup2"):
                cleanup.enter_context(owner.owns("cgroup", f"{mount.mount_point}/{parent}"))
        engine = Engine("docker", command, directory, path)
        cleanup.callback(engine.stop)
        yield engine
