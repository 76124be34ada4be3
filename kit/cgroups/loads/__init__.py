"""Small programs that need limits, each a file of its own to open and read: run them in a group.

    web.start(loads.busy())

Each function gives the command line of one of the programs beside this file. They use nothing but Python's
standard library.
"""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).parent


def _program(name: str, *arguments: object) -> list[str]:
    # -I -S: isolated, without site packages. Such a Python starts in a few milliseconds and a few megabytes.
    return [sys.executable, "-I", "-S", str(_HERE / f"{name}.py"), *map(str, arguments)]


def busy() -> list[str]:
    """Computes for ever: one CPU's worth, if it is allowed to."""
    return _program("busy")


def memory(megabytes: int, per_second: float = 0) -> list[str]:
    """Takes so many MiB, really touched, then keeps them. ``per_second`` MiB a second, or at once when 0."""
    return _program("memory", megabytes, per_second)


def forks(most: int) -> list[str]:
    """Forks up to ``most`` children that sleep. Prints how many it got and the first refusal as JSON, then
    waits.
    """
    return _program("forks", most)


def read_disk(path: str, megabytes: float, block: int = 256) -> list[str]:
    """Reads so many MiB from a file or a disk by direct I/O, ``block`` KiB at a time, from the start again at
    the end.
    """
    return _program("disk", "read", path, megabytes, block)


def write_disk(path: str, megabytes: float, block: int = 256) -> list[str]:
    """Writes so many MiB to a file by direct I/O, ``block`` KiB at a time."""
    return _program("disk", "write", path, megabytes, block)


def tick(per_second: float = 20) -> list[str]:
    """Prints a growing number, so many times a second: what stands still when it is frozen shows."""
    return _program("tick", per_second)


def steady(share: float) -> list[str]:
    """Computes for a share (0 to 1) of one CPU's time and sleeps the rest: a program that is content with
    that.
    """
    return _program("steady", share)


def reread(path: str) -> list[str]:
    """Reads a file again and again through the page cache: fast, as long as the file fits into memory."""
    return _program("reread", path)
