"""Changing the root file system of a mount namespace. See pivot_root(2)."""

from __future__ import annotations

import os

from kit.linux.libc import NR_PIVOT_ROOT, syscall
from kit.linux.mount import MNT_DETACH, MountFlags, mount, umount


def pivot_root(new_root: str) -> None:
    """Make ``new_root`` the root of this mount namespace, and let go of the old one.

    The manual page's own recipe: bind the directory onto itself so that it is a mount point, go there, call
    ``pivot_root(".", ".")`` (the old root is then stacked on top of the new one), and detach what is on top.
    Unlike chroot(2) nothing of the old tree stays reachable. Only for a process in a mount namespace of its
    own, whose mounts are private.

    Raises OSError: EPERM without CAP_SYS_ADMIN, EINVAL where the current root is the initial ramfs or mounts
    are shared.
    """
    mount(new_root, new_root, None, MountFlags.BIND | MountFlags.REC)
    os.chdir(new_root)
    syscall(NR_PIVOT_ROOT, b".", b".")
    umount(".", MNT_DETACH)
    os.chdir("/")
