"""What chapter 05 shows, in a real browser: the explorer by keyboard and by mouse, a build while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from kit.images.seed import seed
from kit.images.store import Store
from tests.browser.lab import ROOT, need_chromium, open_notebook, page, server
from tests.browser.test_chapter04 import ERRORS, RUN_ALL

pytestmark = [pytest.mark.needs("root"), pytest.mark.timeout(300)]

CHAPTER = ROOT / "notebooks" / "05_images.ipynb"
SCREENSHOTS = ROOT / "build" / "screenshots"
DOCKERFILE = """\
FROM busybox
RUN mkdir /app && echo 'hello' > /app/greeting
RUN for n in 1 2 3 4 5 6 7 8 9; do echo "part $n of 9"; sleep 0.3; done; yes | head -c 20000 > /app/data
RUN rm /app/data
"""
CELLS = [
    "from kit import lab\nfrom kit.images import Image, Store\nstore = Store('store')",
    "built = lab.build(store, '.', tags=['shop'])",
    "lab.explore(built.image)",
]


@contextmanager
def jupyterlab(home: Path, notebook: Any, dark: bool = False) -> Iterator[Any]:
    """A notebook open in JupyterLab."""
    need_chromium()
    (home / "notebooks").mkdir(exist_ok=True)
    nbformat.write(notebook, home / "notebooks" / "shown.ipynb")
    with server(home, dark=dark) as address, page(home) as tab:
        open_notebook(tab, address, "shown.ipynb")
        yield tab


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Any]:
    """A notebook with a build and an explorer, in the dark theme."""
    work = tmp_path / "notebooks"
    work.mkdir()
    (work / "Dockerfile").write_text(DOCKERFILE)
    (work / ".dockerignore").write_text("*\n")
    seed(Store(work / "store"), ["busybox"])
    notebook = new_notebook(cells=[new_code_cell(code) for code in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    with jupyterlab(tmp_path, notebook, dark=True) as made:
        yield made


def test_the_chapter(tmp_path: Path) -> None:
    notebook = nbformat.read(CHAPTER, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with jupyterlab(tmp_path, notebook) as tab:
        tab.evaluate(RUN_ALL)
        tab.wait_for_function("() => window.finished", timeout=200_000)
        assert tab.evaluate(ERRORS) == []
        assert tab.locator(".kit-build").count() == 4
        assert tab.locator(".kit-build .kit-running, .kit-build .kit-failed").count() == 0
        tab.wait_for_selector(".kit-explorer[data-layer]")
        words = tab.eval_on_selector_all(".jp-OutputArea-output img", "all => all.map((img) => img.alt)")
        assert len(words) == 4
        assert all(words), "a picture without words"
        tab.locator(".kit-explorer").scroll_into_view_if_needed()
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        tab.screenshot(path=SCREENSHOTS / "chapter05.png")


def focused(tab: Any) -> str:
    return str(tab.evaluate("() => document.activeElement.innerText.replaceAll('\\n', ' ')"))


def press(tab: Any, key: str, shown: str) -> None:
    """Press a key and wait until the line with the focus begins so."""
    tab.keyboard.press(key)
    script = "(text) => document.activeElement.querySelector('.kit-name span')?.innerText === text"
    tab.wait_for_function(script, arg=shown, timeout=5_000)


def test_a_build_and_its_image(tab: Any) -> None:
    tab.evaluate(RUN_ALL)
    tab.wait_for_function(
        "() => /part 3 of 9/.test(document.querySelector('.kit-build .kit-running pre')?.innerText)"
    )
    assert "1 more to come" in tab.locator(".kit-build").inner_text()
    tab.wait_for_function("() => window.finished", timeout=60_000)
    assert tab.evaluate(ERRORS) == []
    assert tab.locator(".kit-build .kit-running").count() == 0
    assert tab.locator(".kit-build .kit-done").count() == 3

    explorer = tab.locator(".kit-explorer")
    explorer.wait_for()
    assert not tab.locator("img[alt^='the image']").is_visible(), "its picture stands beside the widget"
    explorer.locator("[role=option]").first.scroll_into_view_if_needed()
    assert explorer.locator("[aria-selected=true]").inner_text().startswith("4")
    explorer.locator(".kit-is-removed").get_by_text("data").wait_for()

    explorer.locator("[role=listbox]").focus()
    tab.keyboard.press("ArrowUp")
    tab.wait_for_selector(".kit-explorer[data-layer='3']")
    assert explorer.locator("[aria-selected=true]").inner_text().startswith("3")
    explorer.get_by_label("there already").check()
    explorer.locator("[role=treeitem]").get_by_text("bin", exact=True).wait_for()
    explorer.locator("[role=treeitem]").first.focus()
    press(tab, "Home", "app")
    press(tab, "ArrowRight", "data")
    assert focused(tab).startswith("+")
    press(tab, "ArrowDown", "greeting")
    press(tab, "ArrowLeft", "app")
    press(tab, "ArrowLeft", "app")
    for name in ("bin", "dev", "etc"):
        press(tab, "ArrowDown", name)
    tab.keyboard.press("ArrowRight")
    explorer.locator("[role=treeitem]").get_by_text("passwd", exact=True).wait_for()
    explorer.locator("summary").click()
    assert "layer 3, removed by layer 4 app/data" in explorer.locator("table").inner_text().replace("\t", " ")

    # Without its kernel the picture takes the widget's place.
    tab.evaluate("() => document.querySelector('.kit-explorer').remove()")
    tab.locator("img[alt^='the image']").wait_for()
