"""What a build says while it goes on, and the value that it comes to."""

from __future__ import annotations

import pytest

from kit.images.build import Done, Output, Printer, Started, Step, Warned

BUILD = (
    "FROM busybox\nRUN printf 'one\\ntwo'; printf '\\303'; printf '\\244\\n\\377'; echo err >&2\nENV A=1\n"
)


def printed(*events: object, styled: bool = False) -> str:
    parts: list[str] = []
    printer = Printer(parts.append, styled)
    for event in events:
        printer(event)
    return "".join(parts)


def test_a_step_and_what_it_prints():
    step = Step(2, 3, "0", 7, "RUN x", size=1_234_567, seconds=0.26)
    assert printed(Started(step), Output(step, b"a\nb"), Output(step, b"c"), Done(step), Warned("W")) == (
        "Step 2/3 : RUN x\n      a\n      bc\n ---> 0.26 s, 1.23 MB\n[Warning] W\n"
    )
    step.cached = True
    assert printed(Done(step)) == " ---> CACHED, 1.23 MB\n"
    step.error = "exit status 1"
    assert printed(Done(step)) == " ---> failed\n"


def test_letters_in_two_parts_and_what_is_no_text():
    step = Step(1, 1, "0", 1, "RUN x")
    text = printed(Started(step), Output(step, b"\xc3"), Output(step, b"\xa4\xff\n\xc3"), Done(step))
    assert text == "Step 1/1 : RUN x\n      ä\ufffd\n      \ufffd\n ---> 0.00 s\n"


def test_a_terminal_sees_the_step_in_bold():
    step = Step(1, 1, "0", 1, "RUN x")
    assert printed(Started(step), styled=True) == "\033[1mStep 1/1 : RUN x\033[0m\n"
    assert printed(Output(step, b"a\n"), styled=True) == "      \033[2ma\033[0m\n"


@pytest.mark.needs("root", "busybox")
def test_the_events_of_a_build_in_order(build):
    told = []
    built = build(BUILD, progress=told.append)
    assert [type(event) for event in told if not isinstance(event, Output)] == [Started, Done] * 3
    run = [event for event in told if isinstance(event, Output)]
    assert b"".join(event.data for event in run) == b"one\ntwo\xc3\xa4\n\xfferr\n"
    assert all(event.step is built.steps[1] for event in run)
    assert all(told.index(run[0]) > told.index(one) for one in told if one == Started(built.steps[1]))


@pytest.mark.needs("root", "busybox")
def test_what_was_built_shows_itself(build):
    first, second = build(BUILD, tags=["a", "b"]), build(BUILD, tags=["a", "b"])
    assert repr(first) == repr(second) == "<Built a:latest, b:latest in 3 steps>"
    bundle = second._repr_mimebundle_()
    assert bundle["text/plain"] == "Built a:latest, b:latest in 3 steps"
    assert "<!--m-->" in bundle["text/html"] and "CACHED" in bundle["text/html"]
    assert "CACHED" in str(second) and second.image.id[7:19] in str(second)
