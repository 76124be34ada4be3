"""Removing a tree that someone hostile may have made: never through a link, however deep. See unlinkat(2)."""

from __future__ import annotations

import os
import secrets


def _unlinked(name: str, directory: int) -> bool:
    """Remove what is no directory; a directory is made writable instead, and the answer is False."""
    try:
        os.unlink(name, dir_fd=directory)
        return True
    except IsADirectoryError:
        os.chmod(name, 0o700, dir_fd=directory)
        return False


def _open(name: str, directory: int) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)


def remove(name: str, directory: int) -> None:
    """Remove ``name`` in the open ``directory``, and all that is below it.

    Each directory that is met further down is first moved up to the top, so that neither the number of open
    files nor the length of a path grows with the depth. Nobody may change the tree meanwhile. Raises OSError
    (ENOENT; EBUSY where something is mounted).
    """
    if _unlinked(name, directory):
        return
    free, moved = secrets.token_hex(8), 0
    top = _open(name, directory)
    try:
        while found := os.listdir(top):
            for one in found:
                if _unlinked(one, top):
                    continue
                below = _open(one, top)
                try:
                    for deeper in os.listdir(below):
                        if not _unlinked(deeper, below):
                            os.rename(deeper, f"{free}-{moved}", src_dir_fd=below, dst_dir_fd=top)
                            moved += 1
                finally:
                    os.close(below)
                os.rmdir(one, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=directory)


def remove_path(path: str | os.PathLike[str]) -> None:
    """As :func:`remove`, for a path; what leads to it is trusted."""
    parent, name = os.path.split(os.path.abspath(path))
    directory = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove(name, directory)
    finally:
        os.close(directory)
