"""The exercises of a chapter taken out of its notebook, to be answered otherwise than by the solution."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from kit import checks
from kit.checks.notebooks import answer, source

COURSE = Path(__file__).resolve().parents[2]
CHAPTERS = ("03_namespaces", "04_cgroups", "05_images", "06_containers", "07_registries")


def exercises(chapter: str) -> dict[str, Any]:
    """Run the exercise cells (and no solution); the names that they define, ``ex1`` ... among them."""
    cells = json.loads((COURSE / "solutions" / f"{chapter}.ipynb").read_text())["cells"]
    names: dict[str, Any] = {"__name__": chapter}
    for cell in cells:
        if cell["id"] == "start":
            exec(source(cell).partition("### BEGIN")[0], names)
        elif cell["id"].endswith("-exercise"):
            exec(source(cell), names)
    return names


def solve(chapter: str, number: int, names: dict[str, Any]) -> None:
    """Run the solution of one exercise among these names."""
    cells = json.loads((COURSE / "solutions" / f"{chapter}.ipynb").read_text())["cells"]
    (cell,) = [cell for cell in cells if cell["id"] == f"{chapter[:2]}-{number}-solution"]
    exec(answer(source(cell)), names)


TYPES = [..., None, 1, -5, 2**40, "text", "", b"x", [], {}, object(), int, True, 3.5]


def no(feedback: checks.Feedback, *words: str) -> None:
    """It isn't solved, and a whole sentence says why, in which these words stand."""
    assert not feedback
    assert all(word in str(feedback) for word in words), str(feedback)
    assert "failed with" not in str(feedback) and "?" not in str(feedback), str(feedback)


def any_answer_gets_a_sentence(ex: dict[str, Any], wrongs: Iterable[object] = TYPES) -> None:
    """What the checks of a chapter say to answers that are none."""
    for number in range(1, 9):
        exercise = ex[f"ex{number}"]
        assert not exercise.trouble, exercise.trouble
        for wrong in wrongs:
            no(exercise.check(*[wrong] * len(exercise.answers)), "expected")


def reset_gives_new_values_and_the_solution_still_fits(
    chapter: str, ex: dict[str, Any], lasting: Collection[int], few: Collection[int] = ()
) -> None:
    """Solve each exercise twice. To the ``lasting`` ones an old answer may be right again; those of which
    there are ``few`` may draw the same values.
    """
    for number in range(1, 9):
        solve(chapter, number, ex)
        exercise = ex[f"ex{number}"]
        answers = [ex[name] for name in exercise.answers]
        feedback = exercise.check(*answers)
        assert feedback, feedback
        before = vars(exercise.given)
        exercise.reset()
        assert number in few or vars(exercise.given) != before
        assert number in lasting or not exercise.check(*answers), number
        solve(chapter, number, ex)
        feedback = exercise.check(*[ex[name] for name in exercise.answers])
        assert feedback, feedback
        exercise.close()


def hints_end_with_the_manual_and_then_the_solution(ex: dict[str, Any]) -> None:
    """What the hints of every exercise of a chapter must come to."""
    for number in range(1, 9):
        exercise = ex[f"ex{number}"]
        for _ in exercise.hints:
            hints = exercise.hint()
        assert len(hints.given) >= 3 and not hints.solution
        assert any(source in hints.given[-1] for source in ("man ", "docs.", "opencontainers/"))
        assert all("?" not in text or text.endswith("?") for text in hints.given[1:]), hints
        solution = exercise.hint().solution
        assert solution and "SOLUTION" not in solution
        assert all(name in solution for name in exercise.answers)
