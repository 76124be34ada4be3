"""Without root the exercises run to the end too: each says what is missing, or what it would like to see."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXERCISES = sorted((Path(__file__).parents[2] / "exercises").glob("*.ipynb"))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_untouched_exercises_end_with_sentences(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}}).execute()
    checked = [cell for cell in notebook.cells if "check" in cell.metadata.get("tags", [])]
    assert checked
    for cell in checked:
        (output,) = cell.outputs
        said = output["data"]["text/plain"]
        assert said.startswith("✘ not yet")
        assert "is still the empty" in said or "This machine cannot do this exercise: " in said
