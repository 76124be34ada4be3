"""What a driver says: where a value is read, and what is written where. The only words v1 and v2 share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Source(NamedTuple):
    """Where a value comes from: the files (each in a controller's directory of the group), and how their
    texts are read.
    """

    files: tuple[tuple[str, str], ...]
    parse: Callable[[list[str]], Any]


class Write(NamedTuple):
    """One write to come: the controller whose directory holds the file, the file, the text."""

    controller: str
    file: str
    text: str


class Written(NamedTuple):
    """One write that was done: the v2 name that was asked for, the path that was really written, the text."""

    name: str
    path: str
    text: str


def put(path: Path, text: str) -> None:
    """Write to an interface file in one go, never creating it. Raises OSError with the kernel's answer."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
