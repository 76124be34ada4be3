"""Moving a slider writes the kernel's file; a refusal is a sentence and the slider moves back."""

from pathlib import Path

import pytest

from kit import lab
from kit.cgroups import Cgroup

pytestmark = pytest.mark.needs("root")


@pytest.fixture
def group():
    with Cgroup("lab-sliders") as made:
        made["cpu.max"] = (50_000, 100_000)
        yield made


def test_sliders_stand_where_the_limits_are(group):
    group["memory.max"] = 64 << 20
    bound = lab.limits(group, cpu_weight=True, memory_max=True)
    assert {name: slider.value for name, slider in bound.sliders.items()} == {
        "cpu.max": "50 % of one CPU",
        "cpu.weight": "100 (default)",
        "memory.max": "64 MiB",
    }


def test_moving_a_slider_writes_the_limit(group):
    bound = lab.limits(group, cpu_weight=True, memory_max=True)
    bound.sliders["cpu.max"].value = "25 % of one CPU"
    bound.sliders["cpu.weight"].value = "200"
    bound.sliders["memory.max"].value = "128 MiB"
    assert group["cpu.max"] == (25_000, 100_000)
    assert group["cpu.weight"] in (200, 199)  # v1 counts in shares of 1024
    assert group["memory.max"] == 128 << 20
    bound.sliders["cpu.max"].value = bound.sliders["memory.max"].value = "no limit"
    assert group["cpu.max"][0] == "max"
    assert group["memory.max"] == "max"


def test_the_table_names_the_files_really_written(group):
    bound = lab.limits(group, memory_max=True)
    bound.sliders["cpu.max"].value = "10 % of one CPU"
    rows = {tuple(row[:2]): row[2:] for row in bound.table().rows}
    path, text = rows["cpu.max", "10 % of one CPU"]
    assert text in Path(path).read_text()
    assert rows["memory.max", "no limit"] == ["not written yet", ""]


def test_a_refusal_is_a_sentence_and_nothing_changes(group):
    bound = lab.limits(group, cpu_max=[20, 50, 0.5])  # the kernel takes no quota below 1 ms
    bound.sliders["cpu.max"].value = "0.5 % of one CPU"
    said = bound._said["cpu.max"].value
    assert 'role="alert"' in said
    assert "refused" in said
    assert "Traceback" not in said
    assert group["cpu.max"] == (50_000, 100_000)
    assert bound.sliders["cpu.max"].value == "50 % of one CPU"
    bound.sliders["cpu.max"].value = "20 % of one CPU"
    assert 'role="status"' in bound._said["cpu.max"].value


def test_a_group_that_has_gone_is_said(group):
    bound = lab.limits(group)
    group.close()
    bound.sliders["cpu.max"].value = "25 % of one CPU"
    assert "closed" in bound._said["cpu.max"].value


def test_a_slider_can_be_reached_and_read(group):
    (slider,) = lab.limits(group).sliders.values()
    assert slider.description == "CPU at most"
    assert slider.readout
    assert len(set(slider.options)) == len(slider.options)


def test_something_must_be_asked_for(group):
    with pytest.raises(ValueError, match="no limit asked for"):
        lab.limits(group, cpu_max=False)
