"""The small programs: they do what their first line says."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from kit.cgroups import loads
from kit.linux.spawn import PIPE, run, start
from tests.cgroups.conftest import until


def test_memory_is_really_touched():
    with start(loads.memory(20), stdout=PIPE) as process:
        assert process.stdout.readline() == b"holding 20 MiB\n"
        with open(f"/proc/{process.pid}/status") as file:
            resident = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
        assert resident > 20 << 10


def test_a_steady_program_gets_what_it_wants_and_no_more():
    with start(loads.steady(0.2)) as process:
        until(lambda: (cpu := psutil.Process(process.pid).cpu_times()).user + cpu.system > 0.1)
        assert process.poll() is None


def test_reading_again_and_again_goes_through_the_cache(tmp_path):
    (tmp_path / "data").write_bytes(bytes(1 << 20))

    def read(pid: int) -> int:
        return int(Path(f"/proc/{pid}/io").read_text().split()[1])

    with start(loads.reread(str(tmp_path / "data"))) as process:
        until(lambda: read(process.pid) > 5 << 20)


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
