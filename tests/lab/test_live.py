"""A live view ends for each of its reasons, leaves nothing running, and keeps all of it as a picture."""

import gc
import threading
import weakref

import pytest

from kit import lab
from kit.cgroups import Cgroup, CgroupError, loads
from tests.lab.conftest import PATIENCE, until

pytestmark = pytest.mark.needs("root")


@pytest.fixture
def group():
    before = {thread.name for thread in threading.enumerate()}
    with Cgroup("lab-live") as made:
        yield made
    left = {thread.name for thread in threading.enumerate()} - before - {"kit helper"}
    assert not left, "threads left running"


@pytest.fixture
def view(group):
    made = lab.live(group, seconds=600)
    yield made
    made.stop()
    made.wait(PATIENCE)


def test_it_ends_when_its_time_is_up(group, check_picture):
    view = lab.live(group, seconds=0.8, hz=20)
    assert view.ended == ""
    view.wait(PATIENCE)
    assert view.ended == "its time was up"
    assert len(view.frames) > 2
    check_picture(view.picture())


def test_it_ends_when_the_last_process_has_ended(group, view):
    with group.start(loads.busy()):
        until(lambda: view.frames and view.frames[-1].cpu > 5, "usage is seen")
        assert view.ended == ""
    view.wait(PATIENCE)
    assert view.ended == "its last process has ended"


def test_it_waits_for_a_first_process(group, view):
    until(lambda: len(view.frames) > 15, "frames of an empty group")
    assert view.ended == ""


def test_it_ends_when_the_group_is_removed(group, view):
    until(lambda: view.frames, "a frame")
    group.close()
    view.wait(PATIENCE)
    assert view.ended == "the group is gone"


def test_the_button_ends_it(view):
    view._canvas._handle_custom_msg({"stop": True}, [])
    view.wait(PATIENCE)
    assert view.ended == "stopped"
    view.stop()  # harmless


def test_a_second_view_on_the_same_group(group, view):
    other = lab.live(group, seconds=0.5)
    other.wait(PATIENCE)
    assert other.ended == "its time was up"
    assert view.ended == ""


def test_wait_gives_up_after_its_timeout(view):
    view.wait(0.1)
    assert view.ended == ""


def test_an_interrupt_while_waiting_ends_it(view, monkeypatch):
    join, calls = view._thread.join, []

    def interrupted(timeout=None):
        calls.append(timeout)
        if len(calls) == 1:
            raise KeyboardInterrupt
        join(timeout)

    monkeypatch.setattr(view._thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        view.wait()
    assert view.ended == "stopped"


def test_limits_are_followed(group, view):
    until(lambda: view.frames, "a frame")
    group["cpu.max"] = (20_000, 100_000)
    until(lambda: view.frames[-1].cpu_limit == 20, "the new limit in a frame")


def test_an_ended_view_is_let_go(group):
    view = lab.live(group, seconds=0.3)
    view.wait(PATIENCE)
    watched = weakref.ref(view)
    del view
    gc.collect()
    assert watched() is None, "the widget in the page still holds the view and its group"


def test_several_groups(group, check_picture):
    one, other = group.child("one"), group.child("other")
    view = lab.live(one, other, seconds=0.5)
    view.wait(PATIENCE)
    assert list(view.recordings) == ["one", "other"]
    assert "one:" in view.picture().alt
    check_picture(view.picture())


def test_the_page_is_sent_increments_and_what_it_missed(group):
    view = lab.live(group, seconds=600, hz=20)
    sent = []
    view._canvas.send = lambda content, buffers=None: sent.append(content)
    until(lambda: len(sent) > 12, "messages")
    assert all(len(message["frames"]) <= 6 for message in sent)
    view._canvas._handle_custom_msg({"want": 0}, [])
    whole = next(message for message in sent if message["from"] == 0 and len(message["frames"]) > 6)
    assert [frame[0] for frame in whole["frames"]] == sorted(frame[0] for frame in whole["frames"])
    view.stop()
    view.wait(PATIENCE)


def test_the_widget_says_what_it_shows(group):
    view = lab.live(group, seconds=0.3, title="a title")
    state = view._canvas.get_state()
    assert state["title"] == "a title"
    assert state["groups"] == ["lab-live"]
    assert "aria-label" in state["_esm"]
    view.wait(PATIENCE)
    assert view._canvas.ended == "its time was up"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seconds": 0}, "seconds=0"),
        ({"seconds": float("nan")}, "seconds=nan"),
        ({"seconds": 4000}, "at most 3600"),
        ({"hz": 0}, "hz=0"),
        ({"hz": 100}, "1 to 25"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(group, arguments, words):
    with pytest.raises(ValueError, match=words):
        lab.live(group, **arguments)


def test_a_group_that_has_gone_is_refused_and_nothing_runs_on(group):
    gone = Cgroup("lab-gone")
    gone.close()
    with pytest.raises(CgroupError, match="has been closed"):
        lab.live(group, gone)


def test_something_that_is_no_group_is_refused():
    with pytest.raises(ValueError, match="is no control group"):
        lab.live(42)
    with pytest.raises(ValueError, match="one to 4"):
        lab.live()
