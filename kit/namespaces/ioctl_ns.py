"""What an open namespace file tells about its relations. See ioctl_ns(2).

Opening /proc/PID/ns/uts gives a descriptor that stands for the namespace itself and keeps it alive. Four
ioctls ask it who its parent and its owner are; the answers to the first two are again descriptors of
namespaces.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

NS_GET_USERNS = 0xB701
NS_GET_PARENT = 0xB702
NS_GET_OWNER_UID = 0xB704

# EPERM: it exists but is not below our own namespace. EINVAL: this kind has no parent, or no owner uid.
# ENOTTY: the kernel is older than 4.9 and doesn't know the question.
_NO_ANSWER = (errno.EPERM, errno.EINVAL, errno.ENOTTY)


def inode(fd: int) -> int:
    """The number that names the namespace behind a descriptor."""
    return os.fstat(fd).st_ino


def owner(fd: int) -> int | None:
    """A descriptor of the user namespace that owns this one, to be closed by the caller; None where it may
    not be seen.
    """
    return _ask(fd, NS_GET_USERNS)


def parent(fd: int) -> int | None:
    """A descriptor of the parent of a pid or user namespace, to be closed by the caller; None at the top of
    what we may see.
    """
    return _ask(fd, NS_GET_PARENT)


def owner_uid(fd: int) -> int | None:
    """The user that made this user namespace, in our numbering (65534 where we have no number for it); None
    for other kinds.
    """
    try:
        answer = fcntl.ioctl(fd, NS_GET_OWNER_UID, struct.pack("I", 0))
    except OSError as error:
        if error.errno in _NO_ANSWER:
            return None
        raise
    number: int = struct.unpack("I", answer)[0]
    return number


def _ask(fd: int, question: int) -> int | None:
    try:
        return fcntl.ioctl(fd, question)
    except OSError as error:
        if error.errno in _NO_ANSWER:
            return None
        raise
