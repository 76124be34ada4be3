"""The runtime-spec's ``linux.resources`` as files of a control group, and what the group has used.

See config-linux.md, "Control groups", and https://docs.kernel.org/admin-guide/cgroup-v2.html.
"""

from __future__ import annotations

from typing import Any

from kit.cgroups import Cgroup, values
from kit.containers.errors import BadConfig, known
from kit.images.documents import Document


def limits(resources: Document) -> dict[str, Any]:
    """The files to write and their values, in order. Raises :class:`BadConfig` for what is not supported."""
    known(resources, "devices memory cpu pids unified", "linux.resources")
    memory, cpu, pids = (resources.get(key) or {} for key in ("memory", "cpu", "pids"))
    known(memory, "limit swap", "linux.resources.memory")
    known(cpu, "shares quota period burst cpus mems", "linux.resources.cpu")
    found: dict[str, Any] = {}
    if limit := memory.get("limit"):
        found["memory.max"] = _or_max(limit)
    if swap := memory.get("swap"):  # of both together
        if swap > 0 and not 0 < (limit or 0) <= swap:
            raise BadConfig("linux.resources.memory: swap counts memory and swap, and needs a limit below it")
        found["memory.swap.max"] = "max" if swap < 0 else swap - limit
    if shares := cpu.get("shares"):  # the scheduler's own rule: v1's 1024 shares are the weight 100
        found["cpu.weight"] = min(max(round(shares * 100 / 1024), 1), 10_000)
    if cpu.get("quota") or cpu.get("period"):
        found["cpu.max"] = (_or_max(cpu.get("quota") or -1), cpu.get("period") or 100_000)
    if cpu.get("burst"):
        found["cpu.max.burst"] = cpu["burst"]
    for key in ("cpus", "mems"):
        if cpu.get(key):
            found[f"cpuset.{key}"] = cpu[key]
    if pids.get("limit"):
        found["pids.max"] = _or_max(pids["limit"])
    return found | (resources.get("unified") or {})


def _or_max(value: int) -> int | str:
    return "max" if value < 0 else value


def all_devices(resources: Document) -> bool:
    """Whether every device may be used; else only those that the configuration names can be opened."""
    for rule in resources.get("devices") or ():
        if rule.get("allow") and not {"r", "w"} <= set(rule.get("access") or "rwm"):
            raise BadConfig(
                f"linux.resources.devices {rule}: a device is allowed for reading and writing or not"
            )
        if rule.get("allow") and rule.get("type") in (None, "", "a") and rule.get("major") is None:
            return True
    return False


def stats(group: Cgroup) -> dict[str, int]:
    """What the container uses, and may: microseconds, bytes, processes. A limit that isn't set reads as 0."""
    found: dict[str, int] = {}
    if "cpu" in group.controllers:
        cpu = group["cpu.stat"]
        found |= {f"cpu_{key}": cpu[key] for key in ("usage_usec", "user_usec", "system_usec")}
        found |= {f"cpu_{key}": cpu.get(key, 0) for key in ("nr_periods", "nr_throttled", "throttled_usec")}
    if "memory" in group.controllers:
        limit = group["memory.max"]
        found |= {
            "memory_bytes": group["memory.current"],
            "memory_limit_bytes": values.memory_total() if limit == "max" else limit,
            "memory_inactive_file_bytes": group["memory.stat"].get("inactive_file", 0),
            "oom_kills": group["memory.events"].get("oom_kill", 0),
        }
    if "pids" in group.controllers:
        limit = group["pids.max"]
        found |= {"pids": group["pids.current"], "pids_limit": 0 if limit == "max" else limit}
    if "io" in group.controllers:
        disks = group["io.stat"].values()
        for key in ("rbytes", "wbytes"):
            found[f"io_{key}"] = sum(disk.get(key, 0) for disk in disks)
    return found
