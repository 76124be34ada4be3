"""Tables that are drawn while a cell is at work, and their style with them.

They are made of ``div``, as JupyterLab has a look of its own for every ``table``, and count as measured: each
run has other rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from kit.lab.canvas import STATIC
from kit.show import measured


def row(look: str, cells: Mapping[str, str]) -> str:
    """One row; ``cells`` maps what a cell is, which styles it, to its HTML."""
    inner = " ".join(f'<div role="cell" class="kit-{name}">{html}</div>' for name, html in cells.items())
    return f'<div role="row" class="kit-{look}">{inner}</div>'


def table(css: str, classes: str, title: str, said: str, body: str, above: str = "") -> str:
    """All of it: title, and beside it what is ``said`` in plain text, then ``above`` and the rows as HTML."""
    style = f"<style>{(STATIC / css).read_text()}</style>"
    head = f"<header><strong>{escape(title)}</strong> <span>{said}</span></header>"
    rows = f'<div role="table" aria-label="{escape(title)}">{body}</div>'
    return measured(f'{style}<div class="{classes}">{head}{above}{rows}</div>')
