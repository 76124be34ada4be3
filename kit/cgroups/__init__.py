"""Control groups (chapter 04): how much of a resource a set of processes may use, and how much it uses.

One API with cgroup v2's names, bytes and microseconds. :class:`Cgroup` is the group, :class:`Sampler`
measures it over time, :class:`Trigger` is its alarm, :mod:`kit.cgroups.loads` holds small programs that need
limits.
"""

from kit.cgroups import disks, files, hierarchy, loads
from kit.cgroups.errors import (
    BadLimit,
    CgroupError,
    ControllerMissing,
    InternalProcesses,
    NoEqual,
    NotDelegated,
    Refused,
    UnknownFile,
)
from kit.cgroups.group import Cgroup
from kit.cgroups.pressure import Trigger
from kit.cgroups.sampler import Sample, Sampler
from kit.cgroups.sight import sight
from kit.cgroups.translation import Written

__all__ = [
    "BadLimit",
    "Cgroup",
    "CgroupError",
    "ControllerMissing",
    "InternalProcesses",
    "NoEqual",
    "NotDelegated",
    "Refused",
    "Sample",
    "Sampler",
    "Trigger",
    "UnknownFile",
    "Written",
    "disks",
    "files",
    "hierarchy",
    "loads",
    "sight",
]
