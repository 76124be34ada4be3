"""Wrong answers, and unusual right ones, to the exercises of chapter 06."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit import checks
from kit.checks.container import status_of
from kit.namespaces import inside, until

from .chapters import (
    any_answer_gets_a_sentence,
    exercises,
    hints_end_with_the_manual_and_then_the_solution,
    no,
    reset_gives_new_values_and_the_solution_still_fits,
    solve,
)

pytestmark = [pytest.mark.needs("root", "docker"), pytest.mark.timeout(180)]
CHAPTER = "06_containers"
SLEEP = ["sleep", "1000"]


@pytest.fixture
def ex(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    for name in ("DOCKER_HOST", "DOCKER_CONFIG"):  # what the exercises set goes with the test
        monkeypatch.setenv(name, "")
    names = exercises(CHAPTER)
    yield names
    checks.close()
    names["sdk"].close()
    names["engine"].close()
    subprocess.run(["rm", "-r", names["work"]], check=True)


def ran(ex: dict[str, Any], *argv: str, **how: Any) -> Any:
    """A container of busybox that was started, as the SDK hands it out."""
    return ex["sdk"].containers.run("busybox", list(argv) or SLEEP, detach=True, **how)


def test_an_answer_of_any_type_gets_a_sentence(ex: dict[str, Any]) -> None:
    any_answer_gets_a_sentence(ex)


def test_reset(ex: dict[str, Any]) -> None:
    reset_gives_new_values_and_the_solution_still_fits(CHAPTER, ex, lasting=(), few=(4,))


def test_what_was_handed_in_goes_with_the_exercise(ex: dict[str, Any]) -> None:
    solve(CHAPTER, 1, ex)
    assert ex["ex1"].check("limited")
    ex["ex1"].reset()
    names = [one.name for one in ex["engine"].containers]
    assert names == [ex["ex2"].given.container]  # which its card made


def test_hints(ex: dict[str, Any]) -> None:
    hints_end_with_the_manual_and_then_the_solution(ex)


def test_so_much_and_no_more(ex: dict[str, Any]) -> None:
    one, given = ex["ex1"], ex["ex1"].given
    right = {"mem_limit": given.memory << 20, "pids_limit": given.pids, "nano_cpus": int(given.cpus * 1e9)}
    no(one.check(ran(ex)), "`memory.max` of its control group is max")
    no(one.check(ran(ex, **right | {"pids_limit": given.pids + 1})), "`pids.max`")
    no(one.check(ran(ex, **right | {"nano_cpus": 10**9})), "`cpu.max`", "100000 100000")
    over = ran(ex, "true", **right)
    over.wait()
    no(one.check(over), "doesn't run (exited, exit status 0)")
    late = ran(ex)
    late.update(mem_limit=given.memory << 20, memswap_limit=-1)
    task = ex["engine"].find(late.id).task
    task.group["pids.max"], task.group["cpu.max"] = given.pids, int(given.cpus * 100_000)
    assert one.check(late.short_id)  # the kernel's files are what counts, whoever wrote them


def test_found(ex: dict[str, Any]) -> None:
    two = ex["ex2"]
    task, limit, port = two.task, two.given._limit, two.given._port
    told = ex["sdk"].containers.get(two.given.container).attrs["HostConfig"]["Memory"]
    (child, *_) = [pid for pid in task.pids() if pid != task.pid]
    no(two.check(child, limit, port), "one of the others in it")
    no(two.check(1, limit, port), "process 1 is not in it")
    no(two.check(task.pid, told, port), f"the limit is not {told}")
    no(two.check(task.pid, limit, port + 1), f"nobody in there listens at port {port + 1}")
    seen = inside(task, only="network").run(["busybox", "netstat", "-ltn"]).stdout
    assert f":{port} " in seen and two.check(task.pid, limit, port)


def test_two_at_one_table(ex: dict[str, Any]) -> None:
    three, given = ex["ex3"], ex["ex3"].given
    write = ["sh", "-c", f"echo {given.word} > /out/note; sleep 1000"]
    writer = ran(ex, *write, volumes=[f"{given.volume}:/out"])
    no(three.check(writer, writer), "are one container")
    no(three.check(writer, ran(ex)), "has nothing at /in")
    no(three.check(writer, ran(ex, volumes=["other:/in"])), "has the volume 'other'")
    no(three.check(writer, ran(ex, volumes=[f"{given.volume}:/in"])), "can write in /in")
    reader = ran(ex, volumes=[f"{given.volume}:/in:ro"])
    no(three.check(ran(ex, volumes=[f"{given.volume}:/out:ro"]), reader), "can't write in /out")
    assert three.check(writer.name, reader.id)
    writer.exec_run(["sh", "-c", "echo else > /out/note"])
    no(three.check(writer, reader), "says 'else'")


def test_and_once_more(ex: dict[str, Any]) -> None:
    four, given = ex["ex4"], ex["ex4"].given
    fail = ["sh", "-c", f"exit {given.status}"]
    no(four.check(ran(ex, *fail)), "the restart policy")
    no(four.check(ran(ex, *fail, restart_policy={"Name": "always"})), "'always'")
    policy = {"Name": "on-failure", "MaximumRetryCount": given.restarts}
    no(four.check(ran(ex, "sh", "-c", "exit 2", restart_policy=policy)), "with status 2")
    more = policy | {"MaximumRetryCount": given.restarts + 1}
    no(four.check(ran(ex, *fail, restart_policy=more)), f"again {given.restarts + 1} times")
    no(four.check(ran(ex, restart_policy=policy)), "still running")
    assert four.check(ran(ex, *fail, restart_policy=policy))


def test_by_name(ex: dict[str, Any]) -> None:
    five, given, sdk = ex["ex5"], ex["ex5"].given, ex["sdk"]
    serve = ["sh", "-c", f"mkdir /w; echo {given.word} > /w/index.html; httpd -f -h /w"]
    alone = ran(ex)
    no(five.check(alone), f"no container '{given.server}'")
    server = ran(ex, *serve, name=given.server)
    no(five.check(server), "the client is the server itself")
    no(five.check(alone), "not on a network of its own making")
    server.remove(force=True)
    network = sdk.networks.create("only-two")
    server = ran(ex, *serve, name=given.server, network="only-two", ports={"80/tcp": ("127.0.0.1", None)})
    no(five.check(alone), "is published")
    server.remove(force=True)
    server = ran(ex, *serve, name=given.server, network="only-two")
    no(five.check(alone), "`wget", "says")
    network.connect(alone)  # plugged in while it runs
    assert five.check(alone)
    server.exec_run(["sh", "-c", "echo else > /w/index.html"])
    no(five.check(alone), "says 'else'")


def test_one_right(ex: dict[str, Any]) -> None:
    six = ex["ex6"]
    serve = ["httpd", "-f", "-h", "/www"]
    right: dict[str, Any] = {
        "cap_drop": ["ALL"],
        "cap_add": ["NET_BIND_SERVICE"],
        "security_opt": ["no-new-privileges"],
        "read_only": True,
        "volumes": [f"{six.pages}:/www:ro"],
    }
    no(six.check(ran(ex, *serve)), "14 capabilities")
    no(six.check(ran(ex, **right | {"cap_add": ["CHOWN"]})), "NET_BIND_SERVICE is not among them")
    no(six.check(ran(ex, *serve, **right | {"security_opt": []})), "`NoNewPrivs` is 0")
    no(six.check(ran(ex, *serve, **right | {"read_only": False})), "can write")
    no(six.check(ran(ex, *serve, **right | {"volumes": [f"{ex['work']}:/www:ro"]})), "its page at port 80")
    answer = ran(ex, *serve, **right)
    assert six.check(answer)
    assert int(status_of(ex["engine"].find(answer.id).task.pid)["CapBnd"], 16) == 1 << 10


def test_sick(ex: dict[str, Any]) -> None:
    seven, file = ex["ex7"], ex["ex7"].given.file
    second = 10**9

    def patient(test: str, interval: int = second // 5) -> Any:
        return ran(ex, healthcheck={"test": ["CMD-SHELL", test], "interval": interval, "retries": 1})

    no(seven.check(ran(ex)), "has no health check")
    no(seven.check(patient("true")), "after the file appeared it is healthy")
    no(seven.check(patient("false")), "after a look at it it is unhealthy")
    no(seven.check(patient(f"test ! -e {file}", 60 * second)), "it is starting")
    forgets = f"test -e /tmp/once && exit 1; test ! -e {file} || {{ touch /tmp/once; false; }}"
    no(seven.check(patient(forgets)), "after the file has gone it is unhealthy")
    assert seven.check(patient(f"! ls {file}"))


def test_by_hand(ex: dict[str, Any]) -> None:
    eight, given = ex["ex8"], ex["ex8"].given
    no(eight.check(given.status), f"no container '{given.container}'")
    say = ["sh", "-c", f"echo {given.word}; exit {given.status}"]
    made = ran(ex, *say, name=given.container)
    until(lambda: ex["engine"].find(given.container).state["Status"] == "exited")
    no(eight.check(given.status), "was made by docker-sdk-python")
    made.remove()
    eight.reset()
    solve(CHAPTER, 8, ex)
    no(eight.check(ex["status"] + 1), "`status` is")
    assert eight.check(ex["status"])


def test_by_hand_with_another_end(ex: dict[str, Any]) -> None:
    eight, given = ex["ex8"], ex["ex8"].given
    solve(CHAPTER, 8, ex)
    post = ex["post"]
    ex["sdk"].containers.get(given.container).remove()
    create = f"containers/create?name={given.container}"
    post(create, {"Image": "busybox", "Cmd": SLEEP})
    no(eight.check(given.status), "has not ended: it is created")
    post(f"containers/{given.container}/start")
    no(eight.check(given.status), "has not ended: it is running")
    for command, word in (("echo x", "has printed 'x'"), (f"echo {given.word}; exit 1", "ended with 1")):
        ex["sdk"].containers.get(given.container).remove(force=True)
        post(create, {"Image": "busybox", "Cmd": ["sh", "-c", command]})
        post(f"containers/{given.container}/start")
        post(f"containers/{given.container}/wait")
        no(eight.check(given.status), word)
