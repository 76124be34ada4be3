"""exercises/*.ipynb come from solutions/*.ipynb by tools/exercises.py, and agree with them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kit.checks import notebooks

COURSE = Path(__file__).resolve().parents[2]
TOOL = COURSE / "tools" / "exercises.py"

STUB = "process = ...  # your answer here\n\n### BEGIN SOLUTION\nprocess = 1\n### END SOLUTION\n"


def cell(kind: str, identity: str, source: str, tag: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {"cell_type": kind, "id": identity, "source": source, "metadata": {"tags": [tag]}}
    if kind == "code":
        made |= {"execution_count": 3, "outputs": [{"output_type": "stream", "name": "stdout", "text": "1"}]}
    return made


@pytest.fixture
def course(tmp_path: Path) -> Path:
    cells = [
        cell("markdown", "title", "# Exercises<!-- BEGIN SOLUTION --> with solutions<!-- END SOLUTION -->"),
        cell("markdown", "03-1-task", "## 03.1 · A process\nDo it.", "task"),
        cell("code", "03-1-exercise", "ex1 = 1", "exercise"),
        cell("code", "03-1-solution", STUB, "solution"),
        cell("code", "03-1-check", "ex1.check(process)", "check"),
        cell("markdown", "why", "<!-- BEGIN SOLUTION -->\nWhy.\n<!-- END SOLUTION -->"),
    ]
    metadata = {"kernelspec": {"name": "python3"}, "language_info": {"name": "python", "version": "3.99"}}
    content = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "solutions").mkdir()
    (tmp_path / "solutions/03_namespaces.ipynb").write_text(json.dumps(content))
    return tmp_path


def generate(course: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), "--course", str(course), *options]
    return subprocess.run(command, capture_output=True, text=True)


def test_answers_and_outputs_go_and_the_stub_stays(course: Path) -> None:
    assert generate(course).returncode == 0
    made = json.loads((course / "exercises/03_namespaces.ipynb").read_text())
    sources = {cell["id"]: "".join(cell["source"]) for cell in made["cells"]}
    assert sources["title"] == "# Exercises"
    assert sources["03-1-solution"] == "process = ...  # your answer here"
    assert sources["03-1-check"] == "ex1.check(process)"
    assert "why" not in sources
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in made["cells"])
    assert made["cells"][3]["metadata"]["tags"] == ["solution"]


def test_the_same_input_gives_the_same_bytes(course: Path) -> None:
    generate(course)
    first = (course / "exercises/03_namespaces.ipynb").read_bytes()
    assert generate(course).stdout == ""
    assert (course / "exercises/03_namespaces.ipynb").read_bytes() == first


def test_check_fails_when_they_differ_and_writes_nothing(course: Path) -> None:
    missing = generate(course, "--check")
    assert missing.returncode == 1 and "python tools/exercises.py" in missing.stderr
    assert not (course / "exercises").exists()
    generate(course)
    assert generate(course, "--check").returncode == 0
    target = course / "exercises/03_namespaces.ipynb"
    target.write_text(target.read_text().replace("Do it.", "Do something else."))
    assert generate(course, "--check").returncode == 1
    assert "Do something else." in target.read_text()


def test_a_marker_without_its_twin_is_refused(course: Path) -> None:
    source = course / "solutions/03_namespaces.ipynb"
    source.write_text(source.read_text().replace("### END SOLUTION", "### THE END"))
    refused = generate(course)
    assert refused.returncode != 0 and "03-1-solution" in refused.stderr


def test_the_solution_and_the_titles_are_found_by_cell_id(course: Path) -> None:
    generate(course)
    assert notebooks.solution("03.1", course / "solutions") == "process = 1"
    assert notebooks.solution("03.2", course / "solutions") == ""
    assert notebooks.catalogue(course / "exercises") == {"03.1": "A process"}


def test_the_course_agrees_with_its_sources() -> None:
    result = subprocess.run([sys.executable, str(TOOL), "--check"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path", sorted((COURSE / "solutions").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_exercise_of_the_course_has_its_four_cells(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    identity = re.compile(r"(\d\d-\d+)-(task|exercise|solution|check)")
    found: dict[str, list[str]] = {}
    for each in cells:
        if match := identity.fullmatch(each["id"]):
            assert match[2] in each["metadata"]["tags"]
            found.setdefault(match[1], []).append(match[2])
            if match[2] == "solution":
                source = notebooks.source(each)
                stub, answer = notebooks.without_answer(source), notebooks.answer(source)
                assert "..." in stub and answer, (
                    f"{match[1]}: a stub with ... and an answer between the markers"
                )
            if match[2] == "exercise":
                assert each["metadata"]["jupyter"]["source_hidden"] is True
    assert len(found) >= 6
    assert all(roles == ["task", "exercise", "solution", "check"] for roles in found.values()), found
