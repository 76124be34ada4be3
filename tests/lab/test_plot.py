"""From real counters to a plot with its words."""

import pytest

from kit import lab
from kit.cgroups import Cgroup, Sampler, loads
from kit.lab.frames import Frame, Limits, frame, frames, limits
from kit.lab.plot import draw
from tests.lab.conftest import until

pytestmark = pytest.mark.needs("root")


class At:
    """A sample as the sampler gives it."""

    def __init__(self, t, usage=0, periods=0, throttled=0, memory=0):
        self.t, self.usage_usec, self.nr_periods, self.nr_throttled = t, usage, periods, throttled
        self.memory_current, self.pids_current = memory, None


def test_a_frame_is_the_difference_over_a_short_window():
    samples = [
        At(10.0),
        At(10.875, 387_500, 9, 4),
        At(11.0, 450_000, 10, 5),
        At(11.2, 550_000, 12, 6, 5 << 20),
    ]
    made = frame(samples, Limits(50.0, 64 << 20), start=10.0)
    assert made.t == pytest.approx(1.2)
    assert made.cpu == pytest.approx(50)  # 162.5 ms in the 325 ms since 10.875
    assert made.throttled == pytest.approx(100 * 2 / 3)
    assert (made.memory, made.cpu_limit, made.memory_limit) == (5 << 20, 50.0, 64 << 20)


def test_a_group_at_its_limit_is_not_shown_above_it():
    samples = []
    for turn in range(
        200
    ):  # half a CPU, used up in the first half of each period; the sampler comes unevenly
        ms = turn * 50 + (4 if turn % 3 else 0)
        used = ms // 100 * 50 + min(ms % 100, 50)
        samples.append(At(ms / 1000, used * 1000, ms // 100, ms // 100))
        if turn > 10:
            assert frame(samples, Limits(50.0), 0.0).cpu < 53


def test_a_first_sample_and_a_machine_that_cannot_tell_give_zero():
    assert frame([At(1.0)], Limits(), 1.0).cpu == 0
    assert frame([At(1.0, None, None, None), At(2.0, None, None, None)], Limits(), 1.0)[1:3] == (0, 0)


def test_limits_are_read_from_the_kernel():
    with Cgroup("lab-limits") as group:
        assert limits(group) == Limits(None, None)
        group["cpu.max"] = (25_000, 100_000)
        group["memory.max"] = 64 << 20
        assert limits(group) == Limits(25.0, 64 << 20)
    assert limits(group) == Limits()  # gone


def test_plot_of_a_real_recording(check_picture):
    with Cgroup("lab-plot") as group:
        group["cpu.max"] = (30_000, 100_000)
        group["memory.max"] = 64 << 20
        with Sampler(group, hz=20) as sampler, group.start(loads.busy()):
            until(lambda: sampler.samples[-1].nr_throttled > 2, "throttling")
        picture = lab.plot(sampler, title="usage")
        check_picture(picture)
        assert "limit 30 %" in picture.alt
        assert "limit 64 MiB" in picture.alt
        assert max(one.throttled for one in frames(sampler)) > 0
        check_picture(lab.plot({"one": sampler, "two": sampler.samples}, what=["cpu", "pids"], title="two"))


def test_each_panel_can_be_empty(check_picture):
    check_picture(lab.plot([], title="nothing yet at all"))


def test_words_say_that_a_limit_moved():
    rows = [Frame(0.1 * i, 40.0, 0.0, 1 << 20, cpu_limit=50.0 if i < 5 else 25.0) for i in range(10)]
    assert "limit moved between 25 and 50 %" in draw({"": rows}, what=["cpu"], title="t").alt


@pytest.mark.parametrize("what", [("cpu", "colour"), ()])
def test_an_unknown_quantity_is_refused(what):
    with pytest.raises(ValueError, match="choose from cpu, throttled, memory, pids"):
        lab.plot([], what=what)


def test_five_lines_are_too_many():
    with pytest.raises(ValueError, match="easy to tell apart"):
        lab.plot({str(i): [] for i in range(5)})
