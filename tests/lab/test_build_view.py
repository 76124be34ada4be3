"""A build that is watched: the same image, a row for each step, a table that stays."""

import re
import threading
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from kit import lab
from kit.images.build.builder import build
from kit.images.build.errors import BuildFailed
from kit.images.build.events import Done, Output, Started, Step, Warned
from kit.images.seed import seed
from kit.images.store import Store
from kit.lab.build import BuildView
from tests.lab.conftest import MEASURED

ROOT = Path(__file__).resolve().parents[2]


def dockerfile(where, *lines):
    where.mkdir(exist_ok=True)
    (where / "Dockerfile").write_text("\n".join(["FROM busybox", *lines]) + "\n")
    return where


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "store")
    seed(made, ["busybox"])
    return made


def rows(html):
    """The rows of the table as text, one cell after the other."""
    found = html.split('<div role="row"')[1:]
    cells = (re.split(r'<div role="cell" class="[^"]*">', row)[1:] for row in found)
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in cells]


def step(number=1, **rest):
    return Step(number, 3, "0", 7, "RUN make <all>", **rest)


@pytest.mark.needs("root")
def test_steps_of_a_real_build(store, tmp_path):
    context = dockerfile(tmp_path / "context", "RUN echo one; echo two > /two", "CMD sh")
    view = BuildView("the build")
    built = build(store, context, progress=view)
    view.end()
    found = rows(view.html())
    assert [(number, state.startswith("✓")) for number, _, _, state, _ in found] == [
        ("1/3", False), ("2/3", True), ("3/3", True),
    ]  # fmt: skip
    assert found[1][1] == "RUN echo one; echo two &gt; /two1 line of outputone"
    assert found[1][4].endswith(" B")
    assert "3 of 3 steps in " in view.html()
    again = BuildView("the build")
    assert build(store, context, progress=again).image.id == built.image.id
    assert [row[3] for row in rows(again.html())] == ["CACHED"] * 3
    assert "3 of them CACHED" in again.html()


@pytest.mark.needs("root")
def test_a_step_that_fails_stands_there_with_its_output(store, tmp_path):
    context = dockerfile(tmp_path / "context", "RUN echo no such luck; exit 3", "RUN never")
    view = BuildView("the build")
    with pytest.raises(BuildFailed):
        build(store, context, progress=view)
    view.end()
    assert rows(view.html())[-1][3] == "✗ failed"
    assert "<pre>no such luck</pre>" in view.html()
    assert "<div>Dockerfile:2: exit status 3" in view.html()
    assert "never" not in view.html()
    assert "more to come" not in view.html()


def test_while_it_runs():
    view = BuildView("a <build>")
    assert "a &lt;build&gt;" in view.html()
    view(Started(step()))
    view(Output(step(), b"".join(b"line %d\n" % number for number in range(20))))
    view(Warned("<careful>"))
    html = view.html()
    assert rows(html)[0][:2] == [
        "1/3",
        "RUN make &lt;all&gt;" + "\n".join(f"line {n}" for n in range(14, 20)),
    ]
    assert rows(html)[0][3].endswith("s …")
    assert "2 more to come" in html
    assert "⚠ &lt;careful&gt;" in html
    view(Done(step(seconds=2.0)))
    assert MEASURED.sub("", view.html()) == ""


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ([b"whole\nli", b"nes\n"], "whole\nlines"),
        ([b"no newline"], "no newline"),
        ([b"10 %\r50", b" %\r100 %\n"], "100 %"),
        ([b"dos\r\n", b"\r\n"], "dos\n"),
        ([b"\x1b[1;31mred\x1b[0m <b>\xff\n"], "red &lt;b&gt;�"),
    ],
)
def test_what_a_program_prints(pieces, shown):
    view = BuildView("b")
    view(Started(step()))
    for piece in pieces:
        view(Output(step(), piece))
    assert f"<pre>{shown}</pre>" in view.html()


def test_a_flood_of_output_stays_small():
    view = BuildView("b")
    view(Started(step()))
    for _ in range(2000):
        view(Output(step(), b"x" * 999 + b"\n" + b"y" * 5000))
    view(Done(step()))
    assert len(view.html()) < 500_000


@pytest.mark.needs("root")
def test_outside_of_a_notebook_the_steps_are_printed(store, tmp_path, capsys):
    built = lab.build(store, dockerfile(tmp_path / "context", "RUN echo hello"), tags=["shop"])
    assert built.tags == ["shop:latest"]
    assert "      hello\n" in capsys.readouterr().out


CELLS = """\
from kit import lab
from kit.images.store import Store
store = Store({store!r})
---
built = lab.build(store, {context!r}, tags=["shop"])
---
built = lab.build(store, {context!r}, tags=["shop"])
print([step.cached for step in built.steps])
---
try:
    lab.build(store, {broken!r})
except Exception as why:
    print(type(why).__name__)
"""


@pytest.mark.needs("root")
@pytest.mark.timeout(180)
def test_the_table_stays_in_a_stored_notebook(store, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    names = {
        "store": str(store.directory),
        "context": str(dockerfile(tmp_path / "context", "RUN for n in 1 2 3; do echo $n; sleep 0.3; done")),
        "broken": str(dockerfile(tmp_path / "broken", "RUN false")),
    }
    cells = [new_code_cell(source.format(**names)) for source in CELLS.split("---\n")]
    notebook = new_notebook(cells=cells)
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    _, first, second, failed = (cell.outputs for cell in notebook.cells)
    assert [one.data["text/plain"] for one in first] == ["[build] build of shop"]
    (html,) = (one.data["text/html"] for one in first)
    assert MEASURED.sub("", html) == ""
    assert rows(html)[1][1].endswith("3 lines of output1\n2\n3")
    assert [row[3] for row in rows(second[0].data["text/html"])] == ["CACHED", "CACHED"]
    assert second[1].text == "[True, True]\n"
    assert rows(failed[0].data["text/html"])[-1][3] == "✗ failed"
    assert failed[1].text == "BuildFailed\n"
    nbformat.validate(notebook)


def test_nothing_runs_on(tmp_path):
    before = threading.active_count()
    with pytest.raises((OSError, ValueError)):
        lab.build(Store(tmp_path / "store"), tmp_path / "nowhere")
    assert threading.active_count() == before
