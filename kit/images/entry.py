"""One member of a layer, before it is packed: a file, directory, link, device or fifo.

A layer is a tar archive, and these are the kinds of member that tar(5) and the OCI image-spec's layer.md
("Layer Filesystem Changeset") know.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

Kind = Literal["file", "directory", "symlink", "hardlink", "char", "block", "fifo"]


@dataclass(frozen=True)
class Entry:
    """What stands at ``name``, a path relative to the layer's root with no leading slash.

    ``mode`` holds the permission bits, setuid and its like included (0 to 0o7777), and no file type. ``uid``
    and ``gid`` are numbers inside the container; ``mtime`` is in seconds since 1970. A file's content is
    ``data`` (bytes), or is read from ``source`` (a path on this machine) while it is packed. ``target`` is
    where a symlink points, or the name of the entry that a hard link is another name of; ``device`` is
    (major, minor). ``xattrs`` maps a full name such as "security.capability" to its bytes.

    Raises ValueError for what could not be packed, before anything is written.
    """

    name: str
    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    source: Path | None = None
    data: bytes | None = None
    target: str = ""
    device: tuple[int, int] | None = None
    xattrs: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "\0" in self.name or {"", ".", ".."} & set(self.name.split("/")):
            raise ValueError(f"{self.name!r} can't be in a layer: names are relative, like 'etc/passwd'")
        if not 0 <= self.mode <= 0o7777:
            raise ValueError(f"{self.name}: mode {self.mode:o} is more than permission bits (0 to 7777)")
        if (self.source, self.data).count(None) != (1 if self.kind == "file" else 2):
            raise ValueError(f"{self.name}: a file has either data or a source, anything else has neither")
        if (self.kind in ("symlink", "hardlink")) != bool(self.target):
            raise ValueError(f"{self.name}: a link has a target, and nothing else has one")
        if (self.kind in ("char", "block")) != (self.device is not None):
            raise ValueError(f"{self.name}: a device has (major, minor), and nothing else has them")

    def open(self) -> BinaryIO:
        """A file's content as a stream; the caller closes it. OSError as open(2) has it for a ``source``."""
        return self.source.open("rb") if self.source is not None else io.BytesIO(self.data or b"")
