"""Limits that really limit: judged by the kernel's own counters, never by the clock."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from kit.cgroups import Refused, Sampler, disks, loads
from kit.linux.spawn import PIPE
from tests.cgroups.conftest import until

pytestmark = pytest.mark.needs("root")
MIB = 1 << 20


def test_cpu_max_holds_a_busy_loop_to_its_quota(group):
    group["cpu.max"] = (20_000, 100_000)
    with group.start(loads.busy()):
        until(lambda: group["cpu.stat"]["nr_throttled"] >= 5)
        stat = group["cpu.stat"]
    assert stat["nr_periods"] >= stat["nr_throttled"] >= 5 and stat["throttled_usec"] > 0
    # Each period gives 20 ms; a period that has just begun, and a tick's slice per CPU, come on top.
    assert stat["usage_usec"] <= (stat["nr_periods"] + 1) * 20_000 + 20_000


def test_lifting_cpu_max_ends_the_throttling(group):
    group["cpu.max"] = (5_000, 50_000)
    with group.start(loads.busy()):
        until(lambda: group["cpu.stat"]["nr_throttled"] >= 3)
        group["cpu.max"] = "max"
        before = group["cpu.stat"]
        until(lambda: group["cpu.stat"]["usage_usec"] > before["usage_usec"] + 300_000)
        assert group["cpu.stat"]["nr_throttled"] <= before["nr_throttled"] + 1


def test_weights_share_a_scarce_cpu(group):
    light, heavy = group.child("light"), group.child("heavy")
    light["cpu.weight"], heavy["cpu.weight"] = 50, 400
    for one in (light, heavy):
        one["cpuset.cpus"] = 0
    with light.start(loads.busy()), heavy.start(loads.busy()):
        start = light["cpu.stat"]["usage_usec"], heavy["cpu.stat"]["usage_usec"]
        until(lambda: heavy["cpu.stat"]["usage_usec"] > start[1] + 1_500_000, 60)
        got = light["cpu.stat"]["usage_usec"] - start[0], heavy["cpu.stat"]["usage_usec"] - start[1]
    assert 3 < got[1] / got[0] < 20, got  # 8 by the weights


def test_memory_max_ends_in_an_oom_kill_that_is_counted(group):
    group["memory.max"] = 32 * MIB
    group["memory.swap.max"] = 0  # else it may be swapped out instead
    process = group.start(loads.memory(512))
    assert process.wait(60) == -signal.SIGKILL
    assert group["memory.events"]["oom_kill"] >= 1
    assert group["memory.peak"] <= 32 * MIB + MIB


def test_memory_is_counted_as_it_is_touched(group):
    with group.start(loads.memory(40), stdout=PIPE) as process:
        assert process.stdout.readline() == b"holding 40 MiB\n"
        assert group["memory.current"] > 40 * MIB and group["memory.stat"]["anon"] > 40 * MIB
        assert group["memory.swap.current"] >= 0


@pytest.mark.version(1)
def test_v1_refuses_to_go_below_what_is_in_use(group):
    with group.start(loads.memory(40), stdout=PIPE) as process:
        process.stdout.readline()
        before = group["memory.max"]
        with pytest.raises(Refused, match="cannot give it back") as refused:
            group["memory.max"] = 8 * MIB
        assert refused.value.errno == errno.EBUSY and group["memory.max"] == before and not group.written


@pytest.mark.version(2)
def test_memory_high_slows_down_and_kills_nobody(group):
    group["memory.high"] = 24 * MIB
    process = group.start(loads.memory(60))
    until(lambda: group["memory.events"]["high"] > 5, 60)
    assert process.poll() is None and group["memory.events"]["oom_kill"] == 0
    group.kill()


@pytest.mark.version(2)
def test_an_oom_kill_takes_the_whole_group_when_asked_to(group):
    group["memory.oom.group"] = 1
    bystander = group.start(loads.tick(1))
    group["memory.max"], group["memory.swap.max"] = 32 * MIB, 0
    assert group.start(loads.memory(512)).wait(60) == -signal.SIGKILL
    assert bystander.wait(10) == -signal.SIGKILL


def test_pids_max_stops_a_fork_bomb(group):
    group["pids.max"] = 10
    with group.start(loads.forks(500), stdout=PIPE) as process:
        assert process.stdout.readline() == b'{"made": 9, "refused": "EAGAIN"}\n'
        assert group["pids.current"] == 10 and group["pids.events"]["max"] >= 1
        assert len(group["cgroup.procs"]) == 10


@pytest.mark.needs("losetup")
def test_io_max_slows_direct_reads_of_a_disk(group, disk):
    number = disks.number("io.max", disk)
    group["io.max"] = {disk: {"rbps": 4 * MIB}}
    assert group["io.max"][number]["rbps"] == 4 * MIB and group["io.max"][number]["wbps"] == "max"
    with Sampler(group, hz=20) as sampler, group.start(loads.read_disk(disk, 6)) as process:
        assert process.wait(60) == 0
    assert group["io.stat"][number]["rbytes"] >= 6 * MIB
    # The kernel lets a slice's worth through, then holds back: never much more than the rate.
    reads = [(one.t, one.read_bytes) for one in sampler.samples if one.read_bytes]
    (first, before), (last, after) = reads[0], reads[-1]
    assert after - before <= (last - first) * 4 * MIB + 2 * MIB
    group["io.max"] = {disk: {"rbps": "max"}}
    assert number not in group["io.max"] or group["io.max"][number]["rbps"] == "max"
    assert group.run(loads.read_disk(disk, 16)).returncode == 0


@pytest.mark.needs("losetup")
def test_io_max_slows_direct_writes_and_they_are_counted(group, disk):
    number = disks.number("io.max", disk)
    group["io.max"] = {number: {"wiops": 50}}
    assert group.run(loads.write_disk(disk, 2)).returncode == 0
    assert group["io.stat"][number]["wbytes"] >= 2 * MIB and group["io.stat"][number]["wios"] >= 8


def test_a_partition_or_no_disk_at_all_is_refused():
    for wrong in ("/dev/null", "/nonexistent", "8:999", "/etc/passwd"):
        with pytest.raises(ValueError, match="this machine has"):
            disks.number("io.max", wrong)


def test_cpuset_keeps_a_program_on_its_cpus(group):
    last = (os.cpu_count() or 1) - 1
    group["cpuset.cpus"] = last
    assert group["cpuset.cpus.effective"] == [last]
    with group.start(loads.busy()) as process:
        assert os.sched_getaffinity(process.pid) == {last}


@pytest.mark.version(1)
def test_what_v1_cannot_do_is_said_with_the_reason(group):
    from kit.cgroups import NoEqual

    with pytest.raises(NoEqual, match=r"memory\.soft_limit_in_bytes sounds alike"):
        group["memory.high"] = 24 * MIB
    with pytest.raises(NoEqual, match="always picks one process"):
        group["memory.oom.group"] = 1
    with pytest.raises(NoEqual, match=r"needs memory\.max first"):
        group["memory.swap.max"] = 0
    assert not group.written
