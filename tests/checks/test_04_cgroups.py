"""Wrong answers, and unusual right ones, to the exercises of chapter 04."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit import checks
from kit.cgroups import Cgroup, loads
from kit.linux.spawn import DEVNULL

from .chapters import (
    TYPES,
    any_answer_gets_a_sentence,
    exercises,
    hints_end_with_the_manual_and_then_the_solution,
    no,
    reset_gives_new_values_and_the_solution_still_fits,
    solve,
)

pytestmark = [pytest.mark.needs("root"), pytest.mark.timeout(180)]
CHAPTER = "04_cgroups"


@pytest.fixture
def ex(state: Path) -> Iterator[dict[str, Any]]:
    yield exercises(CHAPTER)
    checks.close()


def test_an_answer_of_any_type_gets_a_sentence(ex: dict[str, Any]) -> None:
    with Cgroup("closed") as closed:
        pass
    any_answer_gets_a_sentence(ex, [*TYPES, closed])


def test_reset(ex: dict[str, Any]) -> None:
    reset_gives_new_values_and_the_solution_still_fits(CHAPTER, ex, lasting=(1, 5, 8), few=range(1, 9))


def test_where(ex: dict[str, Any]) -> None:
    exercise = ex["ex1"]
    solve(CHAPTER, 1, ex)
    right = ex["where"]
    no(exercise.check(right.rpartition("/")[0]), "is not in")
    no(exercise.check("shop"), "is not in")
    no(exercise.check("shelf1"), "is not in")
    assert exercise.check(f"/{right}/")


def test_so_many_and_no_more(ex: dict[str, Any]) -> None:
    exercise, most = ex["ex2"], ex["ex2"].given.processes
    with Cgroup("crowd") as group:
        no(exercise.check(group), "the kernel refused none", "which is max")
        group["pids.max"] = most + 1
        no(exercise.check(group), f"when there were {most + 1}")
        group["pids.max"] = most - 1
        no(exercise.check(group), f"when there were {most - 1}")
        group["pids.max"] = most
        group.freeze()
        assert not exercise.check(group)
        group.thaw()
        with group.start(["sleep", "60"]):
            assert exercise.check(group)


def test_part_of_cpu(ex: dict[str, Any]) -> None:
    exercise, percent = ex["ex3"], ex["ex3"].given.percent
    with Cgroup("slow") as group:
        no(exercise.check(group), "as much CPU as there is")
        group["cpu.max"] = (percent * 1000 + 5000, 100_000)
        no(exercise.check(group), "the group may use")
        group["cpu.max"] = (percent * 200, 20_000)  # another period, the same part
        no(exercise.check(group), "nothing runs in the group")
        with group.start(loads.busy()):
            assert exercise.check(group)


def test_stand_still(ex: dict[str, Any]) -> None:
    exercise = ex["ex4"]
    stop = exercise.given.stop
    right, other = exercise.groups[stop], next(g for name, g in exercise.groups.items() if name != stop)
    no(exercise.check(right), f"the group `{stop}` runs")
    other.freeze()
    no(exercise.check(other), f"this is the group `{other.path}`")
    right.freeze()
    no(exercise.check(right), "frozen are")
    other.thaw()
    assert exercise.check(right)
    other.kill()
    no(exercise.check(right), f"expected the group `{stop}`, frozen and alive")


def test_keep_to_your_cpu(ex: dict[str, Any]) -> None:
    exercise, cpu = ex["ex5"], ex["ex5"].given.cpu
    if len(os.sched_getaffinity(0)) > 1:
        with Cgroup("corner") as group:
            no(exercise.check(group), "the group may run on the CPUs")
    with Cgroup("corner") as group:
        group["cpuset.cpus"] = str(cpu)
        no(exercise.check(group), "nothing runs in the group")
        with group.start(["sleep", "60"]):
            assert exercise.check(group)


def test_fair_share(ex: dict[str, Any]) -> None:
    exercise, times = ex["ex6"], ex["ex6"].given.times
    with Cgroup("left") as left, Cgroup("right") as right:
        inner = right.child("inner")
        no(exercise.check(left, inner), "not side by side")
        no(exercise.check(left, right), "nothing runs in `left`")
    with Cgroup("both") as both:
        both["cpuset.cpus"] = min(os.sched_getaffinity(0))
        heavy, light = both.child("heavy"), both.child("light")
        with heavy.start(loads.busy()), light.start(loads.busy()):
            no(exercise.check(heavy, light), "the weights are 100 and 100")
            heavy["cpu.weight"] = 50 * times
            light["cpu.weight"] = 50
            light["cpu.max"] = 10_000
            no(exercise.check(heavy, light), "has a hard limit")
            light["cpu.max"] = "max"
            no(exercise.check(light, heavy), "the weights are")
            assert exercise.check(heavy, light)


def test_one_must_go(ex: dict[str, Any]) -> None:
    exercise = ex["ex7"]
    small_size, large_size = exercise.given.small, exercise.given.large

    def two(group: Cgroup, first: int, second: int) -> list[Any]:
        return [group.start(loads.memory(size), stdout=DEVNULL) for size in (first, second)]

    with Cgroup("tight") as group:
        small, large = two(group, small_size, small_size)
        no(exercise.check(group, small, large), "no memory limit")
    with Cgroup("tight") as group:
        group["memory.max"] = "80M"
        small, large = two(group, small_size, large_size)
        no(exercise.check(group, small.pid, large.pid), "`small` is an int")
        assert exercise.check(group, small, large)
        no(exercise.check(group, large, small), "`small` runs")
    with Cgroup("tight") as group:
        group["memory.max"] = "80M"
        small, large = two(group, small_size, large_size)
        small.kill()
        small.wait(10)
        no(exercise.check(group, small, large), "the small program is dead")
    with Cgroup("tight") as group, Cgroup("elsewhere") as elsewhere:
        group["memory.max"] = "80M"
        (small, _), (_, large) = two(elsewhere, small_size, 1), two(group, 1, large_size)
        no(exercise.check(group, small, large), "lives outside of the group")


def test_who_suffers(ex: dict[str, Any]) -> None:
    exercise = ex["ex8"]
    solve(CHAPTER, 8, ex)
    for name in exercise.groups:
        if name != ex["name"]:
            no(exercise.check(name), f"`{name}` lost")
    no(exercise.check("nobody"), "`name` is 'nobody'")
    assert exercise.check(ex["name"])


def test_hints_end_with_the_manual_and_then_the_solution(ex: dict[str, Any]) -> None:
    hints_end_with_the_manual_and_then_the_solution(ex)
