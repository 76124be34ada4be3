"""What happens to each part of an image while it is transferred, as events; and a terminal's view of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TextIO

from kit.show import size

State = Literal["waiting", "transferring", "trying again", "there already", "mounted", "transferred"]


@dataclass(frozen=True)
class Event:
    """``done`` of ``total`` bytes of the blob ``digest`` have been transferred."""

    digest: str
    state: State
    done: int
    total: int


Progress = Callable[[Event], None]

WORDS = {
    "waiting": ("Waiting", "Waiting"),
    "trying again": ("Trying again", "Trying again"),
    "transferring": ("Downloading", "Pushing"),
    "there already": ("Already exists", "Layer already exists"),
    "mounted": ("", "Mounted from another repository"),
    "transferred": ("Pull complete", "Pushed"),
}
_SECONDS, _BAR = 0.1, 30  # between two pictures; characters of a bar


class Printer:
    """A line for each layer, in Docker's words; in a terminal it is drawn anew as bytes arrive."""

    def __init__(self, out: TextIO, verb: Literal["Pull", "Push"]) -> None:
        self._out, self._word = out, ("Pull", "Push").index(verb)
        self._lines: dict[str, tuple[State, str]] = {}
        self._drawn = 0.0
        self._terminal = out.isatty()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        name, text = event.digest.partition(":")[2][:12], WORDS[event.state][self._word]
        if event.state == "transferring":
            bar = f"{'=' * (_BAR * event.done // max(event.total, 1))}>".ljust(_BAR + 1)
            text += f" [{bar}] {size(event.done)}/{size(event.total)}"
        before = self._lines.get(name)
        changed = before is None or before[0] != event.state
        self._lines[name] = event.state, text
        if not self._terminal:
            if changed and event.state != "transferring":
                self._out.write(f"{name}: {text}\n")
        elif changed or time.monotonic() - self._drawn > _SECONDS:
            self._draw(new=before is None)

    def _draw(self, new: bool) -> None:
        """All lines again, over what was drawn before."""
        self._drawn = time.monotonic()
        before = len(self._lines) - new
        up = f"\x1b[{before}A" if before else ""
        self._out.write(up + "".join(f"\x1b[2K{name}: {text}\n" for name, (_, text) in self._lines.items()))
        self._out.flush()
