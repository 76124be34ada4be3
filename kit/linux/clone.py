"""Making processes in new namespaces, leaving and entering namespaces. See clone(2), unshare(2), setns(2).

``clone3`` is a fork with choices: each ``CLONE_NEW*`` flag gives the child a fresh namespace of that kind. It
is raw: the child continues in Python, which is only safe in a process with a single thread.
:mod:`kit.linux.helper` is that process.
"""

from __future__ import annotations

import ctypes
import os
import struct

from kit.linux.libc import NR_CLONE3, call, libc, syscall

# <linux/sched.h>
CLONE_PARENT = 0x00008000
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 1 << 33

#: The eight kinds of namespace, by the name that namespaces(7) uses, with the flag that makes a new one.
NAMESPACES = {
    "mount": CLONE_NEWNS,
    "uts": CLONE_NEWUTS,
    "ipc": CLONE_NEWIPC,
    "pid": CLONE_NEWPID,
    "network": CLONE_NEWNET,
    "user": CLONE_NEWUSER,
    "cgroup": CLONE_NEWCGROUP,
    "time": CLONE_NEWTIME,
}

#: The name of each kind's link under /proc/PID/ns.
NS_LINKS = {name: {"mount": "mnt", "network": "net"}.get(name, name) for name in NAMESPACES}


def unshare(flags: int) -> None:
    """Leave namespaces for fresh ones of the given kinds: the calling thread only. See unshare(2).

    Raises OSError: EPERM without CAP_SYS_ADMIN (a new user namespace needs none), EINVAL for
    ``CLONE_NEWUSER`` in a process with several threads.
    """
    call(libc.unshare, flags)


def setns(fd: int, flags: int = 0) -> None:
    """Enter the namespace behind ``fd`` (an open /proc/PID/ns link, or a pidfd with flags). See setns(2).

    A pid or time namespace is entered by the children made afterwards. Raises OSError: EPERM, EINVAL.
    """
    call(libc.setns, fd, flags)


def clone3(flags: int, exit_signal: int, cgroup: int | None = None) -> int:
    """Fork with flags: 0 in the child, the child's pid in the parent. See clone(2), struct clone_args.

    With ``CLONE_PARENT`` the child becomes a sibling, and ``exit_signal`` must be 0. ``cgroup`` is an open
    directory of the v2 tree, the group to be born in. Raises OSError: EPERM, ENOSPC (too many namespaces: see
    /proc/sys/user), EAGAIN (too many processes); of the group EACCES, EBUSY, ENODEV, EOPNOTSUPP.
    """
    if cgroup is not None:
        flags |= CLONE_INTO_CGROUP
    # flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup
    # (eleven 64-bit fields: version 2)
    fields = struct.pack("=11Q", flags, 0, 0, 0, exit_signal, 0, 0, 0, 0, 0, cgroup or 0)
    return syscall(NR_CLONE3, fields, len(fields))


def set_hostname(name: str) -> None:
    """Set the host name of the UTS namespace that the caller is in. See sethostname(2)."""
    data = os.fsencode(name)
    call(libc.sethostname, data, ctypes.c_size_t(len(data)))


def set_domainname(name: str) -> None:
    """Set the NIS domain name of the UTS namespace that the caller is in. See setdomainname(2)."""
    data = os.fsencode(name)
    call(libc.setdomainname, data, ctypes.c_size_t(len(data)))
