"""An image's tree, or a context, as the root of all lookups in it. See openat2(2)."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Self

from kit.linux.errors import KernelError
from kit.linux.openat2 import RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2


class Tree:
    """An open directory; a context manager.

    Links in it lead where they would in a container; ``strict``: one that leads out is an error.
    """

    def __init__(self, directory: Path, *, strict: bool = False) -> None:
        self.resolve = RESOLVE_NO_MAGICLINKS | (RESOLVE_BENEATH if strict else RESOLVE_IN_ROOT)
        self.root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.path = os.readlink(f"/proc/self/fd/{self.root}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.root)

    def open(self, path: str, flags: int) -> int | None:
        """A descriptor, or None where nothing is; KernelError, EXDEV for a link that leads out."""
        try:
            return openat2(self.root, path or ".", flags, resolve=self.resolve)
        except KernelError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise

    def real(self, path: str) -> str | None:
        """The path in the tree that ``path`` leads to, without links; None where nothing is."""
        fd = self.open(path, os.O_PATH)
        if fd is None:
            return None
        try:
            return os.readlink(f"/proc/self/fd/{fd}")[len(self.path) :].lstrip("/")
        finally:
            os.close(fd)
