"""Root's power, in forty-one pieces. See capabilities(7), capget(2), capset(2)."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable
from contextlib import suppress
from functools import cache

from kit.linux.libc import call, libc
from kit.linux.prctl import PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, PR_CAPBSET_DROP, PR_CAPBSET_READ, prctl

_VERSION_3 = 0x20080522

#: Number of each capability is its place in this list (<linux/capability.h>), names without ``CAP_``.
CAPABILITIES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]


def number(name: str) -> int:
    """The number of a capability, named with or without ``CAP_``.

    Raises ValueError for one that isn't known.
    """
    short = name.upper().removeprefix("CAP_")
    if short not in CAPABILITIES:
        raise ValueError(f"no capability is called {name!r}; capabilities(7) lists them")
    return CAPABILITIES.index(short)


def names(mask: int) -> frozenset[str]:
    """The names in a bit mask, such as the ``CapEff`` line of /proc/PID/status."""
    return frozenset(f"CAP_{name}" for i, name in enumerate(CAPABILITIES) if mask >> i & 1)


def get(pid: int = 0) -> tuple[int, int, int]:
    """The (effective, permitted, inheritable) masks of a process; 0 is the caller. See capget(2)."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", _VERSION_3, pid), 8)
    data = ctypes.create_string_buffer(24)
    call(libc.capget, header, data)
    low_e, low_p, low_i, high_e, high_p, high_i = struct.unpack("=6I", data.raw)
    return low_e | high_e << 32, low_p | high_p << 32, low_i | high_i << 32


def set(effective: int, permitted: int, inheritable: int) -> None:
    """Set the caller's three masks. Raises OSError EPERM for one that is not permitted now. See capset(2)."""
    masks = (effective, permitted, inheritable)
    low, high = [m & 0xFFFFFFFF for m in masks], [m >> 32 for m in masks]
    call(libc.capset, struct.pack("=Ii", _VERSION_3, 0), struct.pack("=6I", *low, *high))


def _mask(dropped: Iterable[str]) -> int:
    mask = 0
    for name in dropped:
        mask |= 1 << number(name)
    return mask


@cache
def bounding() -> int:
    """The mask of this process's bounding set, looked up once: it can only shrink."""
    kept = 0
    for i in range(len(CAPABILITIES)):
        with suppress(OSError):  # EINVAL: the kernel does not know it
            kept |= prctl(PR_CAPBSET_READ, i) << i
    return kept


def keep_bounding(mask: int) -> None:
    """Take all others out of the bounding set. Raises OSError EPERM without CAP_SETPCAP."""
    dropped = bounding() & ~mask
    for i in range(dropped.bit_length()):
        if dropped >> i & 1:
            prctl(PR_CAPBSET_DROP, i)


def drop_bounding(dropped: Iterable[str]) -> None:
    """Take capabilities out of the bounding set, so that no exec gives them (back).

    Raises OSError EPERM without CAP_SETPCAP, ValueError for a name that isn't known.
    """
    keep_bounding(~_mask(dropped))


def drop(dropped: Iterable[str]) -> None:
    """Take capabilities out of the caller's effective, permitted, inheritable and ambient sets."""
    if mask := _mask(dropped):
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
        set(*(held & ~mask for held in get()))
