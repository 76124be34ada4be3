"""What a driver says: where a value is read, and what is written where. The only words v1 and v2 share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kit.show import Table


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


def before_writing(path: Path, write: Write) -> str:
    """What to write to bring a file back to where it was. Files with a line per disk are undone for that
    disk.
    """
    try:
        old = path.read_text().strip()
    except OSError:
        return write.text  # it can only be written (cgroup.kill)
    disk = write.text.split()[0]
    if write.file == "io.max":
        default = f"{disk} rbps=max wbps=max riops=max wiops=max"
    elif write.file.startswith("blkio."):
        default = f"{disk} 0"
    else:
        return old
    return next((line for line in old.splitlines() if line.split()[0] == disk), default)


class Log(Sequence[Written]):
    """The writes that were really done, in order; in a notebook a table."""

    def __init__(self, writes: Iterable[Written] = ()) -> None:
        self._writes = list(writes)

    def __getitem__(self, index: Any) -> Any:
        return self._writes[index]

    def __len__(self) -> int:
        return len(self._writes)

    def __add__(self, other: Iterable[Written]) -> Log:
        return Log([*self, *other])

    def extend(self, writes: Iterable[Written]) -> None:
        """Note more writes."""
        self._writes.extend(writes)

    def __repr__(self) -> str:
        return "\n".join(f"{one.name}: {one.text!r} to {one.path}" for one in self) or "nothing written yet"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        rows = [(one.name, one.path, one.text) for one in self]
        table = Table("What was really written", ["asked for", "file written", "text"], rows)
        return table._repr_mimebundle_()
