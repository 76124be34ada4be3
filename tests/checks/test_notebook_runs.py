"""The notebooks run by a real kernel: untouched each check fails, with the solutions each passes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from kit import owner
from kit.checks import progress
from tests.leaks import left_since, look

from .chapters import CHAPTERS, COURSE

pytestmark = [pytest.mark.needs("root"), pytest.mark.timeout(300)]
by_chapter = pytest.mark.parametrize("chapter", CHAPTERS)


def run(folder: str, chapter: str, state: Path, **how: Any) -> nbformat.NotebookNode:
    notebook = nbformat.read(COURSE / folder / f"{chapter}.ipynb", as_version=4)
    environment = {**os.environ, "XDG_STATE_HOME": str(state.parent), "PYTHONPATH": str(COURSE)}
    environment.pop("PYTEST_CURRENT_TEST", None)  # ipykernel would stop capturing what child processes print
    resources = {"metadata": {"path": str(COURSE / folder)}}
    NotebookClient(notebook, timeout=120, resources=resources, **how).execute(env=environment)
    return notebook


def text(cell: nbformat.NotebookNode) -> str:
    return "\n".join(str(output.get("data", {}).get("text/plain", "")) for output in cell.outputs)


@by_chapter
def test_untouched_exercise_fails_each_check_with_its_sentence(chapter: str, state: Path) -> None:
    notebook = run("exercises", chapter, state)
    assert not [
        cell.id for cell in notebook.cells for one in cell.get("outputs", []) if one.output_type == "error"
    ]
    said = {cell.id: text(cell) for cell in notebook.cells if "check" in cell.metadata.get("tags", [])}
    assert len(said) >= 6
    for identity, sentence in said.items():
        name = identity.removesuffix("-check").replace("-", ".")
        assert sentence.startswith(f"✘ not yet · {name} · "), sentence
        assert "is still the empty `...`; expected " in sentence, sentence
        assert "?" not in sentence, "a parameter of the goal is missing"
    rows = [row for row in progress.state() if row["chapter"] == chapter[:2]]
    assert rows and all(row["attempts"] == 1 and row["checks"] == 1 and not row["solved"] for row in rows)


@by_chapter
def test_solution_passes_from_a_clean_start(chapter: str, state: Path) -> None:
    notebook = run("solutions", chapter, state)
    assert all(
        "✔ solved" in text(cell) for cell in notebook.cells if "check" in cell.metadata.get("tags", [])
    )
    rows = [row for row in progress.state() if row["chapter"] == chapter[:2]]
    assert rows and all(row["solved"] and row["solved_with"] == "the solution" for row in rows)


@by_chapter
def test_a_killed_kernel_leaves_nothing_after_the_next_start(chapter: str, state: Path) -> None:
    """Run all but the closing cell, then SIGKILL the kernel, so that nothing of its own can tidy up."""
    before = look()
    notebook = nbformat.read(COURSE / "solutions" / f"{chapter}.ipynb", as_version=4)
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env={**os.environ, "XDG_STATE_HOME": str(state.parent), "PYTHONPATH": str(COURSE)})
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        for cell in notebook.cells:
            if cell.cell_type == "code" and cell.id != "closing":
                reply = client.execute_interactive(cell.source, timeout=120, output_hook=lambda message: None)
                assert reply["content"]["status"] == "ok", (cell.id, reply["content"].get("evalue"))
        manager.signal_kernel(signal.SIGKILL)
        manager.cleanup_resources()
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    owner.clean()
    assert not left_since(before)


@by_chapter
def test_stored_outputs_show_a_solved_run(chapter: str) -> None:
    cells = json.loads((COURSE / "solutions" / f"{chapter}.ipynb").read_text())["cells"]
    checks = [cell for cell in cells if "check" in cell["metadata"].get("tags", [])]
    for cell in checks:
        (output,) = cell["outputs"]
        assert "".join(output["data"]["text/plain"]).startswith("✔ solved")
