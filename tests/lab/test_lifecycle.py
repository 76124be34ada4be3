"""The picture has the way that a container took, from the engine's events and nothing else."""

import re

import pytest

from kit import lab
from kit.lab.lifecycle import STATES, WAYS, _life

pytestmark = pytest.mark.needs("root")


def ways(engine, name):
    return [step.way for step in _life(engine, name)[1]]


def test_a_whole_life(engine, client, check_picture):
    one = client.containers.create("busybox", ["sleep", "1000"], name="life")
    one.start()
    one.exec_run("true")
    one.pause()
    one.unpause()
    one.kill()
    one.wait()
    one.start()
    one.stop(timeout=0)
    one.remove()
    picture = lab.lifecycle(engine, "life", "its life")
    check_picture(picture)
    states = re.findall(r"(\w+) after [\d.]+ m?s", picture.alt)
    assert states == "created running paused running exited running exited removed".split()
    assert picture.alt.startswith(f"its life. life · {one.id[:12]} · busybox: created after 0 ms, ")
    assert picture.alt.count("exited after") == picture.alt.count("with exit status 137") == 2
    steps = _life(engine, one.id[:12])[1]
    assert [step.at for step in steps] == sorted(step.at for step in steps) and steps[0].at == 0
    assert {step.way for step in steps} == set(WAYS) - {("created", "removed")}


def test_the_last_of_a_name_and_lives_cut_short(engine, client):
    for status in (3, 4):
        client.containers.run("busybox", ["sh", "-c", f"exit {status}"], name="again", detach=True).wait()
        client.containers.get("again").remove()
    assert [step.status for step in _life(engine, "again")[1] if step.status] == ["4"]
    client.containers.create("busybox", "true", name="never").remove()
    assert ways(engine, "never") == [("", "created"), ("created", "removed")]
    frozen = client.containers.run("busybox", "sleep 1000", name="frozen", detach=True)
    frozen.pause()
    frozen.remove(force=True)
    assert ways(engine, "frozen")[-3:] == [
        ("paused", "running"),
        ("running", "exited"),
        ("exited", "removed"),
    ]


def test_every_way_that_was_taken_is_there(engine, client):
    client.containers.run("busybox", "true", name="one", remove=True)
    assert set(ways(engine, "one")) <= set(WAYS)
    assert set(STATES.values()) == {there for _, there in WAYS}


def test_often(engine, client, check_picture):
    one = client.containers.run("busybox", "sleep 1000", name="often", detach=True)
    for _ in range(4):
        one.pause()
        one.unpause()
    picture = lab.lifecycle(engine, "often")
    check_picture(picture)
    assert picture.alt.count("paused after") == 4
    one.remove(force=True)


def test_the_states_alone_and_nobodys(engine, check_picture):
    picture = lab.lifecycle()
    check_picture(picture)
    assert "docker pause leads from running to paused" in picture.alt
    for name in ("nobody", ""):
        with pytest.raises(ValueError, match=f"no event is about '{name}'"):
            lab.lifecycle(engine, name)
