"""Killed in the middle, or twice at the same time: nothing is left, nobody is disturbed."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kit import owner
from kit.linux import proc
from kit.linux.errors import KernelError
from kit.namespaces import until

pytestmark = pytest.mark.needs("root")
REPOSITORY = Path(__file__).resolve().parents[2]

DEMO = """
    import sys, time
    from kit.namespaces import *
    root = Root()
    box = start("sleep 1000", "all", root=root, proc=True, hostname="demo")
    red, blue, switch = Host("red"), Host("blue"), Bridge("switch")
    connect(red, switch, "10.0.0.1/24"); connect(blue, switch, "10.0.0.2/24")
    assert red.ping(blue, count=1)
    print(root.path, box.pid, red.pid, blue.pid, switch.pid, flush=True)
    sys.stdin.readline()
"""


def demo():
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(DEMO)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY,
    )  # fmt: skip


def lives(pid):
    try:
        return proc.state(pid) != "Z"
    except KernelError:  # it ended before, or while we looked
        return False


def gone(pids):
    return not any(map(lives, pids))


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_program_killed_in_the_middle_leaves_nothing(signal_number):
    program = demo()
    path, *pids = program.stdout.readline().split()
    program.stderr = None
    program.send_signal(signal_number)
    program.wait(20)
    program.communicate()
    until(lambda: gone(map(int, pids)), "the processes to end")
    owner.clean()
    assert not os.path.exists(path)


def test_two_programs_with_the_same_names_at_the_same_time():
    one, two = demo(), demo()
    try:
        first, second = one.stdout.readline().split(), two.stdout.readline().split()
        assert len(first) == len(second) == 5
        assert not set(first) & set(second)
    finally:
        for program in (one, two):
            program.communicate("\n", timeout=20)
    assert (one.returncode, two.returncode) == (0, 0)
    assert not os.path.exists(first[0]) and not os.path.exists(second[0])
