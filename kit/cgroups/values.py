"""The values of interface files: how they are read, and what is refused before the kernel is asked.

Units are cgroup v2's: bytes and microseconds. ``"max"`` means no limit.
See https://docs.kernel.org/admin-guide/cgroup-v2.html, "Format" and "Conventions".
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from kit.cgroups.errors import BadLimit

Limit = int | str
"""A number, or ``"max"``."""

PAGE = os.sysconf("SC_PAGE_SIZE")
_UNIT = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


# --- reading ------------------------------------------------------------------------------------------------


def limit(text: str) -> Limit:
    """``max`` or a number."""
    return "max" if text.strip() == "max" else int(text)


def flat(text: str) -> dict[str, int]:
    """Flat keyed: one ``KEY VALUE`` per line (cpu.stat, memory.events, cgroup.events ...)."""
    return {key: int(value) for key, value in (line.split() for line in text.splitlines() if line)}


def nested(text: str) -> dict[str, dict[str, Any]]:
    """Nested keyed: ``KEY SUB=VALUE SUB=VALUE`` per line (io.stat, io.max, the pressure files)."""

    def number(word: str) -> float | int | str:
        return "max" if word == "max" else float(word) if "." in word else int(word)

    lines = [line.split() for line in text.splitlines() if line.strip()]
    return {
        key: {sub: number(value) for sub, _, value in (pair.partition("=") for pair in pairs)}
        for key, *pairs in lines
    }


def numbers(text: str) -> list[int]:
    """A list in the kernel's range format: ``0-2,4`` is [0, 1, 2, 4]. Also reads one number per line
    (cgroup.procs).
    """
    found: list[int] = []
    for part in text.replace("\n", ",").split(","):
        if part.strip():
            first, _, last = part.partition("-")
            found.extend(range(int(first), int(last or first) + 1))
    return found


def cpu_max(text: str) -> tuple[Limit, int]:
    """``QUOTA PERIOD``: (quota or "max", period), both in microseconds."""
    quota, period = text.split()
    return limit(quota), int(period)


# --- checking before writing --------------------------------------------------------------------------------


def whole(name: str, value: object, least: int, most: int, unit: str, why_most: str = "") -> int:
    """A whole number in a range. ``why_most`` says where the upper bound comes from."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadLimit(f"{name} takes a whole number of {unit}, not {value!r}. Nothing was changed.")
    if value < least:
        raise BadLimit(f"{name} takes at least {least} {unit}, not {value}. Nothing was changed.")
    if value > most:
        bound = f" ({why_most})" if why_most else ""
        raise BadLimit(f"{name} takes at most {most} {unit}{bound}, not {value}. Nothing was changed.")
    return value


def _is_max(value: object) -> bool:
    return isinstance(value, str) and value.strip() == "max"


def memory(name: str, value: object, least: int = PAGE) -> Limit:
    """Bytes as a number or as text with K, M, G or T (powers of 1024); at least ``least`` (a page), at most
    the machine's memory.
    """
    if _is_max(value):
        return "max"
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(-?\d+)\s*([KMGT]?)(i?B)?\s*", value, re.IGNORECASE)
        if not match:
            raise BadLimit(
                f'{name} takes bytes, such as 67108864 or "64M", or "max"; not {value!r}. Nothing was '
                "changed."
            )
        value = int(match[1]) * _UNIT[match[2].upper()]
    total = memory_total()
    return whole(
        name, value, least, total, "bytes", f'this machine has {total >> 20} MiB; "max" means no limit'
    )


def swap(name: str, value: object) -> Limit:
    """Bytes of swap, read as those of memory; 0 is a good value here: no swap at all."""
    return memory(name, value, least=0)


def pids(name: str, value: object) -> Limit:
    """How many processes and threads: 1 to the machine's own limit (/proc/sys/kernel/pid_max)."""
    if _is_max(value):
        return "max"
    with open("/proc/sys/kernel/pid_max") as file:
        most = int(file.read())
    return whole(
        name, value, 1, most, "processes", 'this machine\'s own limit, kernel.pid_max; "max" means no limit'
    )


def cpu_bandwidth(name: str, value: object) -> tuple[Limit, int]:
    """(quota, period) in microseconds; a quota alone takes the usual period of 100000; "max" lifts the limit.

    The kernel takes periods of 1000 to 1000000 and quotas from 1000 up; more than all CPUs for the whole
    period is refused.
    """
    parts: list[object] = (
        list(value.split())
        if isinstance(value, str)
        else (list(value) if isinstance(value, tuple | list) else [value])
    )
    if not 1 <= len(parts) <= 2:
        raise BadLimit(
            f'{name} takes (quota, period) in microseconds, or "max"; not {value!r}. Nothing was changed.'
        )
    period = whole(
        f"{name}: the period", parts[1] if len(parts) == 2 else 100_000, 1_000, 1_000_000, "microseconds"
    )
    if _is_max(parts[0]):
        return "max", period
    cpus = os.cpu_count() or 1
    quota = whole(
        f"{name}: the quota",
        parts[0],
        1_000,
        cpus * period,
        "microseconds",
        f'this machine\'s {cpus} CPUs for the whole period of {period}; "max" means no limit',
    )
    return quota, period


def cpus(name: str, value: object) -> list[int]:
    """CPUs (or memory nodes) by number: 0, [0, 1] or "0-1"; only those that this machine has."""
    kind, file = (
        ("memory nodes", "/sys/devices/system/node/online")
        if name.endswith("mems")
        else ("CPUs", "/sys/devices/system/cpu/online")
    )
    try:
        with open(file) as opened:
            here = numbers(opened.read())
    except FileNotFoundError:
        here = [0]
    wanted: list[int] = []
    if isinstance(value, str):
        parts: list[object] = [part.strip() for part in value.split(",") if part.strip()]
    else:
        parts = list(value) if isinstance(value, Iterable) else [value]
    for part in parts:
        ends = re.fullmatch(r"(\d+)-(\d+)", part) if isinstance(part, str) else None
        first, last = ends.groups() if ends else (part, part)
        numeric = re.fullmatch(r"\d+", str(first)) and not isinstance(first, bool)
        if not numeric or int(str(last)) < int(str(first)):
            raise BadLimit(
                f'{name} takes {kind} by number, such as 0, [0, 1] or "0-1"; not {value!r}. '
                "Nothing was changed."
            )
        # No further than one past the last: a list of ten thousand million numbers is never made.
        wanted += range(int(str(first)), min(int(str(last)), max(here) + 1) + 1) or [int(str(first))]
    missing = sorted(set(wanted) - set(here))
    if missing or not wanted:
        wrong = f"there is no {missing}" if missing else "no number given"
        raise BadLimit(f"{name}: {wrong}; this machine has the {kind} {here}. Nothing was changed.")
    return sorted(set(wanted))


def switch(name: str, value: object) -> int:
    """0 or 1; True and False too."""
    if value in (0, 1, "0", "1"):
        return int(value)
    raise BadLimit(f"{name} takes 0 or 1, not {value!r}. Nothing was changed.")


def io(name: str, value: object) -> dict[str, dict[str, Limit]]:
    """{disk: {"rbps": bytes per second, "wbps": ..., "riops": operations per second, "wiops": ...}}.

    The disk is a device file ("/dev/vda") or MAJOR:MINOR ("254:0"); the kernel's own one-line text is taken
    too.
    """
    from kit.cgroups.disks import number

    if isinstance(value, str):
        try:
            value = nested(value)
        except ValueError:
            raise BadLimit(
                f'{name} takes {{"/dev/vda": {{"rbps": 1048576}}}}, not {value!r}. Nothing was changed.'
            ) from None
    if (
        not isinstance(value, Mapping)
        or not value
        or not all(isinstance(one, Mapping) and one for one in value.values())
    ):
        raise BadLimit(
            f'{name} takes {{"/dev/vda": {{"rbps": 1048576}}}}, not {value!r}. Nothing was changed.'
        )
    checked: dict[str, dict[str, Limit]] = {}
    for disk, limits in value.items():
        one = checked[number(name, str(disk))] = {}
        for key, amount in limits.items():
            if key not in ("rbps", "wbps", "riops", "wiops"):
                raise BadLimit(f"{name} knows rbps, wbps, riops and wiops, not {key!r}. Nothing was changed.")
            unit = "bytes per second" if key.endswith("bps") else "operations per second"
            one[key] = "max" if _is_max(amount) else whole(f"{name}: {key}", amount, 1, 1 << 62, unit)
    return checked


def memory_total() -> int:
    """The machine's memory in bytes (MemTotal of /proc/meminfo)."""
    with open("/proc/meminfo") as file:
        return int(file.readline().split()[1]) << 10
