"""What can go wrong with a control group, as errors that say what to do."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

from kit.linux.errors import KernelError


class CgroupError(OSError):
    """Any refusal that concerns control groups; where the kernel itself refused it is a :class:`KernelError`
    too.
    """


class BadLimit(CgroupError, ValueError):
    """A value that was refused before anything changed: no sense, or more than the machine has."""


class UnknownFile(CgroupError, LookupError):
    """No interface file of that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(close)}?" if close else "kit.cgroups.files.table() lists them all."
        super().__init__(f"a control group has no file {name!r}. {hint}")


class NoEqual(CgroupError):
    """The name is cgroup v2's and this host's v1 controller has nothing that means the same."""


class ControllerMissing(CgroupError):
    """The kernel, or this part of the tree, does not offer the controller."""


class NotDelegated(CgroupError, KernelError):
    """There is no place in the tree where this user may make groups."""


class InternalProcesses(CgroupError, KernelError):
    """cgroup v2's rule: a group either holds processes or hands out controllers to those below, not both."""


class Refused(CgroupError, KernelError):
    """The kernel refused a read or a write; ``errno_name`` says how, ``remedy`` what to do."""


_NOT_YOURS = "It belongs to someone else: be root, or use a part of the tree that was delegated to you."
_REMEDY = {
    "EACCES": _NOT_YOURS,
    "EPERM": _NOT_YOURS,
    "EROFS": "The control groups are mounted read-only here, as in an unprivileged container: run the course "
    "outside of it, or in a privileged one.",
    "ENODEV": "The group has been removed, or there is no such disk.",
    "ENOENT": "This kernel is too old for that file, or was built without it, or the group has been removed.",
    "EBUSY": "It is still in use by something in the group: end that, or remove the groups below.",
    "EINVAL": "The kernel found the value out of range, or at odds with the limit of the group above.",
    "ERANGE": "The kernel found the value out of range.",
    "ENOSPC": "The group has no CPUs or memory nodes to run on: set cpuset.cpus and cpuset.mems.",
    "EAGAIN": "The limit on groups is reached: see cgroup.max.descendants and cgroup.max.depth above.",
    "EOPNOTSUPP": "The kernel can't do this here; a controller must first be enabled by the group above.",
    "ESRCH": "The process has ended.",
}


def refused(what: str, error: OSError, path: object, remedy: str = "") -> Refused:
    """The kernel's answer to ``what`` as a :class:`Refused` with the remedy that fits the errno."""
    name = errno.errorcode.get(error.errno or 0, "")
    return Refused(what, error.errno or 0, remedy or _REMEDY.get(name, ""), str(path))
