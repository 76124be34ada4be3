"""Measuring a group over time: a thread that reads its counters up to 50 times a second, and says when it
came late.

The files are opened once and read with pread(2) from the start, which makes the kernel write them anew. See
cgroups(7).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from kit.cgroups.errors import BadLimit, CgroupError

if TYPE_CHECKING:
    from kit.cgroups.group import Cgroup


class Sample(NamedTuple):
    """The counters of a group at one moment. A field is None where this machine cannot tell.

    ``t`` is the monotonic clock in seconds. All ``*_usec`` and ``nr_*`` only ever grow; ``memory_current`` is
    in bytes.
    """

    t: float
    usage_usec: int | None = None
    nr_periods: int | None = None
    nr_throttled: int | None = None
    throttled_usec: int | None = None
    memory_current: int | None = None
    pids_current: int | None = None
    oom_kill: int | None = None
    cpu_pressure_usec: int | None = None
    memory_pressure_usec: int | None = None
    io_pressure_usec: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None

    def cpus_since(self, earlier: Sample) -> float | None:
        """How many CPUs the group used on average since an earlier sample: 0.5 is half of one."""
        if self.usage_usec is None or earlier.usage_usec is None or self.t <= earlier.t:
            return None
        return (self.usage_usec - earlier.usage_usec) / 1e6 / (self.t - earlier.t)


def _pick(*keys: str) -> Callable[[Any], Iterator[int | None]]:
    return lambda value: (value.get(key) for key in keys)


def _stalled(value: Any) -> Iterator[int | None]:
    yield value["some"]["total"]


def _bytes(value: Any) -> Iterator[int | None]:
    for key in ("rbytes", "wbytes"):
        yield sum(disk.get(key, 0) for disk in value.values())


_FIELDS: tuple[tuple[str, tuple[str, ...], Callable[[Any], Iterator[int | None]]], ...] = (
    (
        "cpu.stat",
        ("usage_usec", "nr_periods", "nr_throttled", "throttled_usec"),
        _pick("usage_usec", "nr_periods", "nr_throttled", "throttled_usec"),
    ),
    ("memory.current", ("memory_current",), lambda value: iter((value,))),
    ("pids.current", ("pids_current",), lambda value: iter((value,))),
    ("memory.events", ("oom_kill",), _pick("oom_kill")),
    ("cpu.pressure", ("cpu_pressure_usec",), _stalled),
    ("memory.pressure", ("memory_pressure_usec",), _stalled),
    ("io.pressure", ("io_pressure_usec",), _stalled),
    ("io.stat", ("read_bytes", "written_bytes"), _bytes),
)


class _Reader:
    """One value's files, kept open."""

    def __init__(self, group: Cgroup, name: str) -> None:
        self.parse = group.source(name).parse
        self.fds: list[int] = []
        try:
            for path in group.paths(name):
                self.fds.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            self.read()
        except OSError:
            self.close()
            raise

    def read(self) -> Any:
        return self.parse([os.pread(fd, 65536, 0).decode() for fd in self.fds])

    def close(self) -> None:
        while self.fds:
            os.close(self.fds.pop())


class _SubscriberFailed(Exception):
    """A function that was given to subscribe() raised; the cause says what."""


class Sampler:
    """Samples a group ``hz`` times a second (up to 50) in a thread of its own, from :meth:`start` to
    :meth:`stop`.

    ``samples`` grows at its end; ``missed`` counts the moments for which the thread came too late, so that
    none is lost in silence; ``ended`` says why it stopped by itself (the group was removed, a subscriber
    failed). Each function given to :meth:`subscribe` is called with every sample, in the thread. A context
    manager too.
    """

    def __init__(self, group: Cgroup, hz: float = 20) -> None:
        if isinstance(hz, bool) or not isinstance(hz, int | float) or not 0 < hz <= 50:
            raise BadLimit(f"a sampler takes up to 50 samples a second, not {hz!r}.")
        self.group, self.hz = group, hz
        self.samples: list[Sample] = []
        self.missed = 0
        self.ended = ""
        self._readers: list[tuple[tuple[str, ...], Callable[[Any], Iterator[int | None]], _Reader]] = []
        self._subscribers: list[Callable[[Sample], None]] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def subscribe(self, callback: Callable[[Sample], None]) -> None:
        """Call ``callback`` with every sample from now on. It should be quick: while it runs nothing is
        sampled.
        """
        self._subscribers.append(callback)

    def start(self) -> Sampler:
        """Open the files, take the first sample and go on in a thread. Raises CgroupError when it runs, or
        the group is gone.
        """
        if self._thread is not None:
            raise CgroupError("this sampler has been started already: make a new one.")
        self.group.paths("cgroup.events")  # raises when the group has been closed
        for name, fields, pick in _FIELDS:
            try:
                self._readers.append((fields, pick, _Reader(self.group, name)))
            except OSError:
                continue  # this machine can't tell: the fields stay None
        try:
            self._take()
        except BaseException:
            self._close()
            raise
        self._thread = threading.Thread(target=self._run, name=f"sampler {self.group.path}", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Take no more samples. A second call does nothing."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Sampler:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _take(self) -> None:
        values: dict[str, int | None] = {}
        t = time.monotonic()
        for fields, pick, reader in self._readers:
            values.update(zip(fields, pick(reader.read()), strict=True))
        sample = Sample(t, **values)
        self.samples.append(sample)
        try:
            for callback in self._subscribers:
                callback(sample)
        except Exception as error:  # whatever it is, it is the subscriber's: it must not pass for the group's
            raise _SubscriberFailed from error

    def _run(self) -> None:
        interval = 1 / self.hz
        began = time.monotonic()
        turn = 0
        try:
            while True:
                turn += 1
                late = int((time.monotonic() - began) / interval) - turn
                if late > 0:  # whole turns went by: count them, and wait for the next that is still to come
                    self.missed += late
                    turn += late
                if self._stop.wait(max(0.0, began + turn * interval - time.monotonic())):
                    return
                self._take()
        except _SubscriberFailed as failed:
            self.ended = f"a subscriber failed ({failed.__cause__!r})"
        except OSError as error:
            self.ended = f"the group was removed ({error.strerror})"
        finally:
            self._close()

    def _close(self) -> None:
        for _, _, reader in self._readers:
            reader.close()
