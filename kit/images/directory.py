"""What a directory holds as the entries of a layer, and what an overlay's upper directory changed.

See the OCI image-spec's layer.md (whiteouts, opaque directories) and the kernel's overlayfs documentation.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path

from kit.images.entry import Entry, Kind
from kit.images.errors import ImageError
from kit.images.whiteouts import OPAQUE, OVERLAY, WHITEOUT

_KINDS: list[tuple[Callable[[int], bool], Kind]] = [
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "directory"),
    (stat.S_ISLNK, "symlink"),
    (stat.S_ISCHR, "char"),
    (stat.S_ISBLK, "block"),
    (stat.S_ISFIFO, "fifo"),
]


def _xattrs(path: str) -> dict[str, bytes]:
    """A file's extended attributes, but for the host's SELinux label. See xattr(7)."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:  # a file system without them
            return {}
        raise
    return {
        name: os.getxattr(path, name, follow_symlinks=False) for name in names if name != "security.selinux"
    }


def _walk(directory: str, prefix: str = "") -> Iterator[tuple[str, str, os.stat_result]]:
    """(name in the layer, path here, status) of everything below, links not followed; parents first."""
    waiting = [(directory, prefix)]
    while waiting:
        path, prefix = waiting.pop()
        with os.scandir(path) as found:
            for one in sorted(found, key=attrgetter("name")):
                status = one.stat(follow_symlinks=False)
                yield prefix + one.name, one.path, status
                if stat.S_ISDIR(status.st_mode):
                    waiting.append((one.path, prefix + one.name + "/"))


def entry_of(name: str, path: str, status: os.stat_result, seen: dict[tuple[int, int], str]) -> Entry | None:
    """One file as an Entry; None for a socket, which is nothing without the process that listens on it."""
    kind = next((kind for test, kind in _KINDS if test(status.st_mode)), None)
    if kind is None:
        return None
    if name.rpartition("/")[2].startswith(WHITEOUT):
        raise ImageError(
            f"a name that begins with {WHITEOUT} would delete a file of a lower layer", path, "Rename it."
        )
    mode, mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
    uid, gid = status.st_uid, status.st_gid
    if kind != "directory" and status.st_nlink > 1:
        first = seen.setdefault((status.st_dev, status.st_ino), name)
        if first != name:
            return Entry(name, "hardlink", mode, uid, gid, mtime, target=first)
    return Entry(
        name,
        kind,
        mode,
        uid,
        gid,
        mtime,
        source=Path(path) if kind == "file" else None,
        target=os.readlink(path) if kind == "symlink" else "",
        device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if kind in ("char", "block") else None,
        xattrs={key: value for key, value in _xattrs(path).items() if not key.startswith(OVERLAY)},
    )


def from_directory(directory: Path) -> Iterator[Entry]:
    """Everything below a directory, whose own owner and mode are left out. Nothing may change it meanwhile.

    Sockets are left out, symbolic links are not followed, times are cut to whole seconds. Raises ImageError
    for a name that means a whiteout.
    """
    seen: dict[tuple[int, int], str] = {}
    for found in _walk(str(directory)):
        if entry := entry_of(*found, seen):
            yield entry


def _overlay(path: str) -> dict[str, bytes]:
    """The overlay file system's own notes on a file, by their names without the namespace."""
    notes = {}
    for key, value in _xattrs(path).items():
        for namespace in OVERLAY:
            if key.startswith(namespace):
                notes[key.removeprefix(namespace)] = value
    return notes


def diff(upper: Path) -> Iterator[Entry]:
    """What an overlay's upper directory changed, with whiteouts in the form that layers have.

    A device 0:0 stands for a removed name there, an "opaque" note for a directory that was made anew; the
    overlay's other notes are left out. Nothing may be mounted from ``upper`` or change it meanwhile. Raises
    ImageError where the overlay was mounted with metacopy or redirect_dir: contents are then not all here.
    """
    seen: dict[tuple[int, int], str] = {}
    for name, path, status in _walk(str(upper)):
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:  # a whiteout
            parent, slash, last = name.rpartition("/")
            yield Entry(f"{parent}{slash}{WHITEOUT}{last}", "file", 0, data=b"")
            continue
        notes = _overlay(path)
        if elsewhere := notes.keys() & {"metacopy", "redirect"}:
            raise ImageError(
                f"the overlay keeps a part of it in a lower layer ({', '.join(elsewhere)})",
                path,
                "Mount overlays with metacopy=off,redirect_dir=off, then make the changes again.",
            )
        if entry := entry_of(name, path, status, seen):
            yield entry
        if notes.get("opaque") == b"y":
            yield Entry(f"{name}/{OPAQUE}", "file", 0, data=b"")
