"""A state directory of its own for each test, and an exercise that any user's kernel can answer."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from kit import checks
from kit.checks import Exercise, NotYet
from kit.checks.look import pid_of
from kit.linux import proc


class Sleeper(Exercise):
    """A process with a given command line: nothing but /proc is needed to look at it."""

    name = "03.1"
    title = "A sleeping process"
    goal = "a process that sleeps for {seconds} seconds"
    hints = ("Something sleeps.", "Use `sleep {seconds}`.", "Read `man sleep`.")

    def init(self, random: Random) -> dict[str, Any]:
        return {"seconds": random.randrange(10**6, 10**9), "_secret": "not shown"}

    def setup(self) -> None:
        self.alive = True
        self.made.callback(self._end)

    def _end(self) -> None:
        self.alive = False

    def look(self, process: object) -> str:
        pid = pid_of(process)
        command = " ".join(proc.command(pid))
        if command != f"sleep {self.given.seconds}":
            raise NotYet(f"process {pid} runs `{command[:40]}`", look=f"`/proc/{pid}/cmdline`")
        return f"process {pid} runs `{command}`"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory in which progress.json appears."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    yield tmp_path / "kit"
    checks.close()


@pytest.fixture
def exercise(state: Path) -> Sleeper:
    return Sleeper()


@pytest.fixture
def sleeper(exercise: Sleeper) -> Iterator[subprocess.Popen[bytes]]:
    """The right answer."""
    process = subprocess.Popen(["sleep", str(exercise.given.seconds)])
    yield process
    process.kill()
    process.wait()
