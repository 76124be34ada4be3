"""The namespaces of the whole machine, read from /proc. See namespaces(7), ioctl_ns(2), lsns(8).

No call lists namespaces. But every process shows the eight it is in as links below /proc/PID/ns, so looking
at every process finds every namespace that has a member; the ioctls find the ancestors and owners that have
none.
"""

from __future__ import annotations

import errno
import os

from kit.linux import proc
from kit.linux.clone import NS_LINKS
from kit.linux.errors import KernelError
from kit.namespaces import ioctl_ns
from kit.namespaces.model import Namespace, NamespaceTree

_GONE = (errno.ENOENT, errno.ESRCH)
_HIDDEN = (errno.EACCES, errno.EPERM)


def tree() -> NamespaceTree:
    """Every namespace that /proc shows us, with members, owner and parent; one moment's picture.

    Processes that end while we look are left out; those that we may not look at are counted in
    ``unreadable``.
    """
    members: dict[tuple[str, int], list[int]] = {}
    unreadable = 0
    for pid in proc.pids():
        try:
            for kind, inode in proc.namespaces(pid).items():
                members.setdefault((kind, inode), []).append(pid)
        except KernelError as error:
            if error.errno in _HIDDEN:
                unreadable += 1
            elif error.errno not in _GONE:
                raise
    found: dict[int, Namespace] = {}
    for (kind, inode), pids in members.items():
        _add(found, kind, inode, tuple(pids))
    ordered = sorted(found.values(), key=lambda ns: (list(NS_LINKS).index(ns.kind), ns.inode))
    return NamespaceTree(tuple(ordered), proc.namespaces("self"), unreadable)


def _add(found: dict[int, Namespace], kind: str, inode: int, pids: tuple[int, ...]) -> None:
    """Ask a namespace, through one of its members, for its relations; its memberless ancestors and owners
    come along.
    """
    for pid in pids:
        try:
            fd = os.open(f"/proc/{pid}/ns/{NS_LINKS[kind]}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _GONE + _HIDDEN:  # ended, or became someone else's, since we listed it
                continue
            raise
        try:
            if ioctl_ns.inode(fd) == inode:  # else it moved on meanwhile
                _describe(found, kind, fd, pids)
                return
        finally:
            os.close(fd)


def _describe(found: dict[int, Namespace], kind: str, fd: int, pids: tuple[int, ...]) -> None:
    inode = ioctl_ns.inode(fd)
    relations: list[int | None] = []
    for ask, relative in ((ioctl_ns.owner, "user"), (ioctl_ns.parent, kind)):
        answer = ask(fd)
        if answer is None:
            relations.append(None)
            continue
        try:
            relations.append(ioctl_ns.inode(answer))
            if relations[-1] not in found:
                _describe(found, relative, answer, ())
        finally:
            os.close(answer)
    owner, parent = relations
    found[inode] = Namespace(
        kind, inode, owner, parent, pids, command(pids[0]) if pids else "", ioctl_ns.owner_uid(fd)
    )


def command(pid: int) -> str:
    """A process's command line for a table; a kernel thread's or zombie's name in brackets; "" when it has
    ended.
    """
    try:
        return " ".join(proc.command(pid)).strip() or f"[{proc.status(pid)['Name']}]"
    except KernelError as error:
        if error.errno in _GONE:
            return ""
        raise
