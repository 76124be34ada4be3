"""The sampler: every counter, no moment lost in silence, and its end."""

from __future__ import annotations

import itertools
import os
import threading

import pytest

from kit.cgroups import BadLimit, Cgroup, CgroupError, Sampler, loads
from tests.cgroups.conftest import until

pytestmark = pytest.mark.needs("root")


def _fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_counters_grow_and_every_field_is_filled(group):
    group["cpu.max"] = (20_000, 100_000)
    with Sampler(group, hz=50) as sampler, group.start(loads.busy()):
        until(lambda: sampler.samples[-1].throttled_usec)
    samples = sampler.samples
    throttled = next(sample for sample in samples if sample.throttled_usec)
    assert throttled.usage_usec > samples[0].usage_usec and throttled.nr_throttled > 0
    assert throttled.memory_current > 0 and throttled.pids_current == 1
    assert None not in throttled
    assert all(later.t > earlier.t for earlier, later in itertools.pairwise(samples))
    assert 0 < samples[-1].cpus_since(samples[0]) <= (os.cpu_count() or 1) + 0.5
    assert samples[0].cpus_since(samples[0]) is None


def test_a_field_that_cannot_be_told_is_none():
    with Cgroup("demo", controllers=["pids"]) as group, Sampler(group, hz=50) as sampler:
        until(lambda: len(sampler.samples) > 2)
    sample = sampler.samples[-1]
    assert sample.pids_current == 0 and sample.memory_current is None and sample.read_bytes is None


def test_deadlines_that_are_missed_are_counted(group):
    held = threading.Event()
    sampler = Sampler(group, hz=50)
    sampler.subscribe(lambda sample: held.wait(0.3) if len(sampler.samples) == 3 else None)
    with sampler:
        until(lambda: sampler.missed and len(sampler.samples) > 5)
    assert sampler.missed >= 10


def test_every_sample_is_handed_to_the_subscribers(group):
    seen = []
    sampler = Sampler(group, hz=50)
    sampler.subscribe(seen.append)
    with sampler:
        until(lambda: len(seen) > 3)
    assert seen == sampler.samples


@pytest.mark.parametrize("error", [OSError("boom"), ValueError("boom")])
def test_a_subscriber_that_fails_is_told_and_not_taken_for_the_group(group, error):
    calls = []

    def fail(sample):
        calls.append(sample)
        if len(calls) > 1:
            raise error

    sampler = Sampler(group, hz=50)
    sampler.subscribe(fail)
    with sampler:
        until(lambda: sampler.ended)
    assert sampler.ended == f"a subscriber failed ({error!r})" and sampler.samples == calls


def test_it_ends_with_the_group_and_leaves_no_descriptor(group):
    before = _fds()
    sampler = Sampler(group, hz=50).start()
    until(lambda: len(sampler.samples) > 1)
    group.close()
    until(lambda: sampler.ended)
    assert "removed" in sampler.ended and not sampler._thread.is_alive()
    sampler.stop()
    assert _fds() == before


def test_stopping_leaves_no_thread_and_no_descriptor(group):
    before = _fds(), threading.active_count()
    with Sampler(group, hz=50) as sampler:
        until(lambda: len(sampler.samples) > 1)
    sampler.stop()
    assert (_fds(), threading.active_count()) == before and sampler.ended == ""
    with pytest.raises(CgroupError, match="started already"):
        sampler.start()


@pytest.mark.parametrize("hz", [0, -1, 51, 1e9, "fast", None, True])
def test_a_bad_rate_is_refused(hz):
    with pytest.raises(BadLimit, match="up to 50"):
        Sampler(None, hz=hz)  # type: ignore[arg-type]


def test_a_closed_group_cannot_be_sampled(group):
    group.close()
    with pytest.raises(CgroupError, match="closed"):
        Sampler(group).start()
