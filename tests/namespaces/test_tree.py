"""The machine's namespaces as data: as many, and the same, as the kernel and lsns say."""

import json
import os
import subprocess

import pytest

from kit.linux import proc
from kit.namespaces import NamespaceTree, inside, of, start, tree, until

needs_root = pytest.mark.needs("root")
LSNS_NAMES = {"mnt": "mount", "net": "network"}


def test_our_own_are_there_and_marked():
    found = tree()
    for kind, inode in proc.namespaces().items():
        namespace = found.get(inode)
        assert namespace is not None and namespace.kind == kind
        assert os.getpid() in namespace.pids
        assert found.here[kind] == inode
    assert found.new().kind("uts").get(found.here["uts"]) is None


@needs_root
def test_owner_and_parent():
    with start("sleep 60", "pid uts user", uid_map=[(0, 65534, 1)], gid_map=[(0, 65534, 1)]) as process:
        found, its = tree(), of(process)
        pid, uts, user = (found.get(its[kind]) for kind in ("pid", "uts", "user"))
        assert pid.pids == uts.pids == user.pids == (process.pid,)
        assert pid.command == "sleep 60"
        assert pid.owner == uts.owner == user.inode  # it was made with them, and owns them
        assert user.owner == user.parent == its.ours["user"]
        assert pid.parent == its.ours["pid"]
        assert uts.parent is None
        assert user.owner_uid == os.geteuid() and uts.owner_uid is None
        assert user in found.children(its.ours["user"])
        assert {pid, uts} <= set(found.owned_by(user.inode))
    assert tree().get(user.inode) is None  # it ended with its last process


@needs_root
def test_a_namespace_without_members_is_found_through_its_child():
    script = "unshare --user --map-root-user --uts sh -c 'echo ready; exec sleep 60'"
    with start(["sh", "-c", f"exec {script}"], "user") as process:
        process.stdout.readline()
        its = of(process)
        found = tree()
        middle = found.get(found.get(its["user"]).parent)
        assert middle.pids == () and middle.kind == "user"
        assert middle.parent == its.ours["user"]


@needs_root
def test_selections():
    with start("sleep 60", "uts pid") as process:
        found = tree()
        assert {ns.kind for ns in found.kind("pid", "uts")} == {"pid", "uts"}
        mine = found.of(process.pid)
        assert isinstance(mine, NamespaceTree)
        assert {ns.inode for ns in mine} == set(of(process).inodes.values()) | set(found.here.values())
        assert [ns.pids for ns in mine.new() if ns.kind == "uts"] == [(process.pid,)]


@needs_root
@pytest.mark.needs("lsns")
def test_lsns_says_the_same():
    with (
        start(["sh", "-c", "sleep 60 & echo ready; wait"], "all", hostname="peer") as one,
        start("sleep 60", "user network") as two,
    ):
        one.stdout.readline()
        wanted = set(of(one).inodes.values()) | set(of(two).inodes.values())
        wanted -= set(of(one).ours.values())
        columns = "NS,TYPE,NPROCS,PID,PNS,ONS"
        said = json.loads(
            subprocess.run(["lsns", "-J", "-o", columns], capture_output=True, check=True).stdout
        )
        theirs = {
            (
                n["ns"], LSNS_NAMES.get(n["type"], n["type"]), n["nprocs"], n["pid"],
                n["pns"] or None, n["ons"] or None,
            )
            for n in said["namespaces"] if n["ns"] in wanted
        }  # fmt: skip
        ours = {
            (n.inode, n.kind, len(n.pids), n.pids[0], n.parent, n.owner) for n in tree() if n.inode in wanted
        }
    assert len(ours) == 10
    assert ours == theirs


@needs_root
@pytest.mark.needs("unshare", "nsenter")
def test_foreign_namespaces_are_listed_and_entered_and_stand_by_untouched():
    foreign = subprocess.Popen(["unshare", "--uts", "--net", "sh", "-c", "hostname foreign; exec sleep 60"])
    try:
        until(lambda: proc.command(foreign.pid) == ["sleep", "60"])
        assert of(foreign).own == ("uts", "network")
        assert str(inside(foreign).run("hostname")) == "foreign\n"
        before = of(foreign).inodes
        with start("sleep 60", "all"):
            assert tree().get(before["uts"]).pids == (foreign.pid,)
        assert foreign.poll() is None
        assert of(foreign).inodes == before
        seen = subprocess.run(
            ["nsenter", "-u", "-t", str(foreign.pid), "hostname"], capture_output=True, text=True
        )
        assert seen.stdout == "foreign\n"
    finally:
        foreign.kill()
        foreign.wait()


@needs_root
@pytest.mark.needs("nsenter")
def test_nsenter_sees_what_we_see():
    with start("sleep 60", "uts pid mount network", proc=True, hostname="peer") as process:
        for command in ("hostname", "ls /proc/1/task", "readlink /proc/1/ns/net"):
            theirs = subprocess.run(
                ["nsenter", "-t", str(process.pid), "-u", "-p", "-m", "-n", *command.split()],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            assert str(inside(process).run(command)) == theirs.stdout


def test_what_is_shown():
    found = tree()
    assert found._repr_mimebundle_()["text/plain"] == "namespaces of this machine"
    assert "(ours)" in str(found) and "network" in str(found)
    assert "shared" in str(of(os.getpid()))
