"""Mounts that hang nowhere yet: made, given their attributes, and only then attached to the tree.

With mount(2) a path is looked up at each step, and a read-only bind mount is writable for a moment. Here both
the mount and the place for it are open descriptors. See open_tree(2), fsopen(2), mount_setattr(2) and
move_mount(2) in Linux 5.12.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from kit.linux.libc import syscall

NR_OPEN_TREE, NR_MOVE_MOUNT, NR_FSOPEN, NR_FSCONFIG, NR_FSMOUNT, NR_MOUNT_SETATTR = (
    428,
    429,
    430,
    431,
    432,
    442,
)
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 0, 1, 6
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 0x04, 0x40

#: Attributes of a mount, <linux/mount.h>.
RDONLY, NOSUID, NODEV, NOEXEC, NOATIME, STRICTATIME, NODIRATIME = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x80
_ATIME = 0x70  # the bits of which NOATIME and STRICTATIME are two values


def tree(path: str, directory: int = AT_FDCWD, recursive: bool = False) -> int:
    """A copy of the mount at ``path``, as of a bind mount; with ``recursive`` of those below it too.

    An empty path is ``directory`` itself. Raises OSError (ENOENT, EPERM without CAP_SYS_ADMIN).
    """
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    return syscall(NR_OPEN_TREE, directory, os.fsencode(path), flags)


def filesystem(fstype: str, source: str, options: Iterable[str], attributes: int = 0) -> int:
    """A new mount of a file system; ``options`` are its own, "size=64m" or "nsdelegate".

    Raises OSError: ENODEV for a type that the kernel lacks, EINVAL for an option that it doesn't have.
    """
    context = syscall(NR_FSOPEN, fstype.encode(), 1)
    try:
        for option in (f"source={source}", *options):
            key, equals, value = option.partition("=")
            command = FSCONFIG_SET_STRING if equals else FSCONFIG_SET_FLAG
            text = os.fsencode(value) if equals else None
            syscall(NR_FSCONFIG, context, command, os.fsencode(key), text, 0)
        syscall(NR_FSCONFIG, context, FSCONFIG_CMD_CREATE, None, None, 0)
        return syscall(NR_FSMOUNT, context, 1, attributes)
    finally:
        os.close(context)


def set_attributes(fd: int, attributes: int, recursive: bool = False) -> None:
    """Add attributes to the mount behind ``fd``; with ``recursive`` to those below it too."""
    clear = _ATIME if attributes & _ATIME else 0
    how = struct.pack("=4Q", attributes, clear, 0, 0)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall(NR_MOUNT_SETATTR, fd, b"", flags, how, len(how))


def attach(fd: int, place: int) -> None:
    """Hang the mount ``fd`` over the open file or directory ``place``."""
    syscall(NR_MOVE_MOUNT, fd, b"", place, b"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)
