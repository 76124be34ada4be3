"""Waiting for a group's state to change without spinning: cgroup.events and the pressure files wake poll(2)
with POLLPRI.
"""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING

from kit.cgroups.errors import CgroupError

if TYPE_CHECKING:
    from kit.cgroups.group import Cgroup


def wait_until(group: Cgroup, key: str, value: int, timeout: float = 5.0) -> None:
    """Wait until ``key`` of cgroup.events ("populated" or "frozen") is ``value``, at most ``timeout``
    seconds.

    Raises :class:`CgroupError` when it does not happen in time.
    """
    deadline = time.monotonic() + timeout
    poll = select.poll()
    file = group.paths("cgroup.events")[0]
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if file.name == "cgroup.events":
            os.read(fd, 4096)  # from here on poll wakes at every change
            poll.register(fd, select.POLLPRI)
        while group["cgroup.events"][key] != value:
            left = deadline - time.monotonic()
            if left <= 0:
                inside = group.pids(below=True)
                raise CgroupError(f"{group.path!r} not {key}={value} after {timeout} s; inside: {inside}.")
            poll.poll(min(left, 0.05) * 1000)  # v1's files wake nobody: look again soon
    finally:
        os.close(fd)
