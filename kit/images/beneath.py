"""The directory that a layer is unpacked into, and going about in it without leaving it. See openat2(2)."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kit.images.errors import HostileLayer
from kit.images.whiteouts import is_whiteout, make_opaque
from kit.linux.errors import KernelError
from kit.linux.openat2 import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    openat2,
)
from kit.linux.remove import remove

_DEPTH = 256  # directories that a name in a layer may go down
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = 0o755, 0, 0  # mode and owner of a directory that no layer speaks of


def split(name: str, what: str) -> list[str]:
    """A path in a layer as its components. Raises HostileLayer for those that no honest layer has."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name or not name:
        raise HostileLayer(f"{what} {name!r} is absolute, empty, or reaches outside with '..'")
    if len(parts) > _DEPTH:
        raise HostileLayer(f"{what} {name[:40]!r}... goes down more than {_DEPTH} directories")
    return parts


class Beneath:
    """An open directory as the root of all lookups. The directory that was entered last stays open."""

    def __init__(self, directory: Path, below: Sequence[Path] = ()) -> None:
        self.below = below
        self.root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.parent, self.path = os.dup(self.root), ""

    def close(self) -> None:
        os.close(self.parent)
        os.close(self.root)

    def open(self, path: str, flags: int = os.O_RDONLY | os.O_DIRECTORY) -> int:
        """A descriptor; links on the way lead where they would with the directory as "/". KernelError."""
        return openat2(self.root, path or ".", flags, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)

    def enter(self, parts: list[str]) -> None:
        """Make ``parts`` the present ``parent``. What is missing on the way is made, like it is ``below``."""
        path = "/".join(parts)
        if path != self.path:
            directory = self._open_or_make(path)
            os.close(self.parent)
            self.parent, self.path = directory, path

    def _open_or_make(self, path: str) -> int:
        try:
            return self.open(path)
        except KernelError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
        above, _, name = path.rpartition("/")
        parent = self._open_or_make(above)
        try:
            mode, uid, gid = self._below(path)
            try:
                os.mkdir(name, 0o755, dir_fd=parent)
            except FileExistsError:
                if not is_whiteout(name, parent):
                    raise  # a file, or a link that leads nowhere
                os.unlink(name, dir_fd=parent)
                os.mkdir(name, 0o755, dir_fd=parent)
                make_opaque(name, parent)
                mode, uid, gid = _NEW
            if os.geteuid() == 0:
                os.chown(name, uid, gid, dir_fd=parent)
            os.chmod(name, mode, dir_fd=parent)  # whatever the umask says
        finally:
            os.close(parent)
        return self.open(path)

    def _below(self, path: str) -> tuple[int, int, int]:
        """Mode and owner of a directory in the layers below, topmost first.

        A directory that a layer only passes through would otherwise hide what the layers below say of it.
        """
        for layer in self.below:
            root = os.open(layer, OPEN_DIRECTORY)
            try:
                fd = openat2(root, path, OPEN_DIRECTORY, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
            except KernelError as error:
                if error.errno == errno.ENOENT:
                    continue
                break  # a whiteout, a file or a link: the directory is new
            finally:
                os.close(root)
            status = os.fstat(fd)
            os.close(fd)
            return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
        return _NEW

    def clear(self, name: str) -> None:
        """Remove what stands as ``name`` in the present directory, if anything does."""
        with suppress(FileNotFoundError):
            remove(name, self.parent)
