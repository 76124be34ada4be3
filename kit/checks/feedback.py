"""What a check answers: one line of what was observed, what was expected, and where to look.

A solved exercise has a fixed ``text/plain`` (its name), because solution notebooks are compared output by
output; the sentence with its process ids and measured values stands in the HTML, between the markers of
`kit.show.measured`. An unsolved one says everything in plain text too: it never stands in a stored notebook.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Any

from kit.show import measured

_BOX = "border-left:4px solid {colour};padding:.3em .8em;margin:.2em 0"
_SOLVED, _NOT_YET, _HINT = (
    "#009e73",
    "#d55e00",
    "#56b4e9",
)  # Okabe-Ito; the words carry the meaning, not the colour


class NotYet(Exception):
    """Raised by a check when the kernel shows something else than the exercise asks for.

    `observed` is what was found, `expected` what should be there (left out: the exercise's goal), `look`
    where the reader finds out more, such as a file in /proc or a call of the kit. Each is a clause of one
    sentence.
    """

    def __init__(self, observed: str, expected: str = "", look: str = "") -> None:
        super().__init__(observed)
        self.observed, self.expected, self.look = observed, expected, look

    def sentence(self, goal: str = "") -> str:
        """The whole line: "observed; expected. Look at ..."."""
        expected = self.expected or goal
        parts = [self.observed + (f"; expected {expected}" if expected else "") + "."]
        if self.look:
            parts.append(f"Look at {self.look}.")
        return " ".join(" ".join(parts).split())


def marked_up(text: str) -> str:
    """Text as HTML, with `backticks` as code. Everything else is escaped."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))


def box(colour: str, body: str) -> str:
    """One block of a notebook's output with a coloured edge; readable on light and dark pages."""
    return f'<div style="{_BOX.format(colour=colour)}">{body}</div>'


@dataclass(frozen=True)
class Feedback:
    """The answer of `Exercise.check`; true when the exercise is solved."""

    name: str
    passed: bool
    sentence: str
    note: str = ""

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        verdict = "✔ solved" if self.passed else "✘ not yet"
        return f"{verdict} · {self.name} · {self.sentence}" + (f" ({self.note})" if self.note else "")

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        verdict, colour = ("✔ solved", _SOLVED) if self.passed else ("✘ not yet", _NOT_YET)
        note = f"<br><small>{marked_up(self.note)}</small>" if self.note else ""
        body = f"<b>{verdict}</b> · {self.name} · " + measured(marked_up(self.sentence) + note)
        return {
            "text/plain": f"{verdict} · {self.name}" if self.passed else str(self),
            "text/html": box(colour, body),
        }


@dataclass(frozen=True)
class Hints:
    """The hints given so far in this attempt, oldest first; the last of all is the solution's code."""

    name: str
    given: tuple[str, ...]
    total: int
    solution: str = ""

    def __str__(self) -> str:
        lines = [f"hint {number} of {self.total} · {text}" for number, text in enumerate(self.given, 1)]
        if self.solution:
            lines.append(f"the solution\n{self.solution}")
        elif len(self.given) == self.total:
            lines.append("The next hint is the solution.")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        items = "".join(f"<li>{marked_up(text)}</li>" for text in self.given)
        body = f"<b>Hints</b> · {self.name}<ol style='margin:0'>{items}</ol>"
        if self.solution:
            body += f"<b>The solution</b><pre>{html.escape(self.solution)}</pre>"
        elif len(self.given) == self.total:
            body += "<small>The next hint is the solution.</small>"
        return {"text/plain": str(self), "text/html": box(_HINT, body)}
