"""Whether this machine passes packets on, as a router does: on while we need it, then as before. See ip(7).

There is one switch, and several programs may need it. Each holds a shared lock on a file that keeps the value
from before; a dead program's lock is dropped by the kernel. Who gets the lock for itself alone was the last.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

SWITCH = Path("/proc/sys/net/ipv4/ip_forward")
_held: dict[str, int] = {}


def file_in(directory: Path) -> str:
    """The file that keeps the value from before, for the network namespace that we are in."""
    return str(directory / f"ip_forward-{os.stat('/proc/self/ns/net').st_ino}")


def switch_on(path: str) -> bool:
    """Switch it on, until `restore`; whether it was off before us all. OSError where it can't be written."""
    while path not in _held:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with suppress(BlockingIOError):  # others hold it: the value is noted
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_size == 0:
                os.write(fd, SWITCH.read_bytes())
        fcntl.flock(fd, fcntl.LOCK_SH)
        if os.fstat(fd).st_nlink:
            _held[path] = fd
        else:  # the last one has just put the value back and removed the file
            os.close(fd)
    SWITCH.write_text("1")
    return os.pread(_held[path], 1, 0) == b"0"


def restore(path: str) -> None:
    """Let go; the last one puts the value back. Another network namespace's file is left alone."""
    if path in _held:
        os.close(_held.pop(path))
    if path == file_in(Path(path).parent) and os.path.exists(path):
        with open(path, "rb") as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_nlink:
                SWITCH.write_bytes(file.read())
                os.unlink(path)
