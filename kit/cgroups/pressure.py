"""Pressure: how much time processes lose waiting for a CPU, for memory, for a disk. See
https://docs.kernel.org/accounting/psi.html.

``some`` counts the time in which at least one of the group's tasks waited, ``full`` that in which all of them
did. ``avg10``, ``avg60`` and ``avg300`` are percentages over the last 10, 60 and 300 seconds, ``total`` is in
microseconds.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, Any

from kit.cgroups import values
from kit.cgroups.errors import BadLimit, refused

if TYPE_CHECKING:
    from kit.cgroups.group import Cgroup

RESOURCES = ("cpu", "memory", "io")


def machine(resource: str) -> dict[str, dict[str, Any]]:
    """The whole machine's pressure, from /proc/pressure. Raises Refused when the kernel was built or booted
    without it.
    """
    path = f"/proc/pressure/{_resource(resource)}"
    try:
        with open(path) as file:
            return values.nested(file.read())
    except OSError as error:
        raise refused(
            f"read the machine's {resource} pressure",
            error,
            path,
            "The kernel needs CONFIG_PSI, and psi=1 on its command line where it is off by default.",
        ) from None


class Trigger:
    """An alarm: the kernel wakes us when, within a window, tasks of a group lost more than so much time.

    ``stall`` and ``window`` are microseconds; the kernel takes windows of 500000 to 10000000 (multiples of
    2000000 without privilege). A context manager; it ends with the file descriptor.
    """

    def __init__(
        self, group: Cgroup, resource: str, stall: int, window: int = 2_000_000, kind: str = "some"
    ) -> None:
        if kind not in ("some", "full"):
            raise BadLimit(f"a trigger watches 'some' or 'full', not {kind!r}.")
        values.whole("the window of a trigger", window, 500_000, 10_000_000, "microseconds")
        values.whole("the stall of a trigger", stall, 1, window, "microseconds", "the window")
        self.path = group.paths(f"{_resource(resource)}.pressure")[0]
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise refused(f"open {self.path}", error, self.path) from None
        try:
            os.write(self._fd, f"{kind} {stall} {window}\0".encode())
        except OSError as error:
            os.close(self._fd)
            raise refused(
                f"set the trigger '{kind} {stall} {window}' on {self.path}",
                error,
                self.path,
                "Without privilege the window must be a multiple of 2000000 microseconds.",
            ) from None
        self._open = True

    def wait(self, timeout: float | None = None) -> bool:
        """The alarm has gone off: True. False after ``timeout`` seconds or when the group is gone."""
        poll = select.poll()
        poll.register(self._fd, select.POLLPRI)
        events = poll.poll(None if timeout is None else timeout * 1000)
        return bool(events) and not events[0][1] & select.POLLERR

    def close(self) -> None:
        """Switch the alarm off."""
        if self._open:
            self._open = False
            os.close(self._fd)

    def __enter__(self) -> Trigger:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _resource(resource: str) -> str:
    if resource not in RESOURCES:
        raise BadLimit(f"there is pressure on {', '.join(RESOURCES)}; not on {resource!r}.")
    return resource
