"""The directory that a layer is unpacked into, and going about in it without leaving it. See openat2(2)."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from kit.images.errors import HostileLayer
from kit.linux.errors import KernelError
from kit.linux.openat2 import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    openat2,
)
from kit.linux.remove import remove

DEPTH = 256  # directories that a name in a layer may go down
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
Identity = tuple[int, int]
_Made = TypeVar("_Made")


def split(name: str, what: str) -> list[str]:
    """A path in a layer as its components. Raises HostileLayer for those that no honest layer has."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name or not name:
        raise HostileLayer(f"{what} {name!r} is absolute, empty, or reaches outside with '..'")
    if len(parts) > DEPTH:
        raise HostileLayer(f"{what} {name[:40]!r}... goes down more than {DEPTH} directories")
    return parts


def identity(directory: int) -> Identity:
    """What tells an open directory from every other, by whatever name it was found."""
    status = os.fstat(directory)
    return status.st_dev, status.st_ino


class Beneath:
    """An open directory as the root of all lookups. The directory that was entered last stays open.

    ``made`` has the names that were made here, for each directory: a whiteout is for what was there before.
    """

    def __init__(self, directory: Path, below: Sequence[Path] = ()) -> None:
        self.below = below
        self.root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.parent, self.path = -1, ""
        self.identity: Identity = (0, 0)
        self.made: dict[Identity, set[str]] = {}

    def close(self) -> None:
        self._leave()
        os.close(self.root)

    def _leave(self) -> None:
        if self.parent >= 0:
            os.close(self.parent)
        self.parent = -1

    def open(self, path: str, flags: int = os.O_RDONLY | os.O_DIRECTORY) -> int:
        """A descriptor; links on the way lead where they would with the directory as "/". KernelError."""
        return openat2(self.root, path or ".", flags, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)

    def enter(self, parts: list[str]) -> None:
        """Make ``parts`` the present ``parent``. What is missing on the way is made, like it is ``below``."""
        path = "/".join(parts)
        if self.parent < 0 or path != self.path:
            self._leave()
            self.parent, self.path = self._open_or_make(path), path
            self.identity = identity(self.parent)

    def _open_or_make(self, path: str) -> int:
        try:
            return self.open(path)
        except KernelError as error:
            if error.errno != errno.ENOENT or not path:
                raise
        above, _, name = path.rpartition("/")
        parent = self._open_or_make(above)
        try:
            os.mkdir(name, 0o755, dir_fd=parent)  # EEXIST: it is a link that leads nowhere
            mode, uid, gid = self._below(path)
            if os.geteuid() == 0:
                os.chown(name, uid, gid, dir_fd=parent)
            os.chmod(name, mode, dir_fd=parent)  # whatever the umask says
            self.made.setdefault(identity(parent), set()).add(name)
        finally:
            os.close(parent)
        return self.open(path)

    def _below(self, path: str) -> tuple[int, int, int]:
        """Mode and owner of a directory in the layers below, topmost first; else 0755 and root's.

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
        return 0o755, 0, 0

    def note(self, name: str) -> None:
        """``name`` in the present directory was made here."""
        self.made.setdefault(self.identity, set()).add(name)

    def is_directory(self, name: str) -> bool:
        """Whether ``name`` in the present directory is one itself, and no link to one."""
        return stat.S_ISDIR(os.stat(name, dir_fd=self.parent, follow_symlinks=False).st_mode)

    def anew(self, name: str, make: Callable[[], _Made]) -> _Made:
        """What ``make`` makes as ``name`` in the present directory; what is in its way is removed."""
        try:
            return make()
        except FileExistsError:
            remove(name, self.parent)
            return make()
