"""Chapter 04 in a real browser: the slider moves the limit, the measured usage follows, a picture stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.lab import ROOT, need_chromium, open_notebook, page, server

pytestmark = [pytest.mark.needs("root"), pytest.mark.timeout(420)]

CHAPTER = ROOT / "notebooks" / "04_cgroups.ipynb"
SCREENSHOTS = ROOT / "build" / "screenshots"

RUN_ALL = """() => {
  window.finished = false;
  jupyterapp.commands.execute('notebook:run-all-cells').finally(() => { window.finished = true; });
}"""
ERRORS = """() => jupyterapp.shell.currentWidget.content.model.toJSON().cells.flatMap((cell) =>
  (cell.outputs || []).filter((output) => output.output_type === 'error').map((output) => output.evalue))"""
LIVE = ".kit-live[data-cpu]"
SLIDER = ".widget-slider:has-text('CPU at most')"


@pytest.fixture
def chapter(tmp_path: Path) -> Iterator[Any]:
    """The chapter (a copy, its outputs cleared) open in JupyterLab."""
    need_chromium()
    (tmp_path / "notebooks").mkdir()
    notebook = json.loads(CHAPTER.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    (tmp_path / "notebooks" / CHAPTER.name).write_text(json.dumps(notebook), encoding="utf-8")
    with server(tmp_path) as address, page(tmp_path) as tab:
        open_notebook(tab, address, CHAPTER.name)
        yield tab


def move_to(tab: Any, percent: int) -> None:
    """Move the CPU slider by the keyboard to so many percent of one CPU."""
    slider = tab.locator(SLIDER).last
    handle, readout = slider.locator(".noUi-handle"), slider.locator(".widget-readout")
    handle.focus()
    for _ in range(200):
        text = readout.inner_text()
        now = float(text.split()[0]) if "%" in text else float("inf")
        if now == percent:
            return
        tab.keyboard.press("ArrowLeft" if now > percent else "ArrowRight")
        tab.wait_for_function("([e, old]) => e.innerText !== old", arg=[readout.element_handle(), text])
    raise AssertionError(f"the slider does not reach {percent} %")


def wait_for_usage(tab: Any, low: float, high: float, limit: int) -> None:
    """Wait until the live view tells this limit, and a usage between these bounds (percent of one CPU)."""
    true = f"""() => [...document.querySelectorAll('{LIVE}')].some((view) => {{
      const [cpu] = view.dataset.cpu.split(' '), [limit] = view.dataset.cpuLimit.split(' ');
      return limit === '{limit}' && {low} <= +cpu && +cpu <= {high};
    }})"""
    tab.wait_for_function(true, timeout=20_000)


def test_usage_follows_the_slider(chapter: Any) -> None:
    tab = chapter
    tab.evaluate(RUN_ALL)
    tab.wait_for_function(
        f"() => document.querySelector('{LIVE}') && document.querySelector('.widget-slider .noUi-handle')",
        timeout=180_000,
    )
    move_to(tab, 10)
    wait_for_usage(tab, 5, 14, limit=10)
    move_to(tab, 40)
    wait_for_usage(tab, 15, 46, limit=40)  # on a busy machine it may get less than it is allowed to
    words = f"[...document.querySelectorAll('{LIVE} [role=img]')].map((plot) => plot.ariaLabel)"
    tab.wait_for_function(f"() => {words}.some((said) => said.includes('limit 40 %'))", timeout=5_000)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    tab.locator(LIVE).last.scroll_into_view_if_needed()
    tab.screenshot(path=SCREENSHOTS / "chapter04.png")

    tab.wait_for_function("() => window.finished", timeout=240_000)
    assert tab.evaluate(ERRORS) == []
    assert tab.locator(".kit-live").count() == 0, "a live view still stands where its picture should be"
    words = tab.eval_on_selector_all(".jp-OutputArea-output img", "all => all.map((img) => img.alt)")
    assert words
    assert all(words), "a picture without words"


def test_the_stop_button_works_while_the_cell_waits(chapter: Any) -> None:
    tab = chapter
    code = (
        "from kit import lab\nfrom kit.cgroups import Cgroup\n"
        "with Cgroup('browser-stop') as group:\n    view = lab.live(group, seconds=300)\n    view.wait()\n"
    )
    tab.evaluate("() => jupyterapp.commands.execute('notebook:insert-cell-above')")
    tab.evaluate(
        "(code) => { jupyterapp.shell.currentWidget.content.activeCell.model.sharedModel.setSource(code); }",
        code,
    )
    tab.evaluate("() => { jupyterapp.commands.execute('notebook:run-cell'); }")
    stop = tab.locator(".kit-live button")
    tab.wait_for_selector(LIVE)
    stop.focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".jp-OutputArea-output img[alt*='browser-stop']", timeout=20_000)
    assert tab.locator(".kit-live").count() == 0
