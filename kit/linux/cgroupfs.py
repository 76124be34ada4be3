"""Emptying and removing control groups: directories whose files are the kernel's. See cgroups(7)."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

from kit.linux.errors import KernelError


def below(path: str) -> Iterator[str]:
    """The group at ``path`` and all groups below it, the deepest first."""
    for directory, _, _ in os.walk(path, topdown=False):
        yield directory


def pids(path: str) -> list[int]:
    """The processes in the group itself.

    Empty when the group has gone. Those of other pid namespaces read as 0.
    """
    try:
        with open(os.path.join(path, "cgroup.procs")) as file:
            return [int(line) for line in file]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise KernelError(f"list the processes of {path}", error.errno or 0, path=path) from None


def kill(path: str) -> None:
    """SIGKILL to every process in the group and below it: by cgroup.kill where the kernel has it, else one by
    one.

    A frozen group of the v1 freezer is thawed, for only then can its processes die. Groups that have gone are
    empty.
    """
    try:
        with open(os.path.join(path, "cgroup.kill"), "w") as file:
            file.write("1")
            return
    except OSError:
        pass  # a v1 hierarchy or a kernel before 5.14: go on one by one
    for group in below(path):
        for pid in pids(group):
            if pid > 0:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        freezer = os.path.join(group, "freezer.state")
        if os.path.exists(freezer):
            with open(freezer, "w") as file:
                file.write("THAWED")


def remove(path: str, timeout: float = 5.0) -> None:
    """Kill what is inside and remove the group and all below it, waiting up to ``timeout`` seconds for the
    dying.

    A group that has gone already is fine. Raises :class:`KernelError`: EBUSY when processes stay, EACCES,
    EPERM or EROFS at once. See cgroups(7), rmdir(2).
    """
    deadline = time.monotonic() + timeout
    with suppress(OSError):  # most are empty and have none below
        os.rmdir(path)
    while os.path.isdir(path):
        kill(path)
        try:
            for group in list(below(path)):
                os.rmdir(group)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise KernelError(
                    f"remove the group {group}",
                    error.errno or 0,
                    "It belongs to someone else, or is mounted read-only.",
                    group,
                ) from None
            if time.monotonic() > deadline:
                stay = sorted(pid for group in below(path) for pid in pids(group))
                raise KernelError(
                    f"remove the group {path}",
                    errno.EBUSY,
                    f"These processes are still inside: {stay}.",
                    path,
                ) from None
            time.sleep(0.002)  # the dying leave their group a moment after the signal
