"""The table of interface files."""

from __future__ import annotations

import pytest

from kit.cgroups import files, v1
from kit.cgroups.errors import BadLimit, UnknownFile


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("cpu.maks", "cpu.max"), ("memory.maximum", "memory.max"), ("pid.max", "pids.max"),
     ("cgroup.freez", "cgroup.freeze")],
)  # fmt: skip
def test_a_name_slightly_wrong_is_answered_with_the_right_one(wrong, right):
    with pytest.raises(UnknownFile, match=f"Did you mean .*{right}"):
        files.named(wrong)


def test_a_name_quite_wrong_is_answered_with_where_to_look():
    with pytest.raises(UnknownFile, match="table"):
        files.named("zzzzzz")


def test_a_file_that_is_only_read_takes_no_value():
    with pytest.raises(BadLimit, match="only read"):
        files.checked("memory.current", 5)


def test_the_v1_translation_knows_only_names_of_v2():
    assert set(v1.READ) <= set(files.FILES) and set(v1.WRITE) <= set(v1.READ)
    assert all(files.FILES[name].check for name in v1.WRITE)


def test_the_table_lists_every_file():
    shown = str(files.table())
    assert all(name in shown for name in files.FILES)


def test_disk_limits_become_one_line_for_each_disk():
    file = files.FILES["io.max"]
    assert file.text({"7:0": {"rbps": 1024, "wiops": "max"}, "7:1": {"wbps": 5}}) == [
        "7:0 rbps=1024 wiops=max", "7:1 wbps=5"]  # fmt: skip
