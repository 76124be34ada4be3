"""A build as it goes on, in a notebook: a row for each step and what it prints; at the end the table stays.

The build itself runs in the cell. A thread beside it draws what the events have told, five times a second, as
plain HTML: so the last drawing is what a stored notebook shows, and no widget is left behind.
"""

from __future__ import annotations

import re
import sys
import threading
import time
import uuid
from collections import deque
from html import escape
from pathlib import Path
from typing import Any

from IPython.core.getipython import get_ipython
from IPython.display import display

from kit.images.build.builder import build as carry_out
from kit.images.build.events import Done, Event, Output, Started, Step, Warned
from kit.images.build.progress import Built, Printer
from kit.images.store import Store
from kit.lab.canvas import STATIC
from kit.show import measured, size

INTERVAL = 0.2  # seconds from one drawing to the next
LAST, KEPT = 6, 200  # lines of output shown while a step runs, and those that can be unfolded afterwards
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # colours and cursor movements, see console_codes(4)


class _Row:
    """One step, as far as it has got."""

    def __init__(self, step: Step) -> None:
        self.step, self.began, self.running = step, time.monotonic(), True
        self.lines: deque[str] = deque([""], maxlen=KEPT)

    def printed(self, data: bytes) -> None:
        """Take output as it came: in any pieces, perhaps with a line that is written over and over."""
        text = _ESCAPES.sub("", data.decode("utf-8", "replace")).replace("\r\n", "\n")
        first, *rest = text.split("\n")
        self.lines[-1] = (self.lines[-1] + first).rpartition("\r")[2][-2000:]
        self.lines.extend(line.rpartition("\r")[2][:2000] for line in rest)

    @property
    def state(self) -> str:
        return (
            "running"
            if self.running
            else "failed"
            if self.step.error
            else "cached"
            if self.step.cached
            else "done"
        )

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began if self.running else self.step.seconds

    @property
    def text(self) -> list[str]:
        """The lines that were printed."""
        lines = list(self.lines)
        return lines if lines[-1] else lines[:-1]


class BuildView:
    """What a build's events told, as HTML; give it to a build as its ``progress``."""

    def __init__(self, title: str) -> None:
        self.title, self.ended = title, False
        self._began, self._took = time.monotonic(), 0.0
        self._rows: list[_Row] = []
        self._warnings: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        with self._lock:
            match event:
                case Started(step):
                    self._rows.append(_Row(step))
                case Output(_, data):
                    self._rows[-1].printed(data)
                case Done(_):
                    self._rows[-1].running = False
                case Warned(text):
                    self._warnings.append(text)

    def end(self) -> None:
        """The build is over, however it went."""
        self.ended, self._took = True, time.monotonic() - self._began

    def html(self) -> str:
        """The build as a table. All of it counts as measured: an unfinished one has other rows.

        It is made of ``div``, as JupyterLab has a look of its own for every ``table``.
        """
        with self._lock:
            longest = max([0.001, *(row.seconds for row in self._rows)])
            body = "".join(_html(row, longest) for row in self._rows)
            total = max([0, *(row.step.total for row in self._rows)])
            waiting = total - len(self._rows)
            warnings = list(self._warnings)
        if waiting and not self.ended:
            body += f'<div class="kit-more">{waiting} more to come</div>'
        body += "".join(f'<div class="kit-more">⚠ {escape(text)}</div>' for text in warnings)
        head = f"<header><strong>{escape(self.title)}</strong> <span>{self._summary(total)}</span></header>"
        style = f"<style>{(STATIC / 'build.css').read_text()}</style>"
        table = f'<div role="table" aria-label="{escape(self.title)}">{body}</div>'
        return measured(f'{style}<div class="kit-build">{head}{table}</div>')

    def _summary(self, total: int) -> str:
        seconds = self._took if self.ended else time.monotonic() - self._began
        cached = sum(row.state == "cached" for row in self._rows)
        how = (
            "failed after"
            if any(row.state == "failed" for row in self._rows)
            else "in"
            if self.ended
            else "for"
        )
        return f"{len(self._rows)} of {total} steps {how} {seconds:.1f} s, {cached} of them CACHED"


def _html(row: _Row, longest: float) -> str:
    step, state = row.step, row.state
    width = f"{100 * row.seconds / longest:.0f}%"
    bar = f'<span class="kit-time" aria-hidden="true"><i style="width:{width}"></i></span>'
    said = {
        "running": f"{row.seconds:.0f} s …",
        "cached": "CACHED",
        "failed": "✗ failed",
        "done": f"✓ {row.seconds:.1f} s",
    }
    cells = [
        ("kit-number", f"{step.number}/{step.total}"),
        ("kit-text", f"<code>{escape(step.text)}</code>{_output(row)}"),
        ("kit-bar", "" if state == "cached" else bar),
        ("", f'<span class="kit-state">{said[state]}</span>'),
        ("kit-size", size(step.size) if step.size else ""),
    ]
    inner = " ".join(f'<div role="cell" class="{name}">{html}</div>' for name, html in cells)
    return f'<div role="row" class="kit-{state}">{inner}</div>'


def _output(row: _Row) -> str:
    lines = row.text
    if row.state == "failed":
        why = row.step.error.partition("\n")[0].replace(f"{row.step.text}: ", "")
        return f"<div>{escape(why)}</div>" + (_pre(lines[-20:]) if lines else "")
    if row.running:
        return _pre(lines[-LAST:]) if lines else ""
    noun = "line" if len(lines) == 1 else "lines"
    return (
        f"<details><summary>{len(lines)} {noun} of output</summary>{_pre(lines)}</details>" if lines else ""
    )


def _pre(lines: list[str]) -> str:
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def build(store: Store, context: str | Path, **options: Any) -> Built:
    """Build an image and show how it goes: which steps run, what they print, which are CACHED.

    ``options`` are those of :func:`kit.images.build.builder.build`, such as ``tags=["shop"]``, and it raises
    what that does; a step that failed stands in the table with its output. Outside of a notebook the steps
    are printed.
    """
    tags = options.get("tags") or ()
    title = f"build of {', '.join(tags) or 'an image'}"
    if get_ipython() is None:
        return carry_out(store, context, progress=Printer(sys.stdout.write), **options)
    view = BuildView(title)
    shown = f"kit-build-{uuid.uuid4().hex}"

    def publish(update: bool = True) -> None:
        data = {"text/plain": f"[build] {title}", "text/html": view.html()}
        display(data, raw=True, display_id=shown, update=update)

    def follow() -> None:
        while not ended.wait(INTERVAL):
            publish()

    ended = threading.Event()
    publish(update=False)
    thread = threading.Thread(target=follow, name="kit-build view", daemon=True)
    thread.start()
    try:
        return carry_out(store, context, progress=view, **options)
    finally:
        ended.set()
        thread.join()
        view.end()
        publish()
