"""The interface files of cgroup v2 that the chapter uses: how each is read, how a value is checked and
written.

The names, formats and units are the kernel's. See https://docs.kernel.org/admin-guide/cgroup-v2.html.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from kit.cgroups import values
from kit.cgroups.errors import BadLimit, UnknownFile
from kit.show import Table


@dataclass(frozen=True)
class File:
    """One interface file. ``controller`` is "cgroup" for the files that every group has."""

    name: str
    controller: str
    about: str
    parse: Callable[[str], Any]
    check: Callable[[str, object], Any] | None = None
    """Turns what a person wrote into the value that ``parse`` would give back; None for a file that is only
    read.
    """
    text: Callable[[Any], list[str]] = lambda value: [str(value)]
    """The checked value as the lines to write, each in a write of its own."""


def _ranges(cpus: list[int]) -> list[str]:
    return [",".join(map(str, cpus))]


def _io_lines(value: dict[str, dict[str, values.Limit]]) -> list[str]:
    return [
        " ".join([disk, *(f"{key}={amount}" for key, amount in one.items())]) for disk, one in value.items()
    ]


_once = partial(values.whole, least=1, most=1, unit="(the only value)")
_weight = partial(values.whole, least=1, most=10_000, unit="shares of 100 by default")
_burst = partial(values.whole, least=0, most=1_000_000, unit="microseconds")
_count = partial(values.whole, least=0, most=1 << 31, unit="groups")

_ALL = [
    File(
        "cpu.max",
        "cpu",
        "(quota, period) in microseconds: the CPU time the group may use in each period",
        values.cpu_max,
        values.cpu_bandwidth,
        lambda pair: [f"{pair[0]} {pair[1]}"],
    ),
    File(
        "cpu.max.burst",
        "cpu",
        "microseconds of unused quota that may be saved up for a busy period",
        int,
        _burst,
    ),
    File(
        "cpu.weight",
        "cpu",
        "share of the CPU against the groups beside it, when it is scarce (1 to 10000, 100 unless set)",
        int,
        _weight,
    ),
    File(
        "cpu.stat",
        "cpu",
        "CPU time used, and how often and how long the group had to wait for its next period",
        values.flat,
    ),
    File("cpuset.cpus", "cpuset", "the CPUs the group may run on", values.numbers, values.cpus, _ranges),
    File(
        "cpuset.cpus.effective",
        "cpuset",
        "the CPUs it may really run on, the limits above counted in",
        values.numbers,
    ),
    File("cpuset.mems", "cpuset", "the memory nodes it may use", values.numbers, values.cpus, _ranges),
    File("cpuset.mems.effective", "cpuset", "the memory nodes it may really use", values.numbers),
    File("memory.current", "memory", "bytes in use now, page cache and kernel memory included", int),
    File("memory.peak", "memory", "the most bytes ever in use", int),
    File(
        "memory.max",
        "memory",
        "bytes that are never passed: what cannot be freed is killed",
        values.limit,
        values.memory,
    ),
    File(
        "memory.high",
        "memory",
        "bytes above which the group is slowed down and its pages are reclaimed",
        values.limit,
        values.memory,
    ),
    File(
        "memory.low",
        "memory",
        "bytes that are not reclaimed as long as others have some to give",
        values.limit,
        partial(values.memory, least=0),
    ),
    File(
        "memory.events", "memory", "how often memory.high, memory.max and the OOM killer struck", values.flat
    ),
    File("memory.stat", "memory", "what the memory is used for, in bytes", values.flat),
    File(
        "memory.oom.group",
        "memory",
        "1: an OOM kill takes the whole group, not one process",
        int,
        values.switch,
    ),
    File("memory.swap.max", "memory", "bytes of swap the group may use", values.limit, values.swap),
    File("memory.swap.current", "memory", "bytes of swap in use", int),
    File("pids.max", "pids", "how many processes and threads there may be", values.limit, values.pids),
    File("pids.current", "pids", "how many there are", int),
    File("pids.peak", "pids", "the most there ever were", int),
    File("pids.events", "pids", "max: how often a fork was refused", values.flat),
    File(
        "io.max", "io", "bytes and operations per second for each disk", values.nested, values.io, _io_lines
    ),
    File("io.stat", "io", "bytes and operations so far for each disk", values.nested),
    File("cpu.pressure", "cgroup", "how much time was lost waiting for a CPU (PSI)", values.nested),
    File("memory.pressure", "cgroup", "how much time was lost waiting for memory (PSI)", values.nested),
    File("io.pressure", "cgroup", "how much time was lost waiting for a disk (PSI)", values.nested),
    File("cgroup.freeze", "cgroup", "1: everything in the group and below stands still", int, values.switch),
    File("cgroup.kill", "cgroup", "write 1: SIGKILL to everything in the group and below", int, _once),
    File(
        "cgroup.events",
        "cgroup",
        "populated: anyone alive inside or below; frozen: all standing still",
        values.flat,
    ),
    File("cgroup.procs", "cgroup", "the processes in the group", values.numbers),
    File("cgroup.threads", "cgroup", "the threads in the group", values.numbers),
    File("cgroup.stat", "cgroup", "how many groups are below", values.flat),
    File("cgroup.controllers", "cgroup", "the controllers the group above hands down to this one", str.split),
    File(
        "cgroup.subtree_control", "cgroup", "the controllers this group hands down to those below", str.split
    ),
    File("cgroup.max.depth", "cgroup", "how deep groups may nest below", values.limit, _count),
    File("cgroup.max.descendants", "cgroup", "how many groups may stand below", values.limit, _count),
]
FILES = {file.name: file for file in _ALL}
"""Every file by its name."""


def named(name: str) -> File:
    """The file of that name. Raises :class:`UnknownFile`, with the names that look like it."""
    if name not in FILES:
        raise UnknownFile(name, FILES)
    return FILES[name]


def checked(name: str, value: object) -> Any:
    """``value`` as the file takes it. Raises :class:`BadLimit` for nonsense, and for a file only read."""
    file = named(name)
    if file.check is None:
        raise BadLimit(f"{name} is only read ({file.about}); it takes no value. Nothing was changed.")
    return file.check(name, value)


def table() -> Table:
    """All the files, one line each."""
    return Table(
        "The files of a control group",
        ["file", "what it says or sets"],
        [(file.name + ("" if file.check else "  (read only)"), file.about) for file in _ALL],
    )
