"""Pure cgroup v2: handing controllers down, and the kernel's own rule about processes inside."""

from __future__ import annotations

import pytest

from kit import owner
from kit.cgroups import ControllerMissing, InternalProcesses, hierarchy, loads, v2
from kit.linux.cgroupfs import remove

pytestmark = [pytest.mark.needs("root"), pytest.mark.version(2)]


def test_one_directory_and_the_files_have_their_own_names(group):
    assert len(group.directories) == 1
    group["cpu.max"] = (50_000, 100_000)
    group["memory.high"] = "32M"
    assert [one.path for one in group.written] == [
        str(group.directories[0] / name) for name in ("cpu.max", "memory.high")
    ]
    assert set(group["cgroup.controllers"]) >= set(group.controllers)


def test_a_group_hands_down_what_its_children_need(group):
    below = group.child("below", controllers=["pids"])
    assert group["cgroup.subtree_control"] == ["pids"] and below["pids.current"] == 0


def test_a_group_that_was_given_nothing_has_nothing_to_hand_down():
    top = hierarchy.unified().mount_point / f"{owner.prefix()}-bare"
    with owner.owns("cgroup", str(top)):
        top.mkdir()
        (top / "below").mkdir()
        with pytest.raises(ControllerMissing, match="no controller 'memory' to hand down"):
            v2.hand_down(top / "below", ("memory",))


def test_the_kernel_itself_refuses_to_hand_down_from_a_group_with_processes(group):
    with group.start(loads.busy()), pytest.raises(InternalProcesses) as refused:
        v2.hand_down(group.directories[0], ("memory",))
    assert (
        refused.value.errno_name in ("EBUSY", "EOPNOTSUPP")
        and "either hold processes" in refused.value.remedy
    )
    remove(str(group.directories[0]))
