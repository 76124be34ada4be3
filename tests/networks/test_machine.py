"""Checks that need a machine of their own: other links, forwarding, iptables. See machine.py beside this."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kit import owner
from kit.linux import spawn
from tests.networks import machine

ROOT = Path(__file__).parents[2]
CHECKS = "way_out_and_in only_this_machine no_router a_router closed_by_others two_programs".split()
CHECKS += "owner_killed owner_ended killed_at_any_moment several_programs".split()
CHECKS += ["subnets_in_use", "read_only_sys"]


@pytest.mark.needs("root", "ip", "busybox", "iptables")
@pytest.mark.parametrize("check", CHECKS)
def test_on_a_machine_of_its_own(check):
    assert getattr(machine, check).__doc__
    argv = [sys.executable, "-m", "tests.networks.machine", check]
    journals = spawn.Mount("tmpfs", str(owner.state_directory()), "tmpfs")  # it cleans up its own, not ours
    answer = spawn.run(argv, unshare=["network", "mount"], mounts=[journals], cwd=str(ROOT), timeout=100)
    assert answer.returncode == 0, answer.stderr
