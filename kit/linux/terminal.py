"""A pseudoterminal: its two ends, its size, and whom it controls. See pty(7), ioctl_tty(2)."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Sequence
from errno import ENOTTY

TIOCSCTTY, TIOCSWINSZ, TIOCSPTLCK, TIOCGPTPEER = 0x540E, 0x5414, 0x40045431, 0x5441
_PTMX = os.makedev(5, 2)


def open_pair(master: int, size: Sequence[int] | None) -> tuple[int, int]:
    """(master, slave) from an open /dev/ptmx; the slave is opened by no path, which could be another's.

    Raises OSError ENOTTY for what is no such device.
    """
    if os.fstat(master).st_rdev != _PTMX:
        raise OSError(ENOTTY, "/dev/ptmx is not the multiplexer of pseudoterminals")
    fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
    slave: int = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if size is not None:
        resize(master, *size)
    return master, slave


def resize(fd: int, rows: int, columns: int) -> None:
    """Set the size in characters; the foreground processes get SIGWINCH."""
    fcntl.ioctl(fd, TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


def control(slave: int) -> None:
    """Make it the controlling terminal of the caller, the leader of a session that has none."""
    fcntl.ioctl(slave, TIOCSCTTY, 0)
