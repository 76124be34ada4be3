"""The translation to v1: which file is really written, and what is undone when the kernel refuses."""

from __future__ import annotations

import pytest

from kit.cgroups import Refused

pytestmark = [pytest.mark.needs("root"), pytest.mark.version(1)]
MIB = 1 << 20


def _files(group):
    return [(one.path.rsplit("/", 1)[1], one.text) for one in group.written]


def test_the_files_that_are_really_written(group):
    group["cpu.max"] = (50_000, 100_000)
    group["cpu.weight"] = 200
    group["memory.max"] = 64 * MIB
    group["pids.max"] = 9
    assert _files(group) == [
        ("cpu.cfs_quota_us", "50000"), ("cpu.shares", "2048"), ("memory.limit_in_bytes", str(64 * MIB)),
        ("pids.max", "9"),
    ]  # fmt: skip


def test_a_new_period_is_written_with_the_limit_lifted(group):
    group["cpu.max"] = (5_000, 10_000)
    group["cpu.max"] = (900_000, 1_000_000)
    assert group["cpu.max"] == (900_000, 1_000_000)
    assert _files(group)[-3:] == [
        ("cpu.cfs_quota_us", "-1"), ("cpu.cfs_period_us", "1000000"), ("cpu.cfs_quota_us", "900000"),
    ]  # fmt: skip


def test_a_group_may_not_exceed_the_one_above_and_all_is_undone(group):
    group["cpu.max"] = (20_000, 100_000)
    below = group.child("below")
    below["cpu.max"] = (10_000, 100_000)
    with pytest.raises(Refused, match="than the one above") as refused:
        below["cpu.max"] = (40_000, 50_000)
    assert refused.value.errno_name == "EINVAL"
    assert below["cpu.max"] == (10_000, 100_000) and len(below.written) == 1


def test_swap_is_the_difference_of_two_limits(group):
    if not group.paths("memory.swap.max")[0].exists():
        pytest.skip("the kernel was booted without swap accounting")
    group["memory.max"] = 32 * MIB
    group["memory.swap.max"] = 16 * MIB
    assert group["memory.swap.max"] == 16 * MIB
    group["memory.max"] = 64 * MIB
    assert (group["memory.max"], group["memory.swap.max"]) == (64 * MIB, 16 * MIB)
    group["memory.max"] = 24 * MIB
    assert (group["memory.max"], group["memory.swap.max"]) == (24 * MIB, 16 * MIB)
    group["memory.max"] = "max"
    assert group["memory.max"] == "max"


def test_what_lives_in_the_v2_tree_is_written_there(group):
    group["cgroup.freeze"] = 1
    group["cgroup.freeze"] = 0
    assert _files(group) == [("cgroup.freeze", "1"), ("cgroup.freeze", "0")]
