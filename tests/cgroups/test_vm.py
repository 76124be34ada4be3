"""The same tests on a kernel with cgroup v2 only: in a virtual machine, whatever this machine itself has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cgroups import vm
from tests.conftest import REQUIRE_PRIVILEGES

LEFT_OUT = ("test_vm.py", "test_values.py", "test_files.py", "test_disks.py", "test_loads.py")
"""Itself, and what is the same under both versions."""


@pytest.mark.needs("root", "qemu-system-x86_64", "busybox", "apt-get", "dpkg-deb")
@pytest.mark.timeout(600)
def test_everything_holds_under_pure_cgroup_v2():
    try:
        ignored = [f"--ignore=tests/cgroups/{name}" for name in LEFT_OUT]
        outcome = vm.pytest("tests/cgroups", *ignored, seconds=540)
    except vm.Unavailable as missing:
        # Where the machine itself has cgroup v2 only, the tests beside this one have just shown the same.
        if REQUIRE_PRIVILEGES and not Path("/sys/fs/cgroup/cgroup.controllers").exists():
            raise
        pytest.skip(str(missing))
    print(f"in the virtual machine: {outcome.closing}")
    assert outcome.status == 0, outcome.console
    assert "passed" in outcome.closing and "failed" not in outcome.closing, outcome.console
