"""The group itself: making, nesting, values, processes, freezing, killing, removing."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from kit import owner
from kit.cgroups import (
    BadLimit,
    Cgroup,
    CgroupError,
    ControllerMissing,
    InternalProcesses,
    Refused,
    UnknownFile,
    hierarchy,
    loads,
)
from kit.linux.errors import KernelError
from kit.linux.spawn import PIPE

pytestmark = pytest.mark.needs("root")


def test_a_group_is_a_directory_in_each_tree_and_gone_afterwards():
    with Cgroup("demo") as group:
        places = group.directories
        assert places and all(path.is_dir() for path in places)
        assert all(path.parent.name == owner.prefix() and path.name == "demo" for path in places)
        assert group.alive and repr(group) == "Cgroup demo"
    assert not group.alive and not any(path.exists() or path.parent.exists() for path in places)


def test_a_closed_group_says_so():
    with Cgroup("demo") as group:
        pass
    group.close()
    for use in (
        lambda: group["cpu.max"],
        lambda: group.start(loads.busy()),
        lambda: group.child("x"),
        group.kill,
    ):
        with pytest.raises(CgroupError, match="has been closed"):
            use()


def test_a_group_that_is_dropped_is_removed():
    group = Cgroup("demo")
    process = group.start(loads.busy())
    places = group.directories
    del group
    gc.collect()
    assert process.wait(10) == -9 and not any(path.exists() for path in places)


def test_running_a_cell_again_replaces_the_group():
    first = Cgroup("demo")
    process = first.start(loads.busy())
    second = Cgroup("demo")
    assert process.wait(10) == -9 and not first.alive and second.alive
    first.close()
    assert second.alive
    second.close()


@pytest.mark.parametrize(
    "name", ["", "..", ".", "a/b", "/x", "cpu.max", "memory.high", "a" * 80, "a b", "-x", ...]
)
def test_a_name_that_can_be_none_is_refused(name):
    with pytest.raises(BadLimit, match="cannot name a group"):
        Cgroup(name)


def test_only_the_controllers_asked_for():
    with Cgroup("demo", controllers=["pids"]) as group:
        assert group["pids.current"] == 0
        with pytest.raises(ControllerMissing, match="without the controller 'memory'"):
            group["memory.max"]
        with pytest.raises(ControllerMissing, match="name it in the controllers"):
            group.child("below", controllers=["memory"])
    with pytest.raises(ControllerMissing, match="no controller 'gpu'"):
        Cgroup("demo", controllers=["pids", "gpu"])


@pytest.mark.parametrize(
    ("name", "value"),
    [("cpu.max", -1), ("cpu.max", "12Q"), ("cpu.max", 0), ("memory.max", -1), ("memory.max", "12Q"),
     ("memory.max", 0), ("memory.max", "999T"), ("pids.max", -1), ("pids.max", 0), ("pids.max", 1 << 40),
     ("cpuset.cpus", "0-4095"), ("cpuset.cpus", "0-9999999999"), ("cpuset.cpus", "0-"),
     ("cpuset.cpus", "1-0"),
     ("cpuset.cpus", [0.5]), ("cpuset.cpus", [True]), ("memory.swap.max", "-1"), ("memory.swap.max", 1 << 61),
     ("cpu.weight", 0), ("cpu.weight", 10_001), ("memory.current", 1),
     ("io.max", "8:999 rbps=1"), ("io.max", {}),
     ("io.max", {"/dev/null": {"rbps": 1}})],
)  # fmt: skip
def test_bad_input_is_refused_before_anything_changes(group, name, value):
    before = group[name]
    with pytest.raises(BadLimit, match="Nothing was changed"):
        group[name] = value
    assert group[name] == before and not group.written


def test_an_unknown_file_is_answered_with_the_one_meant(group):
    with pytest.raises(UnknownFile, match=r"Did you mean .*cpu\.max"):
        group["cpu.maxx"] = 5
    with pytest.raises(UnknownFile, match=r"memory\.events"):
        group["memory.event"]


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [("cpu.max", (30_000, 100_000), (30_000, 100_000)), ("cpu.max", (30_000, 50_000), (30_000, 50_000)),
     ("cpu.max", "max", ("max", 100_000)), ("cpu.weight", 50, 50), ("cpu.weight", 10_000, 10_000),
     ("cpu.weight", 1, 1), ("memory.max", "64M", 64 << 20), ("memory.max", "max", "max"),
     ("pids.max", 12, 12), ("pids.max", "max", "max"),
     ("cpuset.cpus", 0, [0]), ("cpuset.mems", "0", [0])],
)  # fmt: skip
def test_what_is_set_is_read_back_and_the_file_is_told(group, name, value, read):
    group[name] = value
    assert group[name] == read
    assert group.written and all(one.name == name and str(group.directories) for one in group.written)
    assert all(os.path.exists(one.path) for one in group.written)


def test_a_limit_that_the_kernel_refuses_comes_back_with_its_errno(group):
    group.run(["true"])
    with pytest.raises(Refused) as refused:
        group.add(2**22 - 1)
    assert refused.value.errno_name in ("ESRCH", "EINVAL", "ENOENT")
    os.rmdir(group.directories[0])
    with pytest.raises(Refused, match="removed") as refused:
        group["cgroup.freeze"] = 1
    assert refused.value.errno_name == "ENOENT" and not group.written


def test_a_program_starts_inside_and_is_counted(group):
    shown = group.run("cat /proc/self/cgroup").check().stdout
    assert shown.count(f"{owner.prefix()}/test") == len(group.directories)
    process = group.start(loads.busy())
    assert group.pids() == [process.pid] and group["pids.current"] == 1
    assert group["cgroup.events"]["populated"] == 1


def test_the_group_holds_on_to_what_it_started(group):
    group.start(loads.busy())
    gc.collect()
    assert len(group.pids()) == 1


def test_a_running_program_is_moved_in_and_this_one_is_not(group):
    outside = subprocess.Popen(loads.busy())
    try:
        group.add(outside.pid)
        assert group.pids() == [outside.pid]
        with pytest.raises(CgroupError, match="this notebook itself"):
            group.add(os.getpid())
    finally:
        outside.kill()
        outside.wait()


@pytest.mark.parametrize("pid", [0, -1, "1x", None, True, ...])
def test_what_is_no_process_number_is_refused(group, pid):
    with pytest.raises(BadLimit, match="a process number is wanted"):
        group.add(pid)


def test_a_process_that_has_gone_is_told_as_such(group):
    gone = int(group.run(["sh", "-c", "echo $$"]).stdout)
    with pytest.raises(KernelError, match=r"ESRCH.*The process has ended") as caught:
        group.add(gone)
    assert caught.value.errno_name == "ESRCH" and group.pids() == []


def test_a_forked_copy_of_the_program_takes_nothing_down():
    code = (
        "import os, sys; from kit.cgroups import Cgroup; g = Cgroup('mine'); p = g.start('sleep 60')\n"
        "child = os.fork()\n"
        "if child == 0: sys.exit(0)\n"
        "os.waitpid(child, 0); print(p.poll(), g.alive)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.stdout == "None True\n", ran.stderr


def test_nesting_counts_below_and_keeps_v2s_rule(group):
    below = group.child("below")
    deeper = below.child("deeper")
    process = deeper.start(loads.busy())
    assert group.pids() == [] and group.pids(below=True) == [process.pid] and group["pids.current"] == 1
    with pytest.raises(InternalProcesses, match="groups below"):
        group.start(loads.busy())
    with pytest.raises(InternalProcesses, match="holds processes"):
        deeper.child("deepest")
    assert [child.name for child in group.children] == ["below"] and deeper.path == "test/below/deeper"
    below.close()
    assert group.children == [] and not deeper.alive and process.wait(10) == -9
    leaf = group.child("leaf")
    assert leaf.alive
    group.close()
    assert not leaf.alive


def test_the_limit_of_the_group_above_holds_below(group):
    group["pids.max"] = 6
    below = group.child("below")
    below["pids.max"] = 100
    with below.start(loads.forks(50), stdout=PIPE) as process:
        assert process.stdout.readline() == b'{"made": 5, "refused": "EAGAIN"}\n'


def test_freezing_stands_still_and_thawing_goes_on(group):
    with group.start(loads.tick(200), stdout=PIPE) as process:
        process.stdout.readline()
        group.freeze()
        assert group["cgroup.events"]["frozen"] == 1
        used = group["cpu.stat"]["usage_usec"]
        os.set_blocking(process.stdout.fileno(), False)
        while process.stdout.read(4096):
            pass
        assert group["cpu.stat"]["usage_usec"] == used and process.poll() is None
        with pytest.raises(CgroupError, match="frozen"):
            group.start(["true"])
        group.thaw()
        os.set_blocking(process.stdout.fileno(), True)
        assert process.stdout.readline()


def test_a_frozen_group_can_be_killed_and_removed(group):
    process = group.start(loads.busy())
    group.freeze()
    group.kill()
    assert process.wait(10) == -9 and group.pids() == []


def test_killing_takes_a_fork_bomb_as_a_whole(group):
    group["pids.max"] = 60
    process = group.start(loads.forks(500), stdout=PIPE)
    process.stdout.readline()
    assert len(group.pids()) == 60
    group.kill()
    assert group.pids() == [] and process.wait(10) == -9


def test_two_notebooks_with_the_same_names_at_once(group):
    program = (
        "import sys; from kit.cgroups import Cgroup\n"
        "with Cgroup('test') as group:\n"
        "    group['pids.max'] = 7\n"
        "    print(group.directories[0], flush=True); sys.stdin.readline(); print(group['pids.max'])\n"
    )
    group["pids.max"] = 5
    other = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    theirs = other.stdout.readline().strip()
    assert theirs and theirs != str(group.directories[0]) and os.path.isdir(theirs)
    assert group["pids.max"] == 5
    out, _ = other.communicate("\n", timeout=30)
    assert out == "7\n" and not os.path.exists(theirs) and group.alive


def test_it_shows_itself(group):
    bundle = group._repr_mimebundle_()
    assert bundle["text/plain"] == "Cgroup test" and str(group.directories[0]) in bundle["text/html"]
    group["pids.max"] = 3
    assert "pids.max" in group.written._repr_mimebundle_()["text/html"]
    shown = str(group.settings("pids.max", "cpu.max"))
    assert "pids.max" in shown and str(group.paths("cpu.max")[0]) in shown


def test_every_file_can_be_read_or_says_why_not(group):
    from kit.cgroups.files import FILES

    for name in FILES:
        try:
            group[name]
        except OSError as error:
            assert isinstance(error, CgroupError) and len(str(error)) > 40, name


def test_a_controller_that_is_used_by_nobody_is_named():
    missing = set(hierarchy.CONTROLLERS) - set(hierarchy.available())
    for controller in missing:
        with pytest.raises(ControllerMissing, match=controller):
            Cgroup("demo", controllers=[controller])
