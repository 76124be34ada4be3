"""The live plot's widget: a canvas in the page, drawn by ``static/live.js`` from frames that the kernel sends
it.

The widget keeps no history itself. It is told each new frame together with the few before it; when a page has
missed more (it was loaded late, or opened again) it asks, and is sent what it lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from kit.lab.frames import Frame
from kit.lab.subshell import answer_while_busy

STATIC = Path(__file__).parent / "static"
OVERLAP = 5  # frames sent again with each new one: a message lost while the page was loading does no harm


class Canvas(anywidget.AnyWidget):
    """The page's side of a live view. ``stop`` is called when the reader presses the button."""

    _esm = STATIC / "live.js"
    _css = STATIC / "live.css"

    title = traitlets.Unicode().tag(sync=True)
    groups = traitlets.List(traitlets.Unicode()).tag(sync=True)
    seconds = traitlets.Float().tag(sync=True)
    window = traitlets.Float(30.0).tag(sync=True)  # seconds in sight at once
    ended = traitlets.Unicode().tag(sync=True)  # why the view ended; "" while it runs

    def __init__(self, stop: Callable[[], None], **state: Any) -> None:
        super().__init__(**state)
        self._stop = stop
        self._history: list[list[Any]] = []
        self.on_msg(self._told)
        answer_while_busy(self)

    def show(self, rows: Sequence[Frame]) -> None:
        """Send one more moment: a frame for each group, in the order of ``groups``."""
        self._history.append([round(rows[0].t, 3), *(_packed(row) for row in rows)])
        self._catch_up(max(0, len(self._history) - 1 - OVERLAP))

    def end(self, why: str) -> None:
        """Tell the page why the view ended. It can still ask for the frames: a page that was loaded again in
        between doesn't take the picture, and keeps the canvas. The view itself (and its groups) is let go.
        """
        self.ended = why
        self._stop = _nothing

    def _catch_up(self, first: int) -> None:
        self.send({"from": first, "frames": self._history[first:]})

    def _told(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        # Runs in a subshell's thread where the front end uses them, so it works while a cell is busy.
        if content.get("stop"):
            self._stop()
        elif isinstance(content.get("want"), int):
            self._catch_up(min(max(0, content["want"]), len(self._history)))


def _nothing() -> None:
    """What a Stop button does when there is nothing left to stop."""


def view_of(widget: Any) -> dict[str, Any]:
    """What a front end needs to find a widget: the data of ``application/vnd.jupyter.widget-view+json``."""
    return {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}


def _packed(row: Frame) -> list[Any]:
    return [round(row.cpu, 1), round(row.throttled, 1), row.memory, row.cpu_limit, row.memory_limit]
