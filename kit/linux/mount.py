"""Attaching file systems to the tree and taking them off. See mount(2), umount2(2), mount_namespaces(7)."""

from __future__ import annotations

import ctypes
import os
from enum import IntFlag

from kit.linux.errors import KernelError
from kit.linux.libc import call, libc

# Plain numbers of the flags that every start of a process uses.
MS_REC, MS_PRIVATE = 16384, 1 << 18

MNT_DETACH = 2  # unmount now, clean up when no longer busy
UMOUNT_NOFOLLOW = 8


class MountFlags(IntFlag):
    """``MS_*`` of <sys/mount.h>, without the prefix."""

    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    REMOUNT = 32
    NOATIME = 1024
    BIND = 4096
    MOVE = 8192
    REC = 16384
    UNBINDABLE = 1 << 17
    PRIVATE = 1 << 18
    SLAVE = 1 << 19
    SHARED = 1 << 20


_REMEDY = {
    "EPERM": "Mounting needs CAP_SYS_ADMIN in the user namespace that owns this mount namespace: be root, or "
    "enter a new user and mount namespace first.",
    "EACCES": "A directory on the way may not be searched, or the file system is read-only.",
    "ENODEV": "This kernel has no such file system; /proc/filesystems lists those it knows.",
    "ENOENT": "Source or target does not exist.",
    "EBUSY": "It is still in use: someone has a file open or a working directory there.",
    "EINVAL": "The kernel did not understand the source or the options, or the target is not a mount point.",
}


def _error(what: str, error: OSError, path: str) -> KernelError:
    refused = KernelError(what, error.errno or 0, path=path)
    refused.remedy = _REMEDY.get(refused.errno_name, "")
    return refused


def mount(source: str | None, target: str, fstype: str | None = None, flags: int = 0, data: str = "") -> None:
    """Attach ``source`` at ``target``. ``data`` is the file system's own options, comma-separated.

    Raises :class:`KernelError` (EPERM, ENOENT, ENODEV, EINVAL, EBUSY). See mount(2).
    """
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, fstype)]
    try:
        call(libc.mount, *encoded, ctypes.c_ulong(flags), os.fsencode(data) if data else None)
    except OSError as error:
        raise _error(f"mount {fstype or source} on {target}", error, target) from None


def umount(target: str, flags: int = UMOUNT_NOFOLLOW) -> None:
    """Take the topmost mount off ``target``.

    Raises :class:`KernelError` (EBUSY, EINVAL, EPERM). See umount2(2).
    """
    try:
        call(libc.umount2, os.fsencode(target), ctypes.c_int(flags))
    except OSError as error:
        raise _error(f"unmount {target}", error, target) from None
