"""The README's pictures, made anew: ``python -m tests.browser.screenshot [04|06]`` (as root)."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from tests.browser.lab import ROOT, open_notebook, page, server
from tests.browser.test_chapter04 import LIVE, RUN_ALL, SLIDER, move_to

DOCS = ROOT / "docs"
MOVES = [(50, 2.5), (25, 3.0), (65, 3.0), (40, 3.5)]  # percent of one CPU, then how many seconds to watch
COLOURS = 64  # enough for text and two lines; keeps the file small
SHOWN = "(view) => view.closest('.jp-Cell').scrollIntoView()"


def chapter04(tab: Page) -> bytes:
    """Move the slider, and watch the plot follow."""
    tab.locator(SLIDER).last.wait_for(timeout=180_000)
    for percent, seconds in MOVES:
        move_to(tab, percent)
        tab.wait_for_timeout(1000 * seconds)
    tab.locator(LIVE).last.evaluate(SHOWN)
    tab.wait_for_timeout(300)
    shot = tab.screenshot()
    tab.locator(".kit-live button").last.click()
    return shot


def chapter06(tab: Page) -> bytes:
    """What the docker command and the engine say to each other."""
    tab.wait_for_function("() => window.finished", timeout=300_000)
    tab.locator(".kit-wire").nth(1).evaluate(SHOWN)
    tab.wait_for_timeout(300)
    return tab.screenshot()


def main() -> None:
    """Run a chapter in JupyterLab, and keep what a reader sees."""
    chapter, take = {"06": ("06_containers", chapter06)}.get("".join(sys.argv[1:]), ("04_cgroups", chapter04))
    target = DOCS / f"chapter{chapter[:2]}.png"
    home = Path(tempfile.mkdtemp(prefix="screenshot-"))
    try:
        (home / "notebooks").mkdir()
        shutil.copy(ROOT / "notebooks" / f"{chapter}.ipynb", home / "notebooks")
        with server(home) as address, page(home, width=1080, height=760) as tab:
            open_notebook(tab, address, f"{chapter}.ipynb")
            tab.evaluate("() => jupyterapp.commands.execute('application:toggle-left-area')")
            tab.evaluate(RUN_ALL)
            shot = take(tab)
    finally:
        shutil.rmtree(home)
    target.parent.mkdir(exist_ok=True)
    picture = Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    picture.save(target, optimize=True)
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
