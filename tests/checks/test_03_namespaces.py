"""Wrong answers, and unusual right ones, to the exercises of chapter 03."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit import checks
from kit.linux import spawn
from kit.linux.spawn import Mount
from kit.namespaces import Bridge, Host, Root, connect, of, start

from .chapters import (
    any_answer_gets_a_sentence,
    exercises,
    hints_end_with_the_manual_and_then_the_solution,
    no,
    reset_gives_new_values_and_the_solution_still_fits,
    solve,
)

pytestmark = [pytest.mark.needs("root"), pytest.mark.timeout(120)]
CHAPTER = "03_namespaces"


@pytest.fixture
def ex(state: Path) -> Iterator[dict[str, Any]]:
    yield exercises(CHAPTER)
    checks.close()


def test_an_answer_of_any_type_gets_a_sentence(ex: dict[str, Any]) -> None:
    any_answer_gets_a_sentence(ex)


def test_reset(ex: dict[str, Any]) -> None:
    lasting = (4, 5)  # the same answer may be right by chance, or its number be in use again
    reset_gives_new_values_and_the_solution_still_fits(CHAPTER, ex, lasting)


def test_host_name(ex: dict[str, Any]) -> None:
    with start("sleep 60") as process:
        no(ex["ex1"].check(process), "same uts namespace")
    with start("sleep 60", new="uts") as process:
        no(ex["ex1"].check(process), f"sees the host name `{os.uname().nodename}`")
    no(ex["ex1"].check(process), "there is no process")
    with start(
        ["sh", "-c", f"hostname {ex['ex1'].given.hostname}; echo; exec sleep 60"], new="uts"
    ) as process:
        process.stdout.readline()  # type: ignore[union-attr]
        assert ex["ex1"].check(process)


def test_number_one(ex: dict[str, Any]) -> None:
    sleep = f"sleep {ex['ex2'].given.seconds}"
    with start("sleep 1", new="pid mount", proc=True) as process:
        no(ex["ex2"].check(process), "runs `sleep 1`")
    with start(sleep) as process:
        no(ex["ex2"].check(process), "same pid namespace")
    with start(sleep, new="pid") as process:
        no(ex["ex2"].check(process), "its `/proc` shows")
    with start(sleep, new="pid mount") as process:
        no(ex["ex2"].check(process), "its `/proc` shows")


def test_root_inside(ex: dict[str, Any]) -> None:
    outside = ex["ex3"].given.outside
    with start("sleep 60", new="user") as process:
        no(ex["ex3"].check(process), "user 0 inside is user 0 outside")
    with start("sleep 60", new="user", uid_map=[(0, outside, 1)]) as process:
        no(ex["ex3"].check(process), "group 0 inside is group 0 outside")
    table = [(1, outside, 1)]
    with start("sleep 60", new="user", uid_map=table, gid_map=table) as process:
        no(ex["ex3"].check(process), "there is no user 0 inside")
    table = [(0, outside, 2)]
    with start("sleep 60", new="user", uid_map=table, gid_map=table, user=(1, 1)) as process:
        no(ex["ex3"].check(process), f"runs as user {outside + 1}")


def test_odd_one_out(ex: dict[str, Any]) -> None:
    exercise = ex["ex4"]
    solve(CHAPTER, 4, ex)
    pid, kind = ex["pid"], ex["kind"]
    other = next(one for one in exercise.given.pids if one != pid)
    no(exercise.check(other, kind), "shares its")
    no(exercise.check(pid, "mount"), "`kind` is 'mount'")
    no(exercise.check(os.getpid(), kind), "none of the five")
    assert of(pid)[kind] not in [of(one)[kind] for one in exercise.given.pids if one != pid]


def test_what_listens(ex: dict[str, Any]) -> None:
    no(ex["ex5"].check("127.0.0.1:80"), "nothing listens at `127.0.0.1:80`")
    no(ex["ex5"].check("80"), "`address` is '80'")


def test_root_of_its_own(ex: dict[str, Any]) -> None:
    root = ex["ex6"].given.root
    with start("sleep 60", new="mount") as process:
        no(ex["ex6"].check(process), "the root of process")
    with Root() as other, start("sleep 60", new="mount pid", root=other, proc=True) as process:
        no(ex["ex6"].check(process), "the root of process")
    with start(["chroot", root, "/bin/sh", "-c", "echo; exec sleep 60"], new="mount") as process:
        process.stdout.readline()  # type: ignore[union-attr]
        no(ex["ex6"].check(process), "as after `chroot`")
    with start("sleep 60", new="mount pid", root=root) as process:
        no(ex["ex6"].check(process), "nothing in its `/proc`")
    os.mkdir(f"{root}/old")
    old = Mount("/", f"{root}/old", None, 4096)  # MS_BIND
    with start("sleep 60", new="mount pid", mounts=[old], root=root, proc=True) as process:
        no(ex["ex6"].check(process), "the old root can still be seen at ['/old']")


def test_two_hosts(ex: dict[str, Any]) -> None:
    given = ex["ex7"].given
    with Host("a") as a, Host("b") as b:
        no(ex["ex7"].check(a, b), "`left` has no address")
        no(ex["ex7"].check(a, a), "share a network namespace")
        connect(a, b, given.left, "10.0.0.1/24")
        no(ex["ex7"].check(a, b), "`right` has ['10.0.0.1/24']")
    with Host("a") as a, Host("b") as b, Host("c") as c, Host("d") as d:
        connect(a, c, given.left)
        connect(b, d, given.right)
        no(ex["ex7"].check(a, b), "a ping to", "no answer")
        no(ex["ex7"].check(b, a), "`left` has")
    no(ex["ex7"].check(a, b), "there is no process")


def test_three_hosts(ex: dict[str, Any]) -> None:
    given = ex["ex8"].given
    with Bridge("s") as bridge, Host("a") as a, Host("b") as b, Host("c") as c:
        connect(a, bridge, given.one)
        connect(b, bridge, given.two)
        no(ex["ex8"].check(a, b, c, bridge), "`three` has no address")
        connect(c, a, given.three)
        no(ex["ex8"].check(a, b, c, bridge), "2 cables are plugged into the bridge")
        no(ex["ex8"].check(a, b, c, c), "0 cables are plugged into the bridge")
    with Bridge("s") as bridge, Host("a") as a, Host("b") as b, Host("c") as c:
        for host, address in ((a, given.one), (b, given.two), (c, given.three)):
            connect(host, bridge, address)
        connect(a, b)
        no(ex["ex8"].check(a, b, c, bridge), "the hosts have [2, 2, 1] cables")


def test_a_process_of_the_plain_floor_is_as_good(ex: dict[str, Any]) -> None:
    name = ex["ex1"].given.hostname
    with spawn.start(["sleep", "60"], unshare=["uts"], hostname=name) as process:
        assert ex["ex1"].check(process.pid)


def test_hints_end_with_the_manual_and_then_the_solution(ex: dict[str, Any]) -> None:
    hints_end_with_the_manual_and_then_the_solution(ex)
