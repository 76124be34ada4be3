"""From counters that only grow to what a reader wants to see: how much of it just now.

``cpu.stat`` counts microseconds since the group was made. A :class:`Frame` is the difference over a short
window, beside the limits as they stood then. Sources: the kernel's Documentation/admin-guide/cgroup-v2.rst
and scheduler/sched-bwc.rst.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

WINDOW = 0.3  # seconds: whole periods of the bandwidth controller (usually 100 ms), each with its whole quota


class Frame(NamedTuple):
    """One group at one moment."""

    t: float  # seconds since the first sample
    cpu: float  # usage in percent of one CPU, mean over the window
    throttled: float  # percent of the bandwidth periods in the window in which the group had to wait
    memory: int  # bytes
    cpu_limit: float | None = None  # percent of one CPU; None = no limit
    memory_limit: int | None = None  # bytes; None = no limit
    pids: int = 0  # processes and threads


class Limits(NamedTuple):
    """A group's limits at one moment, as the kernel holds them; None = no limit, or no such controller."""

    cpu: float | None = None  # percent of one CPU
    memory: int | None = None  # bytes


def limits(group: Any) -> Limits:
    """Read a group's limits. A controller that the group doesn't have counts as no limit."""
    cpu, memory = None, None
    value = _read(group, "cpu.max")
    if value and value[0] != "max":
        cpu = 100 * int(value[0]) / int(value[1])
    value = _read(group, "memory.max")
    if value not in (None, "max"):
        memory = int(value)
    return Limits(cpu, memory)


def _read(group: Any, name: str) -> Any:
    try:
        return group[name]
    except (
        OSError,
        KeyError,
    ):  # the group has gone, or has no such controller: what ends a view is decided elsewhere
        return None


def frame(samples: Sequence[Any], now: Limits, start: float) -> Frame:
    """The newest frame of a row of samples (see ``kit.cgroups.Sampler``); ``start`` is the time that counts
    as zero.
    """
    last = samples[-1]
    first = samples[_nearest(samples, last.t - WINDOW)]
    seconds = last.t - first.t
    cpu = _grown(first.usage_usec, last.usage_usec) / seconds / 10_000 if seconds > 0 else 0.0
    periods = _grown(first.nr_periods, last.nr_periods)  # the kernel counts none while the group is idle
    throttled = 100 * _grown(first.nr_throttled, last.nr_throttled) / periods if periods else 0.0
    return Frame(
        last.t - start, cpu, throttled, last.memory_current or 0, now.cpu, now.memory, last.pids_current or 0
    )


def _nearest(samples: Sequence[Any], t: float) -> int:
    # The nearest, not the last before: a window half a period too long would show more than the limit allows.
    after = bisect_left(samples, t, key=lambda sample: sample.t)
    return min((max(0, after - 1), after), key=lambda index: abs(samples[index].t - t))


def _grown(before: int | None, after: int | None) -> int:
    """How much a counter has grown; 0 where this machine can't tell."""
    return after - before if before is not None and after is not None else 0


def frames(source: Any) -> list[Frame]:
    """Frames of a finished recording: a Sampler, a live view, or a list of samples (their limits are not
    known).
    """
    made = getattr(source, "frames", None)
    if made is not None:
        return list(made)
    samples = list(getattr(source, "samples", source))
    if not samples:
        return []
    group = getattr(source, "group", None)
    now = limits(group) if group is not None else Limits()
    return [frame(samples[: i + 1], now, samples[0].t) for i in range(len(samples))]
