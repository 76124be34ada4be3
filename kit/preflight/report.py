"""The report: rows that show themselves as text, as a table in a notebook, and as JSON."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from typing import Any

from kit.preflight.row import Row
from kit.show import measured

TITLE = "What this machine can do for the course"
#: The chapters that are judged: what they need must work for the report to be ``ok``.
PRESENT = ("00", "03", "04", "05", "06", "07")

_SIGN = {"yes": "✔ yes", "partly": "◐ partly", "no": "✘ no"}
# Mid-tones of the Okabe-Ito palette that stand out on white and on dark; the sign and the word say the same
# without colour.
_COLOUR = {"yes": "#009E73", "partly": "#E69F00", "no": "#D55E00"}
_CELL = (
    "text-align:left;vertical-align:top;padding:.2em .9em .2em 0;"
    "border-bottom:1px solid rgba(128,128,128,.35)"
)


class Report:
    """What the probes found.

    ``rows`` is the list of :class:`Row`; ``ok`` is True when everything that the chapters in
    :data:`PRESENT` need works fully.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = list(rows)

    def __getitem__(self, name: str) -> Row:
        """The row of that name. Raises KeyError, naming those there are."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no row is called {name!r}; there are {', '.join(row.name for row in self.rows)}")

    @property
    def missing(self) -> list[Row]:
        """The rows that the present chapters need and that do not work fully."""
        return [row for row in self.rows if row.works != "yes" and set(row.chapters) & set(PRESENT)]

    @property
    def ok(self) -> bool:
        return not self.missing

    @property
    def verdict(self) -> str:
        """One sentence: can the present chapters run here?"""
        chapters = f"{', '.join(PRESENT[:-1])} and {PRESENT[-1]}"
        if self.ok:
            return f"Everything that chapters {chapters} need works on this machine."
        names = ", ".join(row.name for row in self.missing)
        return f"Chapters {chapters} need more than this machine offers now. Missing: {names}."

    def to_json(self) -> str:
        """A JSON object: ``ok``, ``verdict``, ``chapters`` (those judged), ``rows`` (the fields of Row)."""
        found = {
            "ok": self.ok,
            "verdict": self.verdict,
            "chapters": PRESENT,
            "rows": [asdict(row) for row in self.rows],
        }
        return json.dumps(found, indent=2, ensure_ascii=False)

    def __str__(self) -> str:
        room = max(len(row.name) for row in self.rows) if self.rows else 0
        margin = " " * (room + 12)
        width = max(len(margin) + 40, shutil.get_terminal_size((110, 24)).columns)
        lines = [TITLE, ""]
        for row in self.rows:
            head = f"{_SIGN[row.works]:<9} {row.name:<{room}}  "
            chapters = f" [needed by {' '.join(row.chapters)}]" if row.chapters else ""
            text = head + row.detail + chapters
            lines += textwrap.wrap(text, width, subsequent_indent=margin, break_on_hyphens=False)
            if row.remedy:
                lines.append(f"{margin}→ {row.remedy}")  # in one line, so that a command can be copied
        return "\n".join([*lines, "", self.verdict])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": TITLE, "text/html": self._html()}

    def _html(self) -> str:
        head = "".join(
            f'<th scope="col" style="{_CELL}">{name}</th>'
            for name in ("works", "what", "what was seen", "chapters")
        )
        body = "".join(_html_row(row) for row in self.rows)
        return (
            '<table style="border-collapse:collapse;margin:.4em 0">'
            f'<caption style="text-align:left;font-weight:600">{TITLE}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{measured(body)}</tbody></table>"
            f"<p>{measured(f'<b>{escape(self.verdict)}</b>')}</p>"
        )


def _html_row(row: Row) -> str:
    sign = (
        f'<span style="border-left:.35em solid {_COLOUR[row.works]};padding-left:.4em;white-space:nowrap">'
        f"{_SIGN[row.works]}</span>"
    )
    remedy = f'<br><span style="font-size:92%">→ {escape(row.remedy)}</span>' if row.remedy else ""
    cells = (sign, escape(row.name), escape(row.detail) + remedy, escape(" ".join(row.chapters) or "–"))
    return "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>"
