"""Entering: where a process is, ask there."""

import errno
import os

import pytest

from kit.linux.errors import KernelError
from kit.namespaces import Mount, Root, inside, run, start

pytestmark = pytest.mark.needs("root")


def test_nothing_to_enter_in_our_own_namespaces():
    with start("sleep 60") as process:
        assert inside(process).kinds == ()
        assert str(inside(process).run("hostname")) == str(run("hostname"))


def test_entering_by_process_and_by_number():
    with start("sleep 60", "uts", hostname="there") as process:
        assert str(inside(process).run("hostname")) == "there\n"
        assert str(inside(process.pid).run("hostname")) == "there\n"


def test_entering_all_eight():
    ids = [(0, 65534, 1)]
    with start("sleep 60", "all", proc=True, hostname="deep", uid_map=ids, gid_map=ids) as process:
        place = inside(process)
        assert str(place.run("sh -c 'hostname; id -u; cat /proc/1/comm'")).split() == ["deep", "0", "sleep"]
        links = str(
            place.run(
                "sh -c 'for n in mnt uts ipc pid net user cgroup time; do readlink /proc/self/ns/$n; done'"
            )
        )
        theirs = [
            os.readlink(f"/proc/{process.pid}/ns/{n}")
            for n in ["mnt", "uts", "ipc", "pid", "net", "user", "cgroup", "time"]
        ]
        assert links.split() == theirs


def test_entering_one_alone():
    with start("sleep 60", "uts network", hostname="there") as process:
        assert inside(process, only="network").kinds == ("network",)
        assert str(inside(process, only="network").run("hostname")) != "there\n"
        assert inside(process, only="ipc").kinds == ()  # it shares ours


def test_a_root_of_its_own_is_entered_with_its_mount_namespace():
    with Root() as root:
        root.write("etc/motd", "home\n")
        with start("sleep 60", "mount", root=root) as process:
            assert str(inside(process).run("cat /etc/motd")) == "home\n"


def test_what_one_visitor_changes_the_next_one_sees():
    with start("sleep 60", "mount", mounts=[Mount("tmpfs", "/mnt", "tmpfs")]) as process:
        inside(process).run("touch /mnt/was-here").check()
        assert str(inside(process).run("ls /mnt")) == "was-here\n"


def test_processes_started_inside_end_with_their_object():
    with start("sleep 60", "pid") as process, inside(process).start("sleep 61") as visitor:
        assert visitor.poll() is None
        process.kill()  # PID 1 of the namespace that the visitor is in
        assert visitor.wait(10) == -9


def test_a_process_that_has_gone():
    with start("true", "uts") as process:
        process.wait(10)
        with pytest.raises(KernelError, match="Start a new one") as caught:
            inside(process)
        assert caught.value.errno == errno.ESRCH
    with start("sleep 60", "uts") as process:
        place = inside(process)
        process.kill()
        process.wait(10)
        with pytest.raises(KernelError, match="ESRCH"):
            place.run("hostname")
    with pytest.raises(KernelError, match="process 4194305: ESRCH"):
        inside(4194305)  # above the greatest number a pid can have


def test_a_kind_that_does_not_exist():
    with pytest.raises(ValueError, match="did you mean 'network'"):
        inside(os.getpid(), only="net")


@pytest.mark.needs("unshare")
def test_a_user_namespace_among_namespaces_that_it_does_not_own():
    """Root's uts and network namespaces; a user namespace made later in them has no rights over them."""
    script = "exec unshare --user --map-root-user sh -c 'echo ready; exec sleep 60'"
    with start(["sh", "-c", script], "uts network", hostname="there") as process:
        assert process.stdout.readline() == b"ready\n"
        assert set(inside(process).kinds) == {"uts", "network", "user"}
        assert str(inside(process).run("sh -c 'id -u; hostname'")).split() == ["0", "there"]
