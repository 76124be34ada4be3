"""Opening a path without leaving a directory, whatever symbolic links lie on the way. See openat2(2)."""

from __future__ import annotations

import os
import struct
from errno import ENOENT

from kit.linux.errors import KernelError
from kit.linux.libc import syscall

NR_OPENAT2 = 437

RESOLVE_NO_MAGICLINKS = 0x02  # no jump through /proc/PID/fd and the like
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08  # a step out of the directory is refused with EXDEV
RESOLVE_IN_ROOT = 0x10  # the directory counts as "/": absolute links and ".." stay inside, as after chroot(2)

_REMEDY = {
    "ENOSYS": "openat2 came with Linux 5.6: a newer kernel is needed.",
    "EPERM": "A seccomp filter of an old container engine forbids openat2: run the course outside of it.",
}


def openat2(
    directory: int,
    path: str,
    flags: int,
    mode: int = 0,
    resolve: int = RESOLVE_IN_ROOT,
    maybe: bool = False,
) -> int:
    """A new descriptor (close-on-exec) for ``path``, looked up from the open ``directory``.

    ``mode`` only with O_CREAT or O_TMPFILE. With ``maybe``, -1 for what is not there. Raises
    :class:`KernelError` (ENOENT, ENOTDIR, ELOOP, EXDEV ...).
    """
    how = struct.pack("=3Q", flags | os.O_CLOEXEC, mode, resolve)
    try:
        return syscall(NR_OPENAT2, directory, os.fsencode(path), how, len(how))
    except OSError as error:
        if maybe and error.errno == ENOENT:
            return -1
        refused = KernelError(f"open {path}", error.errno or 0, path=path)
        refused.remedy = _REMEDY.get(refused.errno_name, "")
        raise refused from None
