"""Block devices as the io controller names them: MAJOR:MINOR of a whole disk. See sysfs(5)."""

from __future__ import annotations

import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kit import owner
from kit.cgroups.errors import BadLimit, CgroupError


@dataclass(frozen=True)
class Disk:
    """A whole disk: its name in /sys/block, its MAJOR:MINOR and its size in bytes."""

    name: str
    number: str
    size: int

    @property
    def path(self) -> str:
        """The device file."""
        return f"/dev/{self.name}"

    def __str__(self) -> str:
        return f"{self.path} ({self.number})"


def disks() -> list[Disk]:
    """The whole disks of this machine that hold anything, real ones before loop and RAM devices."""
    found = []
    for block in sorted(Path("/sys/block").iterdir()):
        size = int((block / "size").read_text()) * 512
        if size:
            found.append(Disk(block.name, (block / "dev").read_text().strip(), size))
    return sorted(found, key=lambda disk: disk.name.startswith(("loop", "ram", "zram")))


def below(path: str) -> Disk | None:
    """The disk that holds the file at ``path``; None where no single disk does (tmpfs, overlay, a network's
    file system).
    """
    device = os.stat(path).st_dev
    block = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    if not block.exists():
        return None
    block = block.resolve()
    if (block / "partition").exists():
        block = block.parent
    return Disk(block.name, (block / "dev").read_text().strip(), int((block / "size").read_text()) * 512)


@contextmanager
def scratch(name: str = "disk") -> Iterator[tuple[Path, Disk]]:
    """A directory of our own that lies on a real disk, and that disk; removed at the end.

    Raises :class:`CgroupError` where none of the usual places is on a disk, as in a container.
    """
    for place in dict.fromkeys(("/var/tmp", tempfile.gettempdir(), str(Path.home()))):
        disk = below(place) if os.access(place, os.W_OK) else None
        if disk is not None:
            path = Path(place, f"{owner.prefix()}-{name}-{secrets.token_hex(3)}")
            with owner.owns("directory", str(path)):
                path.mkdir(mode=0o700)
                yield path, disk
            return
    raise CgroupError("neither /var/tmp nor the temporary or home directory lies on a disk of its own here.")


def number(name: str, disk: str) -> str:
    """MAJOR:MINOR of a disk given as such or as its device file. A partition is refused: the kernel limits
    whole disks.
    """
    if not re.fullmatch(r"\d+:\d+", disk):
        try:
            status = os.stat(disk)
        except OSError:
            status = None
        if status is None or not stat.S_ISBLK(status.st_mode):
            raise BadLimit(
                f"{name}: {disk!r} is no block device; this machine has {_listed()}. Nothing was changed."
            )
        disk = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    block = Path("/sys/dev/block") / disk
    if not block.exists():
        raise BadLimit(
            f"{name}: there is no block device {disk}; this machine has {_listed()}. Nothing was changed."
        )
    if (block / "partition").exists():
        whole = (block.resolve().parent / "dev").read_text().strip()
        raise BadLimit(
            f"{name}: {disk} is a partition; the kernel limits whole disks: use {whole}. Nothing was changed."
        )
    return disk


def _listed() -> str:
    return ", ".join(str(disk) for disk in disks()) or "none"
