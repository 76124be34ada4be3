"""A container's terminal on our own: keys go in, what it says comes out. See termios(3)."""

from __future__ import annotations

import os
import select
import signal
import termios
import tty
from contextlib import suppress
from typing import Any


def show(running: Any) -> None:
    """Until the terminal's other end is closed by all; our own is raw meanwhile."""
    before = termios.tcgetattr(0) if os.isatty(0) else None
    if before is not None:
        tty.setraw(0)
        signal.signal(signal.SIGWINCH, lambda *_: running.resize(*_size()))
        running.resize(*_size())
    keys = [0]
    try:
        with suppress(OSError):  # EIO: nobody has the other end any more
            while True:
                for fd in select.select([running.master, *keys], [], [])[0]:
                    data = os.read(fd, 65536)
                    if fd == 0 and not data:
                        keys.clear()
                    os.write(running.master if fd == 0 else 1, data)
    finally:
        if before is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def _size() -> tuple[int, int]:
    columns, rows = os.get_terminal_size(0)
    return rows, columns
