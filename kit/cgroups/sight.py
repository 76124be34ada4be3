"""What a process in a group can and cannot see: limits do not change what /proc says of the machine.

See proc(5), sched_getaffinity(2), cgroup_namespaces(7).
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from kit.show import Table

if TYPE_CHECKING:
    from kit.cgroups.group import Cgroup

_PROGRAM = """
import json, os
def lines(path):
    with open(path) as file:
        return file.read().splitlines()
print(json.dumps({
    "cpus": os.cpu_count(),
    "affinity": len(os.sched_getaffinity(0)),
    "memory": int(lines("/proc/meminfo")[0].split()[1]) << 10,
    "groups": [line.split(":", 2)[2] for line in lines("/proc/self/cgroup")],
}))
"""


def look(group: Cgroup | None = None, **how: Any) -> dict[str, Any]:
    """What a program sees: ``cpus`` and ``affinity`` (how many), ``memory`` in bytes, ``groups`` (paths in
    /proc/self/cgroup).

    Started in ``group``, or outside of all when None. ``how`` is that of kit.linux.spawn.run, such as
    unshare=("cgroup",).
    """
    from kit.linux.spawn import run

    argv = [sys.executable, "-I", "-S", "-c", _PROGRAM]
    result = (group.run(argv, **how) if group else run(argv, **how)).check()
    seen: dict[str, Any] = json.loads(result.stdout)
    return seen


def sight(group: Cgroup) -> Table:
    """A table: what the group is limited to, beside what a process outside and a process inside see."""
    outside, inside, hidden = look(), look(group), look(group, unshare=("cgroup",))
    quota, period = group["cpu.max"]
    memory = group["memory.max"]
    mine = [path for path in inside["groups"] if path.rstrip("/").endswith(f"/{group.name}")]
    rows = [
        (
            "CPUs of the machine (os.cpu_count, nproc --all)",
            outside["cpus"],
            inside["cpus"],
            "no: all are still counted",
        ),
        (
            "CPUs it may run on (sched_getaffinity, nproc)",
            outside["affinity"],
            inside["affinity"],
            f"yes: cpuset.cpus is {', '.join(map(str, group['cpuset.cpus.effective']))}"
            if "cpuset" in group.controllers
            else "-",
        ),
        (
            "CPU time it may use",
            "no file of /proc says",
            "no file of /proc says",
            "no limit is set" if quota == "max" else f"no: cpu.max is {quota} of {period} microseconds",
        ),
        (
            "memory (MemTotal, free)",
            _mib(outside["memory"]),
            _mib(inside["memory"]),
            "no limit is set" if memory == "max" else f"no: memory.max is {_mib(memory)}",
        ),
        ("its own group (/proc/self/cgroup)", "-", next(iter(mine), "-"), "yes"),
        (
            "the same in a cgroup namespace",
            "-",
            "/" if "/" in hidden["groups"] else hidden["groups"][0],
            "no: the path is hidden",
        ),
    ]
    return Table(
        "What a process in the group sees", ["what", "outside", "inside", "is the limit seen?"], rows
    )


def _mib(size: int) -> str:
    return f"{size >> 20} MiB"
