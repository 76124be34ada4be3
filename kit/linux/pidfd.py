"""A process held by a file descriptor.

It can't be confused with a later process of the same number. See pidfd_open(2).
"""

from __future__ import annotations

import os
import select

from kit.linux.errors import KernelError
from kit.linux.libc import NR_PIDFD_SEND_SIGNAL, syscall


def pidfd_open(pid: int) -> int:
    """A descriptor for the process ``pid``, closed on exec.

    Raises :class:`KernelError` ESRCH when it has gone.
    """
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        raise KernelError(
            f"hold process {pid}", error.errno or 0, "No process has that number (any more)."
        ) from None


def send_signal(fd: int, number: int) -> None:
    """Send a signal to the process behind ``fd``.

    Raises OSError: ESRCH when it has ended, EPERM. See pidfd_send_signal(2).
    """
    syscall(NR_PIDFD_SEND_SIGNAL, fd, int(number), None, 0)


def wait_exit(fd: int, timeout: float | None = None) -> bool:
    """Wait up to ``timeout`` seconds (None: without limit) for the process to end; True when it has.

    See pidfd_open(2), poll(2).
    """
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(None if timeout is None else max(0, round(timeout * 1000))))
