"""What a process in a group sees, and what it does not."""

from __future__ import annotations

import os

import pytest

from kit.cgroups import sight
from kit.cgroups.sight import look
from kit.cgroups.values import memory_total

pytestmark = pytest.mark.needs("root")


def test_limits_do_not_change_what_proc_says_but_the_cpus_allowed_do(group):
    group["cpu.max"], group["memory.max"], group["cpuset.cpus"] = (50_000, 100_000), "64M", 0
    seen = look(group)
    assert seen["memory"] == memory_total() and seen["cpus"] == os.cpu_count() and seen["affinity"] == 1


def test_a_cgroup_namespace_hides_the_path(group):
    assert any(path.endswith("/test") for path in look(group)["groups"])
    assert not any(path.endswith("/test") for path in look(group, unshare=("cgroup",))["groups"])


def test_the_table_says_so(group):
    group["cpu.max"], group["memory.max"], group["cpuset.cpus"] = (50_000, 100_000), "64M", 0
    shown = str(sight(group))
    assert "50000 of 100000" in shown and "64 MiB" in shown and f"/{group.path}" in shown
