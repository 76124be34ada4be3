"""The small programs: they do what their first line says."""

from __future__ import annotations

import pytest

from kit.cgroups import loads
from kit.linux.spawn import PIPE, run, start


def test_memory_is_really_touched():
    with start(loads.memory(20), stdout=PIPE) as process:
        assert process.stdout.readline() == b"holding 20 MiB\n"
        with open(f"/proc/{process.pid}/status") as file:
            resident = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
        assert resident > 20 << 10


def test_ticks_grow():
    with start(loads.tick(500), stdout=PIPE) as process:
        assert [process.stdout.readline() for _ in range(3)] == [b"1\n", b"2\n", b"3\n"]


@pytest.mark.needs("root", "losetup")
def test_the_disk_is_read_and_written_past_its_end_from_the_start_again(disk):
    assert run(loads.write_disk(disk, 3)).stdout == "write 3 MiB\n"
    assert run(loads.read_disk(disk, 20)).stdout == "read 20 MiB\n"


def test_forks_stop_at_the_number_asked_for():
    with start(loads.forks(3), stdout=PIPE) as process:
        assert process.stdout.readline() == b'{"made": 3, "refused": null}\n'
