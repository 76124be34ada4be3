"""How a value shows itself: aligned text in a terminal, a table in a notebook.

A notebook that is run again should only differ where something was measured. So an object shown in a cell has
a fixed ``text/plain``, and in its ``text/html`` each measured part stands between the two comments of
:func:`measured`, where a comparison (nbval's ``--nbval-sanitize-with``) can cut it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

MARK_START, MARK_END = "<!--m-->", "<!--/m-->"

_TABLE = "border-collapse:collapse;margin:.4em 0;font-variant-numeric:tabular-nums"
_TITLE = "text-align:left;font-weight:600;white-space:nowrap"
_LINE = "border-bottom:1px solid rgba(128,128,128,.35)"
_CELL = f"text-align:left;vertical-align:top;padding:.2em .9em .2em 0;{_LINE}"


def measured(html: str) -> str:
    """Mark a piece of HTML as measured in this run: it may differ in the next one."""
    return f"{MARK_START}{html}{MARK_END}"


def size(count: int) -> str:
    """Bytes in units of 1000, three digits, as Docker writes them: ``0 B``, ``742 B``, ``7.05 MB``."""
    value, units = float(count), iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while abs(value) >= 999.5 and unit != "TB":
        value, unit = value / 1000, next(units)
    return f"{count} B" if unit == "B" else f"{value:.3g} {unit}"


class Card:
    """Something to show: a fixed title, HTML for a notebook, text for a terminal."""

    def __init__(self, title: str, html: str, text: str) -> None:
        self.title, self.html, self.text = title, html, text

    def __str__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": self.title, "text/html": self.html}


class Table(Card):
    """Rows under named columns. Cells are shown by ``str``; the whole body counts as measured.

    ``rows`` is a sequence of sequences as long as ``columns``; ``note`` is one line below the table.
    """

    def __init__(
        self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], note: str = ""
    ) -> None:
        self.columns = list(columns)
        self.rows = [[str(cell) for cell in row] for row in rows]
        self.note = note
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {title!r}: a row of {len(row)} cells under {len(self.columns)} columns: {row}"
                )
        super().__init__(title, self._html(title), self._text(title))

    def _html(self, title: str) -> str:
        head = "".join(f'<th scope="col" style="{_CELL}">{escape(name)}</th>' for name in self.columns)
        body = "".join(
            "<tr>"
            + "".join(f'<td style="{_CELL};white-space:pre-wrap">{escape(cell)}</td>' for cell in row)
            + "</tr>"
            for row in self.rows
        )
        note = f"<div>{measured(escape(self.note))}</div>" if self.note else ""
        return (
            f'<table style="{_TABLE}"><caption style="{_TITLE}">{escape(title)}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{measured(body)}</tbody></table>{note}"
        )

    def _text(self, title: str) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        shown = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([title, *shown] + ([self.note] if self.note else []))
