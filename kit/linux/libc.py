"""Calls into the C library, with errno turned into an exception. See syscall(2) and errno(3)."""

from __future__ import annotations

import ctypes
import os
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
# Looked up here once: a copy of the helper, which ends with exec, would do so each time.
for _name in "mount umount2 prctl unshare setns sethostname setdomainname capget capset".split():
    getattr(libc, _name)

# System call numbers for calls that the C library may not wrap. Those from 424 on are the same on every
# architecture.
NR_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}.get(
    os.uname().machine, -1
)
NR_PIDFD_SEND_SIGNAL = 424
NR_CLONE3 = 435
NR_CLOSE_RANGE = 436


def call(function: Any, *arguments: Any) -> int:
    """Call a C function; raise :class:`OSError` with its errno where it answers -1."""
    result: int = function(*arguments)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def syscall(number: int, *arguments: Any) -> int:
    """Make a raw system call. Integers are passed as C ints, bytes as pointers to them, None as NULL."""
    return call(libc.syscall, number, *arguments)
