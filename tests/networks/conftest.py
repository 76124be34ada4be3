"""Containers for the networks' tests: plain processes asleep in a network namespace of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kit import owner
from kit.containers.networks import resolver
from kit.linux import spawn
from kit.linux.mount import MountFlags
from kit.namespaces import until

UPSTREAM = "127.9.9.9"  # where the tests' own name server stands in for the machine's


class Container:
    """A process asleep, and the place where it is."""

    def __init__(self, stack: ExitStack, resolv_conf: Path) -> None:
        self._stack = stack
        mount = spawn.Mount(str(resolv_conf), "/etc/resolv.conf", flags=MountFlags.BIND)
        self.process = spawn.start(["sleep", "infinity"], unshare=["network", "mount"], mounts=[mount])
        self._stack.callback(self.process.close)
        self.pid = self.process.pid

    def _place(self) -> dict[str, int | str]:
        return {"network": self.pid, "mount": self.pid}

    def run(self, *argv: str) -> spawn.Result:
        """A program in there, to its end."""
        return spawn.run(list(argv), join=self._place())

    def start(self, *argv: str) -> spawn.Process:
        """A program in there, until the test's end."""
        process = spawn.start(list(argv), join=self._place(), stdout=spawn.DEVNULL, stderr=spawn.DEVNULL)
        self._stack.callback(process.close)
        return process

    def reaches(self, address: str) -> bool:
        """Whether a ping comes back."""
        return self.run("ping", "-c1", "-W1", address).returncode == 0

    def get(self, url: str) -> str:
        """What an HTTP server answers; empty if nothing."""
        return self.run("curl", "-sS", "--connect-timeout", "2", url).stdout

    def serve(self, text: str, directory: Path, port: int = 80) -> None:
        """An HTTP server that answers ``text`` at /."""
        directory.mkdir(exist_ok=True)
        (directory / "index.html").write_text(text)
        self.start("busybox", "httpd", "-f", "-p", str(port), "-h", str(directory))
        self.listens(port)

    def listens(self, port: int, protocol: str = "tcp") -> None:
        """Wait until somebody does."""
        tables = ("/proc/net/" + protocol, f"/proc/net/{protocol}6")
        until(lambda: f":{port:04X} " in self.run("cat", *tables).stdout, f"a server at port {port}")


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Callable[[], Container]]:
    """Makes containers, which end with the test."""
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.11\noptions ndots:0\n")
    with ExitStack() as stack:
        yield lambda: Container(stack, resolv_conf)


@pytest.fixture(autouse=True)
def own_name_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No question of a test leaves this machine."""
    (tmp_path / "machine.conf").write_text(f"search example\nnameserver {UPSTREAM}\n")
    monkeypatch.setattr(resolver, "RESOLV_CONF", str(tmp_path / "machine.conf"))


@pytest.fixture(autouse=True)
def nothing_of_ours_left() -> Iterator[None]:
    """What the journal lists, which a look at the machine doesn't tell."""
    yield
    assert not [
        one for one in owner.journal().owned() if one.kind in ("link", "table", "iptables", "forwarding")
    ]
