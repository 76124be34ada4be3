"""The first files of a booting Linux: an archive that the kernel unpacks into memory, with /init in it.

The format is cpio's "newc". See cpio(5), and the kernel's Documentation/driver-api/early-userspace/.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

DIRECTORY, PROGRAM, FILE = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755, stat.S_IFREG | 0o644


@dataclass(frozen=True)
class Member:
    """A file of the archive: its type and mode as of stat(2), its content (a link's: where it leads)."""

    mode: int
    data: bytes = b""


def pack(members: Mapping[str, Member]) -> bytes:
    """The archive, by path; directories above a path are made where they are not given."""
    whole = dict(members)
    for path in members:
        for above in _parents(path):
            whole.setdefault(above, Member(DIRECTORY))
    ordered = [(path, whole[path]) for path in sorted(whole)]  # a directory comes before what is in it
    parts = []
    for number, (path, one) in enumerate([*ordered, ("TRAILER!!!", Member(0))], 1):
        # inode, mode, uid, gid, links, mtime, size, device and special device (two numbers each), name, check
        fields = (number, one.mode, 0, 0, 1, 0, len(one.data), 0, 0, 0, 0, len(path.encode()) + 1, 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields) + path.encode() + b"\0"
        parts += [header, b"\0" * (-len(header) % 4), one.data, b"\0" * (-len(one.data) % 4)]
    return b"".join(parts)


def _parents(path: str) -> Iterable[str]:
    words = path.split("/")[:-1]
    return ("/".join(words[: end + 1]) for end in range(len(words)))
