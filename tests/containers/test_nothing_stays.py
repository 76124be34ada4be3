"""Whatever ends, and however: a hundred in a row, and the program that holds them, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kit import containers, owner
from kit.linux.spawn import helper_pid

pytestmark = pytest.mark.needs("root", "busybox")


def test_a_hundred_in_a_row(box: Any) -> None:
    config = box.config(["true"])
    containers.start("first", config, box.root).close()
    ours, theirs = (len(os.listdir(f"/proc/{pid}/fd")) for pid in (os.getpid(), helper_pid()))
    for i in range(100):
        with containers.start(f"c{i}", config, box.root) as container:
            assert container.wait(10) == 0
    assert len(os.listdir("/proc/self/fd")) == ours
    assert len(os.listdir(f"/proc/{helper_pid()}/fd")) == theirs


def test_ten_at_once_end_with_close(box: Any) -> None:
    running = [box.start("sleep 60 & sleep 60", tty=i % 2 == 0) for i in range(10)]
    pids = [pid for one in running for pid in one.pids()]
    for one in running:
        one.close()
        one.close()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


HOLDER = """
import sys
from pathlib import Path
from kit import containers
root = Path(sys.argv[1])
config = containers.config({}, root=root, cmd=["sh", "-c", "sleep 61 & sleep 61"])
held = [containers.start(f"c{i}", config, root, hold=i == 2) for i in range(3)]
held[0].exec({"args": ["sleep", "62"]})
print(*[pid for one in held for pid in one.pids()], flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("whom", ["the program", "the helper"])
def test_the_holder_is_killed(box: Any, whom: str) -> None:
    command = [sys.executable, "-c", HOLDER, str(box.root)]
    project = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": project}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout is not None
        pids = holder.stdout.readline().split()
        assert len(pids) >= 4
        if whom == "the helper":
            with open(f"/proc/{holder.pid}/task/{holder.pid}/children") as children:
                os.kill(int(children.read().split()[0]), signal.SIGKILL)
            alive_until(pids)
        holder.kill()
    alive_until(pids)
    owner.clean()


def alive_until(pids: list[bytes]) -> None:
    deadline = time.monotonic() + 10
    while [pid for pid in pids if Path(f"/proc/{pid.decode()}").exists()]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
