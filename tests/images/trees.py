"""Layers made by hand for tests, and a directory tree as a value to compare."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterable
from pathlib import Path

from kit.linux.spawn import Mount, run

Tree = dict[str, tuple[object, ...]]


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **rest: object) -> bytes:
    """One tar member as bytes, with nothing checked: ``rest`` are attributes of tarfile.TarInfo."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode = kind, len(data), 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in rest.items():
        setattr(info, key, value)
    header = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    return header + data + b"\0" * (-len(data) % 512)


def directory(name: str, **rest: object) -> bytes:
    return member(name, tarfile.DIRTYPE, **rest)


def symlink(name: str, target: str) -> bytes:
    return member(name, tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> bytes:
    return member(name, tarfile.LNKTYPE, linkname=target)


def archive(members: Iterable[bytes]) -> io.BytesIO:
    return io.BytesIO(b"".join(members) + b"\0" * 1024)


def merge(layers: list[Path], to: Path) -> Path:
    """A copy of what an overlay mount of unpacked layers, topmost first, shows."""
    (to.parent / "merged").mkdir()
    to.mkdir()
    if len(layers) == 1:
        layers = [to, *layers]  # an overlay has two or more
    mount = Mount("overlay", f"{to.parent}/merged", "overlay", data=f"lowerdir={':'.join(map(str, layers))}")
    done = run(["cp", "-a", f"{to.parent}/merged/.", str(to)], unshare=["mount"], mounts=[mount])
    assert done.returncode == 0, done.stderr
    (to.parent / "merged").rmdir()
    return to


def tree(root: Path, times: bool = True) -> Tree:
    """Everything below ``root``: kind and mode, owner, content or target, time, attributes, which are one."""
    found: Tree = {}
    first: dict[int, str] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        name = str(path.relative_to(root))
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            content = status.st_rdev
        attributes = {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
        }
        found[name] = (
            oct(status.st_mode),
            (status.st_uid, status.st_gid),
            content,
            status.st_mtime_ns if times else None,
            attributes,
            first.setdefault(status.st_ino, name) if not path.is_dir() else name,
        )
    return found
