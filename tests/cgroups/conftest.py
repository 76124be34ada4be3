"""What the tests of control groups share: a group, a disk, and words for waiting and for what this machine
has.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kit import owner
from kit.cgroups import Cgroup, hierarchy


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test marked ``version(2)`` needs the controllers to be cgroup v2's, ``version(1)`` v1's."""
    here = 2 if hierarchy.mode() == "v2" else 1
    for item in items:
        for marker in item.iter_markers("version"):
            if marker.args[0] != here:
                item.add_marker(pytest.mark.skip(reason=f"this machine's controllers are cgroup v{here}'s"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "version(number): which version of cgroups the controllers must be of")


@pytest.fixture
def group() -> Iterator[Cgroup]:
    with Cgroup("test") as made:
        yield made


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    """A block device of our own: a loop device over a file that is really on a disk."""
    with owner.directory("disk") as directory:
        image = directory / "image"
        image.write_bytes(os.urandom(1 << 20) * 16)
        device = subprocess.run(
            ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True
        )
        try:
            yield device.stdout.strip()
        finally:
            subprocess.run(["losetup", "--detach", device.stdout.strip()], check=True)


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a condition; a limit on hangs, not a claim about speed."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
