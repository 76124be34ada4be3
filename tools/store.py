"""Run notebooks from top to bottom and store what came out: tools/store.py notebooks/04_cgroups.ipynb ...

The run has PID and UTS namespaces of its own and the host name "laptop", so that what is stored tells of the
course and not of the machine; and fresh progress, so that it shows no one's exercises. Widgets live only as
long as their kernel: what is stored is their picture. Run it as root on a quiet machine.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

INSIDE = "KIT_STORE_INSIDE"
WIDGET = "application/vnd.jupyter.widget-view+json"


def store(path: Path) -> None:
    """Execute one notebook and write it back; an error in a cell ends the run, the notebook unchanged."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    where = {"metadata": {"path": path.parent}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if "data" in output:
                output.data.pop(WIDGET, None)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def main() -> None:
    paths = [Path(word).resolve() for word in sys.argv[1:]]
    if not paths:
        sys.exit("Which notebooks? For example: tools/store.py notebooks/*.ipynb solutions/*.ipynb")
    if INSIDE not in os.environ:
        inside = 'mount -t proc proc /proc && hostname laptop && exec "$0" "$@"'
        os.environ[INSIDE] = "1"
        os.execvp(
            "unshare",
            ["unshare", "--pid", "--fork", "--mount", "--uts", "sh", "-c", inside, sys.executable, *sys.argv],
        )
    with tempfile.TemporaryDirectory() as state:
        os.environ["XDG_STATE_HOME"] = state
        for path in paths:
            print(f"== {path.name}", flush=True)
            store(path)


if __name__ == "__main__":
    main()
