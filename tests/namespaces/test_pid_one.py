"""The duties of PID 1, and its rights. See pid_namespaces(7)."""

import signal

import pytest

from kit.linux import pidfd, proc
from kit.namespaces import inside, members, start, until

pytestmark = pytest.mark.needs("root")


def orphan_of(script):
    """A PID 1 whose child dies before its grandchild: the grandchild becomes an orphan."""
    return start(["sh", "-c", script], "pid mount", proc=True)


def test_orphans_become_children_of_pid_1_and_stay_zombies_unless_reaped():
    with orphan_of("sh -c 'sleep 0.2 &'; exec sleep 60") as careless:
        zombie = until(lambda: [m for m in members(careless) if m.state == "Z"])
        assert [m.parent for m in zombie] == [careless.pid]
    with orphan_of("sh -c 'sleep 0.2 & echo $!'; while :; do sleep 0.05; done") as careful:
        number = int(careful.stdout.readline())
        until(lambda: number not in [m.inside for m in members(careful)])


def test_its_death_ends_all():
    with start(["sh", "-c", "sleep 61 & sleep 62 & setsid sleep 63 & wait"], "pid") as one:
        others = until(lambda: len(found := members(one)) == 4 and [m.pid for m in found if m.inside != 1])
        held = [pidfd.pidfd_open(pid) for pid in others]
        one.kill()
        assert one.wait(10) == -signal.SIGKILL
        import os

        for fd in held:
            assert pidfd.wait_exit(fd, 10)
            os.close(fd)


def test_from_inside_it_hears_only_signals_that_it_has_a_handler_for():
    with start("sleep 60", "pid mount", proc=True) as deaf:
        for name in ("TERM", "INT", "KILL"):  # even KILL
            inside(deaf).run(f"kill -{name} 1").check()
        assert proc.state(deaf.pid) == "S"
    script = "trap 'echo heard; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    with start(["sh", "-c", script], "pid mount", proc=True) as hears:
        assert hears.stdout.readline() == b"ready\n"
        inside(hears).run("kill -TERM 1").check()
        assert hears.wait(10) == 7


def test_from_outside_only_kill_and_stop_are_forced_upon_it():
    with start("sleep 60", "pid") as deaf:
        deaf.kill(signal.SIGTERM)  # no handler: ignored, though it comes from the parent namespace
        deaf.kill(signal.SIGSTOP)
        until(lambda: proc.state(deaf.pid) == "T")
        deaf.kill(signal.SIGCONT)
        until(lambda: proc.state(deaf.pid) == "S")
        deaf.kill()
        assert deaf.wait(10) == -signal.SIGKILL


def test_nested_namespaces_give_one_number_each():
    script = "unshare --pid --fork sleep 60"
    with start(["sh", "-c", script], "pid") as outer:

        def deepest():
            return [p for p in proc.pids() if p != outer.pid and len(numbers(p)) == 3]

        (pid,) = until(deepest)
        assert numbers(pid)[0] == pid and numbers(pid)[2] == 1
        assert pid not in [m.pid for m in members(outer)]
        assert [m.pid for m in members(pid)] == [pid]


def numbers(pid):
    try:
        return [int(word) for word in proc.status(pid)["NSpid"].split()]
    except OSError:
        return []


def test_what_is_shown():
    with start("sleep 60", "pid") as one:
        bundle = members(one)._repr_mimebundle_()
        assert bundle["text/plain"] == "the processes of one PID namespace"
        assert "sleep 60" in bundle["text/html"] and "sleep 60" in str(members(one))
