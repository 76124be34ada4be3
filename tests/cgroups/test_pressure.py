"""Pressure: read, and as an alarm."""

from __future__ import annotations

import os

import pytest

from kit.cgroups import BadLimit, Trigger, disks, loads, pressure
from kit.cgroups.errors import CgroupError, Refused
from tests.cgroups.conftest import until

pytestmark = pytest.mark.needs("root")


def test_the_machine_tells_its_pressure():
    for resource in pressure.RESOURCES:
        assert set(pressure.machine(resource)["some"]) == {"avg10", "avg60", "avg300", "total"}
    with pytest.raises(BadLimit, match="cpu, memory, io"):
        pressure.machine("network")


def test_a_throttled_group_is_under_cpu_pressure(group):
    group["cpu.max"] = (10_000, 100_000)
    with group.start(loads.busy()):
        until(lambda: group["cpu.pressure"]["some"]["total"] > 200_000)


def test_the_alarm_goes_off_when_time_is_lost_and_not_before(group):
    group["cpu.max"] = (10_000, 100_000)
    with Trigger(group, "cpu", stall=200_000) as alarm:
        assert not alarm.wait(0.1)
        with group.start(loads.busy()):
            assert alarm.wait(30)
    alarm.close()


@pytest.mark.timeout(180)
def test_memory_pressure_rises_before_anything_is_killed(group):
    try:
        with disks.scratch() as (directory, _):
            data = directory / "data"
            data.write_bytes(os.urandom(1 << 20) * 40)
            with data.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # else it stays on our account
            group["memory.max"] = "24M"
            with Trigger(group, "memory", stall=20_000) as alarm, group.start(loads.reread(str(data))):
                assert alarm.wait(60)
    except CgroupError as none:
        pytest.skip(str(none))
    assert group["memory.events"]["oom_kill"] == 0 and group["memory.pressure"]["some"]["total"] > 0


def test_the_alarm_ends_with_the_group(group):
    with Trigger(group, "memory", stall=100_000) as alarm:
        group.close()
        assert not alarm.wait(5)


def test_a_bad_alarm_is_refused(group):
    for how in ({"stall": 0}, {"stall": 3_000_000}, {"stall": 1, "window": 5}, {"stall": 1, "kind": "most"}):
        with pytest.raises(BadLimit):
            Trigger(group, "cpu", **how)
    with pytest.raises(BadLimit, match="not on 'disk'"):
        Trigger(group, "disk", stall=1)


def test_what_the_kernel_refuses_comes_back(group):
    path = group.paths("cpu.pressure")[0]
    group.close()
    assert not path.exists()
    with pytest.raises(OSError, match="closed"):
        Trigger(group, "cpu", stall=100_000)
    assert issubclass(Refused, OSError)
