"""Without root a chapter runs to its end, or the first cell that can't says so, with a remedy."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

CHAPTERS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_ends_well_or_with_a_sentence(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}})
    try:
        client.execute()
    except CellExecutionError as error:
        assert error.ename in ("KernelError", "NotDelegated"), f"{error.ename}: {error.evalue}"
        assert "root" in error.evalue, f"no remedy: {error.evalue}"
