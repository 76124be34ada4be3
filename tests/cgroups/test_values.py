"""Reading and checking values: nothing here touches a group."""

from __future__ import annotations

import os

import pytest

from kit.cgroups import values
from kit.cgroups.errors import BadLimit

MIB = 1 << 20


def test_the_formats_of_the_kernel_are_read():
    assert values.limit("max\n") == "max" and values.limit("42\n") == 42
    assert values.flat("nr_periods 3\nnr_throttled 1\n") == {"nr_periods": 3, "nr_throttled": 1}
    assert values.nested("254:0 rbytes=10 rios=2\n") == {"254:0": {"rbytes": 10, "rios": 2}}
    assert values.nested("some avg10=1.50 avg60=0.00 avg300=0.00 total=7\n")["some"] == {
        "avg10": 1.5, "avg60": 0.0, "avg300": 0.0, "total": 7}  # fmt: skip
    assert values.numbers("0-2,4\n") == [0, 1, 2, 4] and values.numbers("\n") == []
    assert values.cpu_max("max 100000\n") == ("max", 100_000)


@pytest.mark.parametrize(
    ("given", "meant"),
    [("64M", 64 * MIB), ("256m", 256 * MIB), ("65536", 65536), (" 1 MiB ", MIB), (MIB, MIB), ("max", "max")],
)
def test_memory_is_taken_in_bytes_or_with_a_unit(given, meant):
    assert values.memory("memory.max", given) == meant


@pytest.mark.parametrize(
    "given", [-1, "-1", "12Q", 0, "0", "", "lots", 1.5, None, True, [1], values.memory_total() + 1, "9999T"]
)
def test_a_bad_amount_of_memory_is_refused_with_a_sentence(given):
    with pytest.raises(BadLimit, match=r"memory\.max takes .*Nothing was changed") as refused:
        values.memory("memory.max", given)
    assert refused.value.__class__ is BadLimit and isinstance(refused.value, ValueError)


def test_more_memory_than_the_machine_has_names_how_much_there_is():
    with pytest.raises(BadLimit, match=f"this machine has {values.memory_total() // MIB} MiB"):
        values.memory("memory.max", "999T")


@pytest.mark.parametrize(
    ("given", "meant"),
    [((50_000, 100_000), (50_000, 100_000)), ("20000 50000", (20_000, 50_000)), (25_000, (25_000, 100_000)),
     ("max", ("max", 100_000)), (("max", 50_000), ("max", 50_000))],
)  # fmt: skip
def test_bandwidth_is_quota_and_period(given, meant):
    assert values.cpu_bandwidth("cpu.max", given) == meant


@pytest.mark.parametrize(
    "given",
    [-1, 0, "12Q", (50_000, 0), (50_000, 2_000_000), (999, 100_000), (1, 2, 3), None, "", 0.5,
     ((os.cpu_count() or 1) * 100_000 + 1, 100_000)],
)  # fmt: skip
def test_a_bad_bandwidth_is_refused(given):
    with pytest.raises(BadLimit, match=r"cpu\.max.*Nothing was changed"):
        values.cpu_bandwidth("cpu.max", given)


@pytest.mark.parametrize("given", [-1, 0, "12Q", 1 << 40, None, 2.5])
def test_a_bad_number_of_processes_is_refused(given):
    with pytest.raises(BadLimit, match=r"pids\.max takes"):
        values.pids("pids.max", given)


@pytest.mark.parametrize(("given", "meant"), [(0, [0]), ("0", [0]), ([0], [0]), ({0}, [0]), ("0-0", [0])])
def test_cpus_are_numbers_or_ranges(given, meant):
    assert values.cpus("cpuset.cpus", given) == meant


@pytest.mark.parametrize("given", [-1, "", [], "0-999", 4096, "x", None, [0, "y"]])
def test_cpus_that_are_not_there_are_refused(given):
    with pytest.raises(BadLimit, match=r"cpuset\.cpus.*Nothing was changed"):
        values.cpus("cpuset.cpus", given)


def test_a_switch_is_on_or_off():
    assert [values.switch("cgroup.freeze", one) for one in (0, 1, True, False, "1")] == [0, 1, 1, 0, 1]
    with pytest.raises(BadLimit, match="takes 0 or 1, not 2"):
        values.switch("cgroup.freeze", 2)
