"""Every chapter and every solution, run again from top to bottom and compared with what is stored."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STORED = CHAPTERS + sorted((ROOT / "solutions").glob("*.ipynb"))
HEADINGS = ["What you will do", "What you saw", "Words to know", "Where it lives", "Exercises",
            "Notes for the instructor"]  # fmt: skip

by_name = pytest.mark.parametrize("path", STORED, ids=lambda path: f"{path.parent.name}/{path.stem}")


def cells(path: Path, kind: str) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


@pytest.mark.needs("root")
@pytest.mark.timeout(600)
@by_name
def test_runs_as_stored(path, tmp_path):
    """Strict nbval: each output as stored, but for what was measured."""
    nbval = ["--nbval", "--nbval-sanitize-with", "nbval.cfg", "--nbval-cell-timeout", "120"]
    quiet = ["-p", "no:cacheprovider", "-q"]
    command = [sys.executable, "-m", "pytest", *nbval, *quiet, str(path.relative_to(ROOT))]
    # A run of the solutions must not write into the reader's own progress.
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=580,
                         env={**os.environ, "XDG_STATE_HOME": str(tmp_path)})  # fmt: skip
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert re.search(r"\d+ passed", run.stdout)


@by_name
def test_is_stored_from_one_run_from_top_to_bottom(path):
    code = [cell for cell in cells(path, "code") if "".join(cell["source"]).strip()]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        meant = "raises-exception" in cell["metadata"].get("tags", [])
        assert meant or not [o for o in cell["outputs"] if o["output_type"] == "error"]


@by_name
def test_every_picture_has_words(path):
    for cell in cells(path, "code"):
        for output in cell["outputs"]:
            data = output.get("data", {})
            html = "".join(data.get("text/html", ""))
            for tag in re.findall(r"<img\b[^>]*>", html):
                assert re.search(r'\balt="[^"]{20,}"', tag), tag[:80]
            if "image/png" in data and "<img" not in html:
                assert len(output["metadata"].get("image/png", {}).get("alt", "")) > 20
    for cell in cells(path, "markdown"):
        assert not re.search(r"!\[\s*\]\(", "".join(cell["source"]))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_headings_are_those_of_every_chapter(path):
    text = "\n".join("".join(cell["source"]) for cell in cells(path, "markdown"))
    found = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [h for h in found if not re.match(r"\d+ · ", h)] == HEADINGS
    numbered = [int(h.split(" ")[0]) for h in found if re.match(r"\d+ · ", h)]
    assert numbered == list(range(1, len(numbered) + 1)) and numbered
    assert found[0] == HEADINGS[0] and found[-1] == HEADINGS[-1]


@by_name
def test_its_links_lead_somewhere(path):
    text = "\n".join("".join(cell["source"]) for cell in cells(path, "markdown"))
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        assert (path.parent / target).exists(), target
