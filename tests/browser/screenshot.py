"""The README's picture of chapter 04, made anew: ``python -m tests.browser.screenshot`` (as root)."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image

from tests.browser.lab import ROOT, open_notebook, page, server
from tests.browser.test_chapter04 import CHAPTER, LIVE, RUN_ALL, SLIDER, move_to

TARGET = ROOT / "docs" / "chapter04.png"
MOVES = [(50, 2.5), (25, 3.0), (65, 3.0), (40, 3.5)]  # percent of one CPU, then how many seconds to watch
COLOURS = 64  # enough for text and two lines; keeps the file small


def main() -> None:
    """Run the chapter in JupyterLab, move its slider, and keep what a reader sees."""
    home = Path(tempfile.mkdtemp(prefix="screenshot-"))
    try:
        (home / "notebooks").mkdir()
        shutil.copy(CHAPTER, home / "notebooks")
        with server(home) as address, page(home, width=1080, height=760) as tab:
            open_notebook(tab, address, CHAPTER.name)
            tab.evaluate("() => jupyterapp.commands.execute('application:toggle-left-area')")
            tab.evaluate(RUN_ALL)
            tab.locator(SLIDER).last.wait_for(timeout=180_000)
            for percent, seconds in MOVES:
                move_to(tab, percent)
                tab.wait_for_timeout(1000 * seconds)
            tab.locator(LIVE).last.evaluate("(view) => view.closest('.jp-Cell').scrollIntoView()")
            tab.wait_for_timeout(300)
            shot = tab.screenshot()
            tab.locator(".kit-live button").last.click()
    finally:
        shutil.rmtree(home)
    TARGET.parent.mkdir(exist_ok=True)
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
        TARGET, optimize=True
    )
    print(f"{TARGET.relative_to(ROOT)}: {TARGET.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
