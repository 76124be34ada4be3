"""The eight kinds of namespace, each made once. See namespaces(7)."""

from __future__ import annotations

import errno
import os

from kit.linux.clone import NAMESPACES, NS_LINKS, unshare
from kit.preflight.child import AS_ROOT
from kit.preflight.row import Finding


def namespace(kind: str) -> Finding:
    """Make a namespace of that kind and see, from a child, that its inode is another one than before.

    An ordinary user gets one together with a user namespace, where the machine allows that: then the answer
    is "partly".
    """
    before = _inode(kind)
    inside_user = False
    try:
        unshare(NAMESPACES[kind])
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return Finding(
                "no",
                "ENOSPC: no more namespaces of this kind are allowed",
                f"sudo sysctl -w user.max_{NS_LINKS[kind]}_namespaces=10000",
            )
        if error.errno == errno.EINVAL:
            return Finding("no", "EINVAL: this kernel does not know this kind of namespace")
        if error.errno != errno.EPERM or kind == "user":
            raise
        try:
            unshare(NAMESPACES["user"] | NAMESPACES[kind])
        except OSError:
            raise error from None
        inside_user = True
    after = _inode_of_child(kind)
    if after == before:
        return Finding("no", f"the kernel said yes, but a child is still in {before}")
    if inside_user:
        return Finding(
            "partly", f"{before} → {after}, but only inside a user namespace of one's own", AS_ROOT
        )
    return Finding("yes", f"{before} → {after}")


def _inode(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{NS_LINKS[kind]}")


def _inode_of_child(kind: str) -> str:
    """What a child sees: a new pid or time namespace only holds the children made afterwards."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:  # safe: the probe's process has a single thread
        try:
            os.write(write, _inode(kind).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as answer:
        inode = answer.read()
    os.waitpid(pid, 0)
    return inode
