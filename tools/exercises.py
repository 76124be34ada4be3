"""Make exercises/*.ipynb from solutions/*.ipynb, the only notebooks with exercises that are written by hand.

    python tools/exercises.py            write them
    python tools/exercises.py --check    write nothing; exit status 1 when a file is not what would be written

An exercise notebook is its solution notebook without the answers (what stands between ### BEGIN SOLUTION and
### END SOLUTION in code, between <!-- BEGIN SOLUTION --> and <!-- END SOLUTION --> in prose), without outputs
and execution counts. A cell of which nothing is left is dropped. Cell ids and tags stay. The same input gives
the same bytes.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from pathlib import Path
from typing import Any

COURSE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(COURSE))

from kit.checks.notebooks import source, without_answer  # noqa: E402

MARKERS = ("BEGIN SOLUTION", "END SOLUTION")


def exercise_cell(cell: dict[str, Any]) -> dict[str, Any] | None:
    """One cell as the learner meets it, None when it was all answer. ValueError: markers do not pair."""
    before = source(cell)
    text = without_answer(before)
    if any(marker in text for marker in MARKERS):
        raise ValueError(f"cell {cell['id']}: BEGIN SOLUTION and END SOLUTION do not pair up")
    if before.strip() and not text.strip():
        return None
    metadata = {
        key: value
        for key, value in cell["metadata"].items()
        if key not in ("execution", "collapsed", "scrolled")
    }
    made = {"cell_type": cell["cell_type"], "id": cell["id"], "metadata": metadata,
            "source": text.splitlines(keepends=True)}  # fmt: skip
    if cell["cell_type"] == "code":
        made |= {"execution_count": None, "outputs": []}
    return made


def exercise_notebook(text: str) -> str:
    """The exercise notebook's file content from the solution notebook's."""
    notebook = json.loads(text)
    cells = [made for cell in notebook["cells"] if (made := exercise_cell(cell)) is not None]
    # The version of the Python that ran the solutions says nothing about the exercises.
    metadata = {"kernelspec": notebook["metadata"]["kernelspec"], "language_info": {"name": "python"}}
    made = {"cells": cells, "metadata": metadata, "nbformat": notebook["nbformat"],
            "nbformat_minor": notebook["nbformat_minor"]}  # fmt: skip
    return json.dumps(made, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a file differs")
    parser.add_argument(
        "--course", type=Path, default=COURSE, help="the directory that holds solutions/ and exercises/"
    )
    options = parser.parse_args(argv)
    solutions, exercises = options.course / "solutions", options.course / "exercises"
    wanted = {
        path.name: exercise_notebook(path.read_text("utf-8")) for path in sorted(solutions.glob("*.ipynb"))
    }
    differ = 0
    for (
        name,
        text,
    ) in wanted.items():  # a file without a solution may be a learner's own copy: it is left alone
        target = exercises / name
        before = target.read_text("utf-8") if target.exists() else ""
        if before == text:
            continue
        differ += 1
        if options.check:
            print(
                f"exercises/{name} is not what solutions/{name} gives. Run: python tools/exercises.py",
                file=sys.stderr,
            )
            diff = difflib.unified_diff(
                before.splitlines(True), text.splitlines(True), "exercises", "solutions", n=1
            )
            sys.stderr.writelines(list(diff)[:20])
        else:
            exercises.mkdir(exist_ok=True)
            target.write_text(text, "utf-8")
            print(f"wrote exercises/{name}")
    return 1 if options.check and differ else 0


if __name__ == "__main__":
    raise SystemExit(main())
