"""Exercises as they stand in notebooks: which there are, and what their solution is.

The notebook in ``solutions/`` is the only source. Each exercise is four cells, told apart by a tag, and found
by their id: ``03-1-task``, ``03-1-exercise``, ``03-1-solution``, ``03-1-check`` belong to exercise 03.1. What
stands between the lines ``### BEGIN SOLUTION`` and ``### END SOLUTION`` (nbgrader's words) is the answer;
taking it out leaves the exercise as the learner meets it. In prose the same is done by HTML comments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COURSE = Path(__file__).resolve().parents[2]

_IN_CODE = re.compile(
    r"^[ \t]*### BEGIN SOLUTION[^\n]*\n(.*?)^[ \t]*### END SOLUTION[^\n]*(?:\n|\Z)", re.S | re.M
)
_IN_PROSE = re.compile(r"<!-- BEGIN SOLUTION -->(.*?)<!-- END SOLUTION -->", re.S)


def source(cell: dict[str, Any]) -> str:
    """A cell's source as one string (the format also allows a list of lines)."""
    text = cell.get("source", "")
    return text if isinstance(text, str) else "".join(text)


def answer(code: str) -> str:
    """The code between the markers of a solution cell."""
    return "\n".join(found.group(1).strip("\n") for found in _IN_CODE.finditer(code))


def without_answer(text: str) -> str:
    """A cell's source with every answer taken out, the stub above it left."""
    return _IN_PROSE.sub("", _IN_CODE.sub("", text)).strip("\n")


def solution(name: str, folder: Path | None = None) -> str:
    """The code that solves exercise `name` ("03.1"), or "" where the solution notebooks are not at hand."""
    wanted = f"{name.replace('.', '-')}-solution"
    for cell in _cells(folder or COURSE / "solutions", name[:2]):
        if cell.get("id") == wanted:
            return answer(source(cell))
    return ""


def catalogue(folder: Path | None = None) -> dict[str, str]:
    """Every exercise of the course, in order: name ("03.1") to title, from the headings of the task cells."""
    found: dict[str, str] = {}
    for cell in _cells(folder or COURSE / "exercises", ""):
        identity = re.fullmatch(r"(\d\d)-(\d+)-task", str(cell.get("id", "")))
        if identity:
            heading = source(cell).partition("\n")[0].lstrip("# ")
            found[f"{identity[1]}.{identity[2]}"] = heading.partition(" · ")[2] or heading
    return found


def _cells(folder: Path, chapter: str) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob(f"{chapter}*.ipynb")):
        try:
            cells = json.loads(path.read_text("utf-8"))["cells"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a learner's half-saved notebook must not take the others' titles away
        yield from (cell for cell in cells if isinstance(cell, dict))
