"""cgroup v1: one tree per controller, other names and other units, underneath the v2 names.

Only what means the same is translated; what has no equal is said to have none. Each line below names the v1
files it uses. See https://docs.kernel.org/admin-guide/cgroup-v1/ and cgroups(7).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kit.cgroups import values
from kit.cgroups.errors import NoEqual
from kit.cgroups.translation import Source, Write

_UNLIMITED = 1 << 62  # v1 says "no limit" with the greatest multiple of a page


def _bytes(text: str) -> values.Limit:
    return "max" if int(text) >= _UNLIMITED else int(text)


def _cpu_max(texts: list[str]) -> tuple[values.Limit, int]:
    quota = int(texts[0])
    return ("max" if quota < 0 else quota), int(texts[1])


def _cpu_stat(texts: list[str]) -> dict[str, int]:
    """cpuacct counts nanoseconds; v2 says microseconds."""
    usage, user, system = (int(text) // 1000 for text in texts[:3])
    bandwidth = values.flat(texts[3])
    return {
        "usage_usec": usage,
        "user_usec": user,
        "system_usec": system,
        "nr_periods": bandwidth["nr_periods"],
        "nr_throttled": bandwidth["nr_throttled"],
        "throttled_usec": bandwidth["throttled_time"] // 1000,
        "nr_bursts": bandwidth.get("nr_bursts", 0),
        "burst_usec": bandwidth.get("burst_time", 0) // 1000,
    }


def _memory_events(texts: list[str]) -> dict[str, int]:
    """memory.failcnt counts how often memory.max was hit (not while memory.swap.max is 0: then v1 hits the
    limit of memory and swap together first). The OOM killer's victims stand in memory.oom_control.
    """
    return {"max": int(texts[0]), "oom_kill": values.flat(texts[1]).get("oom_kill", 0)}


_STAT = {
    "rss": "anon",
    "cache": "file",
    "shmem": "shmem",
    "mapped_file": "file_mapped",
    "dirty": "file_dirty",
    "writeback": "file_writeback",
    "pgfault": "pgfault",
    "pgmajfault": "pgmajfault",
    "inactive_anon": "inactive_anon",
    "active_anon": "active_anon",
    "inactive_file": "inactive_file",
    "active_file": "active_file",
    "unevictable": "unevictable",
}


def _memory_stat(texts: list[str]) -> dict[str, int]:
    """v2 counts the groups below in, so v1's total_* lines are the equal."""
    v1 = values.flat(texts[0])
    return {name: v1[f"total_{old}"] for old, name in _STAT.items() if f"total_{old}" in v1}


def _swap_max(texts: list[str]) -> values.Limit:
    """v1 limits memory and swap together: the swap's part is the difference."""
    both, memory = (_bytes(text) for text in texts)
    return "max" if isinstance(both, str) or isinstance(memory, str) else both - memory


_THROTTLE = {
    "rbps": "blkio.throttle.read_bps_device",
    "wbps": "blkio.throttle.write_bps_device",
    "riops": "blkio.throttle.read_iops_device",
    "wiops": "blkio.throttle.write_iops_device",
}


def _io_max(texts: list[str]) -> dict[str, dict[str, values.Limit]]:
    found: dict[str, dict[str, values.Limit]] = {}
    for key, text in zip(_THROTTLE, texts, strict=True):
        for line in text.splitlines():
            disk, amount = line.split()
            found.setdefault(disk, dict.fromkeys(_THROTTLE, "max"))[key] = int(amount)
    return found


def _io_stat(texts: list[str]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for text, unit in zip(texts, ("bytes", "ios"), strict=True):
        for words in (line.split() for line in text.splitlines()):
            if len(words) == 3 and words[1] in ("Read", "Write", "Discard"):
                found.setdefault(words[0], {})[words[1][0].lower() + unit] = int(words[2])
    return found


def _events(texts: list[str]) -> dict[str, int]:
    return {"populated": int(bool(texts[0].strip())), "frozen": int(texts[1].strip() == "FROZEN")}


READ: dict[str, Source] = {
    "cpu.max": Source((("cpu", "cpu.cfs_quota_us"), ("cpu", "cpu.cfs_period_us")), _cpu_max),
    "cpu.max.burst": Source((("cpu", "cpu.cfs_burst_us"),), lambda t: int(t[0])),
    "cpu.weight": Source((("cpu", "cpu.shares"),), lambda t: max(1, round(int(t[0]) * 100 / 1024))),
    "cpu.stat": Source(
        (
            ("cpuacct", "cpuacct.usage"),
            ("cpuacct", "cpuacct.usage_user"),
            ("cpuacct", "cpuacct.usage_sys"),
            ("cpu", "cpu.stat"),
        ),
        _cpu_stat,
    ),
    "cpuset.cpus": Source((("cpuset", "cpuset.cpus"),), lambda t: values.numbers(t[0])),
    "cpuset.cpus.effective": Source((("cpuset", "cpuset.effective_cpus"),), lambda t: values.numbers(t[0])),
    "cpuset.mems": Source((("cpuset", "cpuset.mems"),), lambda t: values.numbers(t[0])),
    "cpuset.mems.effective": Source((("cpuset", "cpuset.effective_mems"),), lambda t: values.numbers(t[0])),
    "memory.current": Source((("memory", "memory.usage_in_bytes"),), lambda t: int(t[0])),
    "memory.peak": Source((("memory", "memory.max_usage_in_bytes"),), lambda t: int(t[0])),
    "memory.max": Source((("memory", "memory.limit_in_bytes"),), lambda t: _bytes(t[0])),
    "memory.events": Source((("memory", "memory.failcnt"), ("memory", "memory.oom_control")), _memory_events),
    "memory.stat": Source((("memory", "memory.stat"),), _memory_stat),
    "memory.swap.max": Source(
        (("memory", "memory.memsw.limit_in_bytes"), ("memory", "memory.limit_in_bytes")), _swap_max
    ),
    "memory.swap.current": Source(
        (("memory", "memory.memsw.usage_in_bytes"), ("memory", "memory.usage_in_bytes")),
        lambda t: max(0, int(t[0]) - int(t[1])),
    ),
    "pids.max": Source((("pids", "pids.max"),), lambda t: values.limit(t[0])),
    "pids.current": Source((("pids", "pids.current"),), lambda t: int(t[0])),
    "pids.peak": Source((("pids", "pids.peak"),), lambda t: int(t[0])),
    "pids.events": Source((("pids", "pids.events"),), lambda t: values.flat(t[0])),
    "io.max": Source(tuple(("io", file) for file in _THROTTLE.values()), _io_max),
    "io.stat": Source(
        (("io", "blkio.throttle.io_service_bytes_recursive"), ("io", "blkio.throttle.io_serviced_recursive")),
        _io_stat,
    ),
    # Only where no v2 tree is mounted beside the v1 ones:
    "cgroup.freeze": Source((("freezer", "freezer.state"),), lambda t: int(t[0].strip() != "THAWED")),
    "cgroup.events": Source((("freezer", "cgroup.procs"), ("freezer", "freezer.state")), _events),
    "cgroup.procs": Source((("freezer", "cgroup.procs"),), lambda t: values.numbers(t[0])),
    "cgroup.threads": Source((("freezer", "tasks"),), lambda t: values.numbers(t[0])),
}


def _write_cpu_max(value: Any, read: Callable[[str], Any]) -> list[Write]:
    """Two files, so the limit is lifted for an instant when the period changes: no pair in between is ever
    refused.
    """
    quota, period = value
    lift = [Write("cpu", "cpu.cfs_quota_us", "-1"), Write("cpu", "cpu.cfs_period_us", str(period))]
    text = "-1" if quota == "max" else str(quota)
    return [*(lift if read("cpu.max")[1] != period else []), Write("cpu", "cpu.cfs_quota_us", text)]


def _write_memory_max(value: Any, read: Callable[[str], Any]) -> list[Write]:
    """Memory may never be limited above memory-and-swap, so the order of the two writes depends on the
    direction.
    """
    memory = Write("memory", "memory.limit_in_bytes", "-1" if value == "max" else str(value))
    try:
        swap = read("memory.swap.max")
    except OSError:
        return [memory]  # swap accounting is off
    if swap == "max":
        return [memory]
    both = Write("memory", "memory.memsw.limit_in_bytes", "-1" if value == "max" else str(value + swap))
    current = read("memory.max")
    return [both, memory] if value == "max" or (current != "max" and value > current) else [memory, both]


def _write_swap_max(value: Any, read: Callable[[str], Any]) -> list[Write]:
    memory = read("memory.max")
    if value != "max" and memory == "max":
        raise NoEqual(
            "v1 limits memory and swap together, so memory.swap.max needs memory.max first. Nothing was "
            "changed."
        )
    return [Write("memory", "memory.memsw.limit_in_bytes", "-1" if value == "max" else str(memory + value))]


def _write_io_max(value: Any, read: Callable[[str], Any]) -> list[Write]:
    return [
        Write("io", _THROTTLE[key], f"{disk} {0 if amount == 'max' else amount}")
        for disk, limits in value.items()
        for key, amount in limits.items()
    ]


WRITE: dict[str, Callable[[Any, Callable[[str], Any]], list[Write]]] = {
    "cpu.max": _write_cpu_max,
    "cpu.max.burst": lambda value, read: [Write("cpu", "cpu.cfs_burst_us", str(value))],
    # The kernel's own rule: the weight 100 of v2 and the 1024 shares of v1 are the same thing inside the
    # scheduler.
    "cpu.weight": lambda value, read: [Write("cpu", "cpu.shares", str(max(2, round(value * 1024 / 100))))],
    "cpuset.cpus": lambda value, read: [Write("cpuset", "cpuset.cpus", ",".join(map(str, value)))],
    "cpuset.mems": lambda value, read: [Write("cpuset", "cpuset.mems", ",".join(map(str, value)))],
    "memory.max": _write_memory_max,
    "memory.swap.max": _write_swap_max,
    "pids.max": lambda value, read: [Write("pids", "pids.max", str(value))],
    "io.max": _write_io_max,
    "cgroup.freeze": lambda value, read: [Write("freezer", "freezer.state", "FROZEN" if value else "THAWED")],
}

_WHY = {
    "memory.high": "v1 has nothing that slows a group down at a threshold. "
    "memory.soft_limit_in_bytes sounds alike but only "
    "chooses whom to reclaim from when the whole machine runs short, so it is not used silently. memory.max "
    "works.",
    "memory.oom.group": "v1's OOM killer always picks one process.",
    "memory.low": "v1 has no protection from reclaim.",
    "cpu.pressure": "pressure is only told in the v2 tree, and none is mounted here.",
    "memory.pressure": "pressure is only told in the v2 tree, and none is mounted here.",
    "io.pressure": "pressure is only told in the v2 tree, and none is mounted here.",
}


def no_equal(name: str) -> NoEqual:
    """The error that says that v1 has nothing for ``name``, and why."""
    why = _WHY.get(name, "It belongs to the v2 tree, and none is mounted here.")
    return NoEqual(
        f"{name} has no equal in cgroup v1: {why} On a machine with cgroup v2 only it works as it stands."
    )
