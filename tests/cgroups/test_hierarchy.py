"""Finding the trees: on this machine as it is, and in mount namespaces in which it looks different."""

from __future__ import annotations

import json
import os
import sys

import pytest

from kit.cgroups import Cgroup, ControllerMissing, hierarchy
from kit.cgroups.errors import NotDelegated
from kit.linux.spawn import Mount, run


def test_what_is_found_is_really_mounted_and_holds_groups():
    found = hierarchy.hierarchies()
    assert found and hierarchy.mode() in ("v1", "v2", "hybrid")
    for one in found:
        assert os.path.ismount(one.mount_point) and (one.mount_point / "cgroup.procs").exists()
        assert hierarchy.group_of(one).is_relative_to(one.mount_point)


def test_every_controller_has_one_holder():
    for controller in hierarchy.available():
        holders = hierarchy.holding(controller)
        assert len({one.version for one in holders}) == 1
        assert len(holders) == 1 or controller == "cpu"


def test_the_table_tells_where_each_controller_lives():
    shown = str(hierarchy.table())
    assert all(name in shown for name in hierarchy.CONTROLLERS)
    assert all(str(one.mount_point) in shown for one in hierarchy.holding("memory"))


def test_an_unknown_controller_is_named_with_those_there_are():
    with pytest.raises(ControllerMissing, match="cpu, cpuset, io, memory, pids"):
        hierarchy.holding("network")


def _in_another_view(program: str, *mounts: Mount, **how: object) -> dict[str, object]:
    """Run Python code in a mount namespace of its own: what it mounts or covers there is so for it alone."""
    shown = run([sys.executable, "-c", program], unshare=["mount"], mounts=mounts, cwd=os.getcwd(), **how)
    return json.loads(shown.check().stdout)


@pytest.mark.needs("root")
def test_where_no_tree_is_mounted_the_answer_says_so():
    program = """
import json, os
from kit.linux import proc
from kit.linux.mount import umount
for mount in reversed(proc.mountinfo()):
    if mount.fstype in ("cgroup", "cgroup2"):
        umount(mount.mount_point, 2)
from kit.cgroups import Cgroup, hierarchy
try:
    Cgroup("nowhere")
except OSError as error:
    told = [type(error).__name__, str(error)]
print(json.dumps({"mode": hierarchy.mode(), "available": hierarchy.available(), "told": told}))
"""
    seen = _in_another_view(program)
    assert seen["mode"] == "none" and seen["available"] == []
    assert seen["told"][0] == "ControllerMissing" and "mounted" in seen["told"][1]


@pytest.mark.needs("root")
def test_a_tree_that_is_mounted_read_only_is_refused_with_the_remedy():
    program = """
import json
from kit.linux import proc
from kit.linux.mount import mount, MountFlags
for one in proc.mountinfo():
    if one.fstype in ("cgroup", "cgroup2"):
        mount(None, one.mount_point, None, MountFlags.REMOUNT | MountFlags.BIND | MountFlags.RDONLY)
from kit import owner
from kit.cgroups import Cgroup
try:
    Cgroup("nowhere")
except OSError as error:
    told = [type(error).__name__, error.errno_name, error.remedy]
print(json.dumps({"told": told, "owned": len(owner.journal().owned())}))
"""
    seen = _in_another_view(program)
    assert seen["told"][:2] == ["NotDelegated", "EROFS"] and "--privileged" in seen["told"][2]
    assert seen["owned"] == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may; the pass as an ordinary user runs it")
def test_without_privilege_there_is_no_place_and_the_remedy_is_told():
    with pytest.raises(NotDelegated, match="Be root") as refused:
        Cgroup("nowhere")
    assert refused.value.errno_name == "EACCES"


@pytest.mark.needs("root")
@pytest.mark.version(1)
def test_where_only_v1_is_mounted_groups_freeze_and_are_killed_all_the_same():
    program = """
import json
from kit.cgroups import Cgroup, hierarchy, loads
from kit.linux.mount import umount
umount(str(hierarchy.unified().mount_point), 2)
with Cgroup("old") as old:
    process = old.start(loads.busy())
    old.freeze()
    frozen = old["cgroup.events"]
    try:
        old["cpu.pressure"]
    except OSError as error:
        told = type(error).__name__
    old.thaw()
    thawed = old["cgroup.freeze"]
    old.kill()
    seen = {"mode": hierarchy.mode(), "frozen": frozen, "thawed": thawed, "told": told,
            "ended": process.wait(10), "pids": old.pids(), "written": old.written[0].path}
print(json.dumps(seen))
"""
    seen = _in_another_view(program)
    assert seen["mode"] == "v1" and seen["written"].endswith("freezer.state") and seen["told"] == "NoEqual"
    assert seen["frozen"] == {"populated": 1, "frozen": 1} and seen["thawed"] == 0
    assert seen["ended"] == -9 and seen["pids"] == []
