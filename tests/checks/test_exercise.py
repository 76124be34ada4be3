"""An exercise from begin to solved: sticky parameters, one line of feedback, hints in order, reset."""

from __future__ import annotations

import errno
import os
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from kit import checks
from kit.checks import attempt, notebooks, progress
from kit.linux.errors import KernelError

from .conftest import Sleeper


def test_parameters_stay_when_the_cell_runs_again_and_change_at_reset(state: Path) -> None:
    first = Sleeper()
    seconds = first.given.seconds
    assert Sleeper().given.seconds == seconds
    assert first.reset().given.seconds != seconds
    assert Sleeper().given.seconds == first.given.seconds
    record = progress.records()["03.1"]
    assert record.attempts == 2 and record.begun


def test_other_parameters_after_an_update_of_the_course_begin_a_new_attempt(state: Path) -> None:
    Sleeper()
    progress.update("03.1", lambda record: record.parameters.pop("seconds"))
    assert Sleeper().given.seconds and progress.records()["03.1"].attempts == 2


def test_running_the_cell_again_ends_what_the_first_run_had_made(state: Path) -> None:
    first, second = Sleeper(), Sleeper()
    assert not first.alive and second.alive
    checks.close()
    assert not second.alive


def test_reset_closes_what_was_handed_in(exercise: Sleeper) -> None:
    class Answer(AbstractContextManager[None]):
        closed = 0

        def __exit__(self, *exc: object) -> None:
            self.close()

        def close(self) -> None:
            self.closed += 1

    answer = Answer()
    exercise.check(answer)
    exercise.check(answer)
    exercise.check(os)  # has a function close() that is none of ours
    exercise.reset()
    assert answer.closed == 1


def test_a_right_answer(exercise: Sleeper, sleeper: subprocess.Popen[bytes]) -> None:
    feedback = exercise.check(sleeper)
    assert feedback and f"sleep {exercise.given.seconds}" in str(feedback)
    assert exercise.check(sleeper.pid)
    bundle = feedback._repr_mimebundle_()
    assert bundle["text/plain"] == "✔ solved · 03.1"
    assert str(sleeper.pid) in bundle["text/html"]
    shown, _, rest = bundle["text/html"].partition("<!--m-->")
    assert str(sleeper.pid) not in shown + rest.partition("<!--/m-->")[2]
    record = progress.records()["03.1"]
    assert (record.checks, record.solved_with) == (2, "no hints") and record.solved


def ended() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(["true"])
    process.wait()
    return process


class Hostile:
    @property
    def pid(self) -> int:
        raise RuntimeError("no\nway")


WRONG = [
    (..., "still the empty"),
    (None, "is None"),
    ("4711", "is a str"),
    (True, "is a bool"),
    (1.5, "is a float"),
    ([], "is a list"),
    ({"pid": 3}, "is a dict"),
    (object(), "is an object"),
    ("<script>" * 50, "is a str"),
    (0, "there is no process 0"),
    (-1, "there is no process -1"),
    (2**70, "there is no process"),
    (os.getpid(), "runs `"),
    (os.getppid(), "runs `"),
    (1, "process 1 runs"),
    (Hostile(), "failed with RuntimeError"),
    (Hostile, "is a type"),
    (ended, "is a function"),
]


def test_a_wrong_answer_gets_one_line_and_no_traceback(exercise: Sleeper) -> None:
    for answer, says in WRONG:
        feedback = exercise.check(answer)
        text = str(feedback)
        assert not feedback, answer
        assert says in text and "expected" in text and str(exercise.given.seconds) in text
        assert "\n" not in text and len(text) < 400
        bundle = feedback._repr_mimebundle_()
        assert bundle["text/plain"] == text and "<script>" not in bundle["text/html"]


def test_a_process_that_has_ended(exercise: Sleeper) -> None:
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    assert "has ended" in str(exercise.check(zombie))
    zombie.wait()
    assert "there is no process" in str(exercise.check(zombie))
    assert progress.records()["03.1"].solved == ""


def test_too_few_and_too_many_answers(exercise: Sleeper) -> None:
    assert "`process` was not handed to `check`" in str(exercise.check())
    assert "got 2 answers" in str(exercise.check(1, 2))


def test_hints_go_from_a_nudge_to_the_manual_page_and_the_solution_comes_last(
    exercise: Sleeper, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebooks, "solution", lambda name: f"the answer to {name}")
    given = [exercise.hint() for _ in range(5)]
    assert given[0].given == ("Something sleeps.",)
    assert given[1].given[1] == f"Use `sleep {exercise.given.seconds}`."
    assert given[2].given[2] == "Read `man sleep`." and not given[2].solution
    assert "The next hint is the solution" in str(given[2])
    assert given[3].solution == given[4].solution == "the answer to 03.1"
    assert "the answer to 03.1" in given[3]._repr_mimebundle_()["text/html"]
    assert exercise.check(sleeper)
    assert progress.records()["03.1"].solved_with == "the solution"
    assert exercise.reset().hint().given == ("Something sleeps.",)


def test_solved_after_one_hint(exercise: Sleeper, sleeper: subprocess.Popen[bytes]) -> None:
    exercise.hint()
    exercise.check(sleeper)
    assert progress.records()["03.1"].solved_with == "1 hint"


def test_a_notebook_that_holds_the_answers_says_so(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "_with_solutions", False)
    checks.with_solutions()
    Sleeper()
    assert progress.records()["03.1"].solution_seen


def test_the_card_shows_the_parameters_and_keeps_the_secret(exercise: Sleeper) -> None:
    bundle = exercise._repr_mimebundle_()
    assert bundle["text/plain"] == "03.1 · A sleeping process"
    assert str(exercise.given.seconds) in bundle["text/html"] and str(exercise.given.seconds) in str(exercise)
    assert "not shown" not in bundle["text/html"] + str(exercise)


def test_an_exercise_goes_on_where_progress_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kit").write_text("a file where the directory should be")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    exercise = Sleeper()
    seconds = exercise.given.seconds
    assert "Progress is not kept" in exercise._repr_mimebundle_()["text/html"]
    feedback = exercise.check(None)
    assert "Progress is not kept" in str(feedback) and "EEXIST" in str(feedback)
    assert [len(exercise.hint().given) for _ in range(2)] == [1, 2]
    (tmp_path / "kit").unlink()
    exercise.check(None)
    assert "not kept" not in str(exercise.check(None))
    assert (
        progress.records()["03.1"].parameters["seconds"] == seconds
    )  # the attempt under way is kept after all
    checks.close()


def test_the_next_exercise_ends_what_a_solved_one_keeps_running(
    exercise: Sleeper, sleeper: subprocess.Popen[bytes]
) -> None:
    class Next(Sleeper):
        name = "03.2"

    Next()
    assert exercise.alive
    assert exercise.check(sleeper)
    Next()
    assert not exercise.alive


def test_what_the_machine_lacks_is_said_on_the_card_and_by_the_check(state: Path) -> None:
    class Impossible(Sleeper):
        goal = "a process in {directory}"

        def setup(self) -> None:
            super().setup()
            raise KernelError("make a thing", errno.EPERM, "Be root.")

    exercise = Impossible()
    assert not exercise.alive
    assert "cannot do this exercise: make a thing: EPERM" in exercise._repr_mimebundle_()["text/html"]
    assert "Be root; expected a machine that can" in str(exercise.check(1))


def test_an_answer_that_fails_to_end_keeps_no_other_from_ending(exercise: Sleeper) -> None:
    ended: list[str] = []

    class Answer(AbstractContextManager[None]):
        def __init__(self, name: str) -> None:
            self.name = name

        def __exit__(self, *exc: object) -> None:
            self.close()

        def close(self) -> None:
            ended.append(self.name)
            if self.name == "second":
                raise OSError("stuck")

    for name in ("first", "second"):
        exercise.check(Answer(name))
    with pytest.raises(OSError, match="stuck"):
        checks.close()
    assert ended == ["second", "first"] and not exercise.alive
