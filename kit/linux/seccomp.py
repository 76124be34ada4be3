"""Filters on system calls, as a small program that the kernel runs at each call.

See seccomp(2), bpf in classic form.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable

from kit.linux.libc import call, libc
from kit.linux.prctl import no_new_privileges

PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_ERRNO = 0x00050000

# Classic BPF: load the word at offset 0 of struct seccomp_data (the call's number), compare and jump, return.
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06


def deny(numbers: Iterable[int], errno: int) -> bytes:
    """A filter program under which the calls with these numbers fail with ``errno`` and all others are
    allowed.

    The numbers are this architecture's own (asm/unistd.h). It does not look at the architecture of the call,
    so it shows how a filter works and is no wall against hostile code.
    """
    program = struct.pack("=HBBI", _LOAD, 0, 0, 0)
    for number in numbers:
        program += struct.pack("=HBBI", _JUMP_IF_EQUAL, 0, 1, number)
        program += struct.pack("=HBBI", _RETURN, 0, 0, SECCOMP_RET_ERRNO | errno)
    return program + struct.pack("=HBBI", _RETURN, 0, 0, SECCOMP_RET_ALLOW)


def install(program: bytes, no_new_privs: bool = True) -> None:
    """Put a filter on the calling thread, for good and for all its children; sets no_new_privs first.

    Without ``no_new_privs`` it needs CAP_SYS_ADMIN.

    Raises OSError: EINVAL for a program that the kernel can't accept. See PR_SET_SECCOMP(2const).
    """
    if no_new_privs:
        no_new_privileges()
    code = ctypes.cast(ctypes.c_char_p(program), ctypes.c_void_p).value
    # struct sock_fprog: unsigned short length in instructions, then the pointer
    header = struct.pack("@HP", len(program) // 8, code)
    call(libc.prctl, PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), header, None, None)
