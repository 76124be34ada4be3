"""What a directory holds as the entries of a layer, and what an overlay's upper directory changed.

See the OCI image-spec's layer.md (whiteouts, opaque directories) and the kernel's overlayfs documentation.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

from kit.images.entry import Entry, Kind
from kit.images.errors import ImageError
from kit.images.whiteouts import OPAQUE, OVERLAY, WHITEOUT

FORMATS: dict[Kind, int] = {  # the kernel's number for each kind of file: inode(7)
    "file": stat.S_IFREG,
    "directory": stat.S_IFDIR,
    "symlink": stat.S_IFLNK,
    "char": stat.S_IFCHR,
    "block": stat.S_IFBLK,
    "fifo": stat.S_IFIFO,
}
_KINDS = {number: kind for kind, number in FORMATS.items()}


def _xattrs(path: str) -> dict[str, bytes]:
    """A file's extended attributes, but for the host's SELinux label. See xattr(7)."""
    try:
        names = set(os.listxattr(path, follow_symlinks=False)) - {"security.selinux"}
    except OSError as error:
        if error.errno == errno.ENOTSUP:  # a file system without them
            return {}
        raise
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def _walk(directory: Path) -> Iterator[tuple[str, str, os.stat_result]]:
    """(name in the layer, path here, status) of everything below, in the order of tar; links not followed."""
    top = os.path.join(directory, "")
    waiting = _inside(top)
    while waiting:
        one = waiting.pop()
        status = one.stat(follow_symlinks=False)
        yield one.path.removeprefix(top), one.path, status
        if stat.S_ISDIR(status.st_mode):
            waiting += _inside(one.path)


def _inside(path: str) -> list[os.DirEntry[str]]:
    """What a directory holds, the first name at the end."""
    with os.scandir(path) as found:
        return sorted(found, key=attrgetter("name"), reverse=True)


def entry_of(name: str, path: str, status: os.stat_result, seen: dict[tuple[int, int], str]) -> Entry | None:
    """One file as an Entry; None for a socket, which is nothing without the process that listens on it.

    ``seen`` has the first name of each file with several, as device and inode. Raises ImageError for a name
    that means a whiteout.
    """
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return None
    if name.rpartition("/")[2].startswith(WHITEOUT):
        what = f"a name that begins with {WHITEOUT} would delete a file of a lower layer"
        raise ImageError(what, path, "Rename it.")
    rest = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, int(status.st_mtime)
    if kind != "directory" and status.st_nlink > 1:
        first = seen.setdefault((status.st_dev, status.st_ino), name)
        if first != name:
            return Entry(name, "hardlink", *rest, target=first)
    return Entry(
        name,
        kind,
        *rest,
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
    return (entry for found in _walk(directory) if (entry := entry_of(*found, seen)))


def diff(upper: Path) -> Iterator[Entry]:
    """What an overlay's upper directory changed, with whiteouts in the form that layers have.

    A device 0:0 stands for a removed name there, an "opaque" note for a directory that was made anew. Nothing
    may be mounted from ``upper`` or change it meanwhile. Raises ImageError where the overlay was mounted with
    metacopy or redirect_dir: contents are then not all here.
    """
    seen: dict[tuple[int, int], str] = {}
    for name, path, status in _walk(upper):
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            parent, slash, last = name.rpartition("/")
            yield Entry(f"{parent}{slash}{WHITEOUT}{last}", "file", 0, data=b"")
            continue
        notes = {key.split(".")[2]: value for key, value in _xattrs(path).items() if key.startswith(OVERLAY)}
        if elsewhere := notes.keys() & {"metacopy", "redirect"}:
            what = f"the overlay keeps a part of it in a lower layer ({', '.join(elsewhere)})"
            remedy = "Mount overlays with metacopy=off,redirect_dir=off, then make the changes again."
            raise ImageError(what, path, remedy)
        if entry := entry_of(name, path, status, seen):
            yield entry
        if notes.get("opaque") == b"y":
            yield Entry(f"{name}/{OPAQUE}", "file", 0, data=b"")
