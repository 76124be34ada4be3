"""The same question asked in several places, answers side by side."""

from __future__ import annotations

from html import escape
from typing import Any

from kit.show import Card, measured

_CELL = "text-align:left;vertical-align:top;padding:.3em 1.4em .3em 0;border:0;background:none"
_PRE = "margin:0;white-space:pre-wrap;background:none;line-height:1.35"


def side_by_side(title: str, **columns: Any) -> Card:
    """Show values in columns: ``side_by_side("hostname", outside=there, inside=here)``.

    A value may be text, a Result, a table or a picture. An underscore in a column's name is shown as a space.
    Raises ValueError for fewer than two columns.
    """
    if len(columns) < 2:
        raise ValueError(
            f"side_by_side: {len(columns)} columns; give two or more, such as outside=..., inside=..."
        )
    names = [name.replace("_", " ") for name in columns]
    head = "".join(f'<th scope="col" style="{_CELL}">{escape(name)}</th>' for name in names)
    body = "".join(f'<td style="{_CELL}">{_html(value)}</td>' for value in columns.values())
    html = (
        f'<table style="border-collapse:collapse;margin:.4em 0">'
        f'<caption style="text-align:left;font-weight:600">{escape(title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody><tr>{body}</tr></tbody></table>"
    )
    text = "\n".join(f"{name}:\n{value}" for name, value in zip(names, columns.values(), strict=True))
    return Card(f"{title}: {', '.join(names)}", html, f"{title}\n{text}")


def _html(value: Any) -> str:
    show = getattr(value, "_repr_mimebundle_", None)
    if show is not None:
        bundle = show()
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if "text/html" in data:
            return str(data["text/html"])
    return measured(f'<pre style="{_PRE}">{escape(str(value).rstrip())}</pre>')
