"""A RUN in its namespaces: what it sees, what it may do, and that nothing of it stays but its changes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psutil
import pytest

from kit.images import rootfs
from kit.images.build.run import run
from kit.images.build.users import User
from kit.images.errors import ImageError
from kit.images.image import Image
from kit.images.rootfs import Rootfs
from kit.linux.errors import KernelError
from tests.images.images import image, layer

pytestmark = pytest.mark.needs("root", "busybox")
ENV = {"PATH": "/bin"}


@pytest.fixture
def root(store) -> Iterator[Rootfs]:
    with rootfs.mount(store, Image.find(store, "busybox")) as mounted:
        yield mounted


def said(root: Rootfs, command: str, **how) -> str:
    """What a shell command prints; it must end well."""
    parts: list[bytes] = []
    ended = run(root, ["sh", "-c", command], output=parts.append, **{"env": ENV, **how})
    assert ended.status == 0, (ended, parts)
    return b"".join(parts).decode()


def test_it_is_alone_in_its_namespaces(root):
    assert said(root, "echo $$; hostname; ls /sys/class/net; cat /sys/class/net/lo/flags").split() == [
        "1", "kit-build", "lo", "0x9",
    ]  # fmt: skip
    inside = said(root, "for n in mnt pid uts ipc net cgroup; do readlink /proc/self/ns/$n; done").split()
    outside = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "pid", "uts", "ipc", "net", "cgroup")]
    assert not set(inside) & set(outside)


def test_the_hosts_network_when_asked_for(root):
    assert said(root, "readlink /proc/self/ns/net", network="host").strip() == os.readlink(
        "/proc/self/ns/net"
    )
    with open("/etc/hosts") as file:
        assert said(root, "cat /etc/hosts", network="host") == file.read()
    assert not (root.path / "etc/hosts").exists() and not (root.path / "etc/resolv.conf").exists()


def test_a_link_put_in_the_way_leads_to_nothing_of_the_machines(root, tmp_path):
    (tmp_path / "hosts").touch()
    (tmp_path / "resolv.conf").touch()
    said(root, f"mv /etc /was; ln -s {tmp_path} /etc", network="host")
    assert sorted(os.listdir(tmp_path)) == ["hosts", "resolv.conf", "store"]


def test_user_groups_umask_environment_and_directory(root):
    who = User(1000, 1001, (5, 6))
    (root.path / "tmp/here").mkdir()
    before = os.umask(0o077)
    try:
        told = said(
            root, "id -u; id -g; id -G; umask; pwd; env", user=who, cwd="/tmp/here", env={"A": "b", **ENV}
        )
    finally:
        os.umask(before)
    assert told.split("\n")[:5] == ["1000", "1001", "1001 5 6", "0022", "/tmp/here"]
    assert set(told.split("\n")[5:]) == {"A=b", "PATH=/bin", "PWD=/tmp/here", "SHLVL=1", ""}


def test_only_dockers_capabilities_without_mknod(root):
    mask = int(said(root, "grep CapBnd /proc/self/status").split()[1], 16)
    docker = 0x00000000A80425FB
    assert mask == docker & ~(1 << 27)
    assert run(root, ["mknod", "/x", "b", "8", "0"], env=ENV).status == 1
    assert said(root, "mkfifo /fifo; ls /fifo") == "/fifo\n"


def test_what_could_harm_the_machine_is_covered(root):
    for command in ("echo x > /proc/sys/kernel/core_pattern", "echo c > /proc/sysrq-trigger", "mkdir /sys/x"):
        assert run(root, ["sh", "-c", command], env=ENV).status == 1, command
    assert said(root, "ls /sys/firmware; cat /proc/timer_list /proc/keys 2>/dev/null || true") == ""


def test_the_devices(root):
    assert said(root, "echo lost > /dev/null; head -c 3 /dev/zero | wc -c; cat /dev/stdin") == "3\n"
    assert said(root, "ls /dev").split() == [
        "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom",
        "zero",
    ]  # fmt: skip
    assert said(root, "echo x > /dev/shm/x; touch /dev/y; ls /dev/shm", user=User(0, 0)) == "x\n"
    assert root.changes() == []


def test_what_it_prints_comes_live_and_in_order(root):
    parts: list[bytes] = []

    def go(data: bytes) -> None:
        parts.append(data)
        (root.path / "tmp/go").touch()  # only now may it go on

    command = "echo one; while [ ! -e /tmp/go ]; do sleep 0.01; done; echo two >&2; echo three"
    assert run(root, ["sh", "-c", command], env=ENV, output=go, timeout=20).status == 0
    assert b"".join(parts) == b"one\ntwo\nthree\n"


def test_background_processes_end_with_it(root):
    said(root, "sleep 4711.25 & sleep 4711.25 >/dev/null 2>&1 & true")
    assert not [p for p in psutil.process_iter(["cmdline"]) if "4711.25" in (p.info["cmdline"] or ())]


def test_exit_status_and_signal(root):
    assert run(root, ["sh", "-c", "exit 7"], env=ENV).status == 7
    assert run(root, ["sh", "-c", "sh -c 'kill -9 $$'; exit $?"], env=ENV).status == 137


def test_out_of_memory_is_told(root, monkeypatch):
    monkeypatch.setattr("kit.images.build.run.MEMORY", 16 << 20)
    ended = run(root, ["sh", "-c", "x=a; while true; do x=$x$x; done"], env=ENV)
    assert ended.unlimited or ended.out_of_memory
    assert ended.status


def test_a_time_limit(root):
    with pytest.raises(TimeoutError, match="time limit"):
        run(root, ["sleep", "1000"], env=ENV, timeout=0.3)
    with pytest.raises(TimeoutError):
        run(root, ["sh", "-c", "exec sleep 1000 >/dev/null 2>&1"], env=ENV, timeout=0.3)


def test_interrupted_nothing_stays(root):
    def interrupt(data: bytes) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(root, ["sh", "-c", "echo x; sleep 1000"], env=ENV, output=interrupt)


def test_no_such_program_or_directory(root):
    with pytest.raises(KernelError, match="exec nothing: ENOENT"):
        run(root, ["nothing"], env=ENV)
    with pytest.raises(KernelError, match="change directory to /nowhere: ENOENT"):
        run(root, ["true"], env=ENV, cwd="/nowhere")
    assert root.changes() == []


def test_mount_points_are_not_left_in_the_layer(store):
    busybox = Image.find(store, "busybox")
    with rootfs.mount(store, None) as root:
        (root.path / "bin").mkdir()
        with rootfs.mount(store, busybox) as other:
            (root.path / "bin/sh").write_bytes((other.path / "usr/bin/busybox").read_bytes())
        (root.path / "bin/sh").chmod(0o755)
        assert run(root, ["/bin/sh", "-c", "echo > made"], env=ENV, network="host").status == 0
        assert sorted(entry.name for entry in root.changes()) == ["bin", "bin/sh", "made"]


@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
def test_a_link_where_something_is_to_be_mounted_is_refused(store, name, tmp_path):
    with rootfs.mount(store, Image.of(store, image(store, "", layer(store, x=b"")))) as root:
        (root.path / name).symlink_to(tmp_path)
        with pytest.raises(ImageError, match=f"/{name} is no directory"):
            run(root, ["true"], env=ENV)
        assert list(tmp_path.glob("*/dev/null")) == []
