"""A build as it goes on, in a notebook: a row for each step and what it prints; at the end the table stays.

The build itself runs in the cell; :mod:`kit.lab.following` draws what the events have told.
"""

from __future__ import annotations

import re
import sys
import time
from html import escape
from pathlib import Path
from typing import Any

from IPython.core.getipython import get_ipython

from kit.images.build.builder import build as carry_out
from kit.images.build.events import Done, Event, Output, Started, Step, Warned
from kit.images.build.progress import Built, Printer
from kit.images.store import Store
from kit.lab.following import following
from kit.lab.rows import row, table
from kit.lab.tree import count
from kit.show import size

KEPT = 100_000  # bytes of a step's output
# What a terminal would not show: what a line writes over after a carriage return, and colours and cursor
# movements, see console_codes(4).
_UNSEEN = re.compile(r"(?m)^[^\n]*\r(?!\n)|\x1b\[[0-9;?]*[A-Za-z]")


class _Row:
    """One step, as far as it has got."""

    def __init__(self, step: Step) -> None:
        self.step, self.began, self.output, self.ended = step, time.monotonic(), b"", False

    @property
    def state(self) -> str:
        if not self.ended:
            return "running"
        return "failed" if self.step.error else "cached" if self.step.cached else "done"

    @property
    def seconds(self) -> float:
        return self.step.seconds if self.ended else time.monotonic() - self.began

    def html(self, longest: float) -> str:
        """A row of the table; ``longest`` is the time in seconds that fills the bar."""
        step, state, seconds = self.step, self.state, self.seconds
        running, done = f"{seconds:.0f} s …", f"✓ {seconds:.1f} s"
        said = {"running": running, "cached": "CACHED", "failed": "✗ failed", "done": done}[state]
        bar = f'<i style="width:{100 * seconds / longest:.0f}%"></i>'
        cells = {
            "number": f"{step.number}/{step.total}",
            "text": f"<code>{escape(step.text)}</code>{self._printed()}",
            "bar": "" if state == "cached" else f'<span class="kit-time" aria-hidden="true">{bar}</span>',
            "outcome": f'<span class="kit-state">{said}</span>',
            "size": size(step.size) if step.size else "",
        }
        return row(state, cells)

    def _printed(self) -> str:
        """Its output: the last lines while it runs or when it failed, else to be unfolded."""
        lines = _UNSEEN.sub("", self.output.decode("utf-8", "replace")).splitlines()
        shown = {"running": 6, "failed": 20}.get(self.state, 200)
        text = f"<pre>{escape(chr(10).join(lines[-shown:]))}</pre>" if lines else ""
        if self.state == "failed":
            why = self.step.error.partition("\n")[0].replace(f"{self.step.text}: ", "")
            return f"<div>{escape(why)}</div>{text}"
        if text and self.ended:
            text = f"<details><summary>{count(len(lines), 'line')} of output</summary>{text}</details>"
        return text


class BuildView:
    """What a build's events told, as HTML; give it to a build as its ``progress``."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._began, self._took = time.monotonic(), 0.0
        self._rows: list[_Row] = []
        self._warnings: list[str] = []

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case Started(step):
                self._rows.append(_Row(step))
            case Output(_, data):
                self._rows[-1].output = (self._rows[-1].output + data)[-KEPT:]
            case Done():
                self._rows[-1].ended = True
            case Warned(text):
                self._warnings.append(text)

    def end(self) -> None:
        """The build is over, however it went."""
        self._took = time.monotonic() - self._began

    def html(self) -> str:
        """The build as a table."""
        rows = list(self._rows)  # the build goes on in another thread
        longest = max([0.001, *(row.seconds for row in rows)])
        body = "".join(row.html(longest) for row in rows)
        total = rows[-1].step.total if rows else 0
        waiting = [f"{total - len(rows)} more to come"] if len(rows) < total and not self._took else []
        for text in waiting + [f"⚠ {one}" for one in self._warnings]:
            body += f'<div class="kit-more">{escape(text)}</div>'
        states = [row.state for row in rows]
        how = "failed after" if "failed" in states else "in" if self._took else "for"
        seconds = self._took or time.monotonic() - self._began
        said = f"{len(rows)} of {total} steps {how} {seconds:.1f} s, {states.count('cached')} of them CACHED"
        return table("build.css", "kit-build", self.title, said, body)


def build(store: Store, context: str | Path, **options: Any) -> Built:
    """Build an image and show how it goes: which steps run, what they print, which are CACHED.

    ``options`` are those of :func:`kit.images.build.builder.build`, such as ``tags=["shop"]``, and it raises
    what that does; a step that failed stands in the table with its output. Outside of a notebook the steps
    are printed.
    """
    if get_ipython() is None:
        return carry_out(store, context, progress=Printer(sys.stdout.write), **options)
    view = BuildView(f"build of {', '.join(options.get('tags') or ['an image'])}")
    with following(lambda: {"text/plain": f"[build] {view.title}", "text/html": view.html()}):
        try:
            return carry_out(store, context, progress=view, **options)
        finally:
            view.end()
