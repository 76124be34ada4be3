"""Trees as pictures: one row for each node, joined by elbows, with columns of figures beside the names."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch
from matplotlib.textpath import TextToPath

from kit.lab.palette import BLUE, GREEN, INK, RULE, VERMILLION
from kit.lab.picture import CSS_DPI, Picture, canvas

ROW, INDENT, GAP, SIZE = 26, 22, 22, 10  # CSS pixels; the last in points
BAR = 110
LONGEST = 60  # characters of a name or a figure; the rest is an ellipsis


class Bar(NamedTuple):
    """A share from 0 to 1 and what it says. Where a full bar is trouble, it turns vermillion above nine
    tenths.
    """

    share: float
    said: str
    full_is_trouble: bool = False


@dataclass
class Node:
    """One row: a name, ``cells`` in columns, a ``bar`` in the last one."""

    name: str
    cells: Sequence[str] = ()
    children: list[Node] = field(default_factory=list)
    marked: bool = False
    bar: Bar | None = None

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Node]]:
        """Every node below and this one first, with its depth."""
        yield depth, self
        for child in self.children:
            yield from child.walk(depth + 1)


def draw_tree(
    roots: Sequence[Node], columns: Sequence[str], *, title: str, alt: str, marked: str = ""
) -> Picture:
    """Draw trees below each other. ``columns`` names the cells and, where there are bars, the bar's column
    last.

    ``marked`` says what a marked node means.
    """
    rows = [(depth, node) for root in roots for depth, node in root.walk()]
    bars = any(node.bar for _, node in rows)
    marked = marked if any(node.marked for _, node in rows) else ""
    left = 12 + max(depth * INDENT + text_width(cut(node.name), bold=True) for depth, node in rows) + GAP
    starts = []
    for index, column in enumerate(columns):
        starts.append(left)
        cells = [cut(node.cells[index]) for _, node in rows if index < len(node.cells)]
        left += max([text_width(column), *map(text_width, cells)]) + GAP
    if bars:
        left += (
            BAR
            - text_width(columns[-1])
            + max(text_width(node.bar.said) for _, node in rows if node.bar)
            + 10
        )
    height = ROW * (len(rows) + 1) + (ROW if marked else 0) + 6
    figure, axes = canvas(max(left, 360), height)
    for start, column in zip(starts, columns, strict=True):
        write(axes, start, ROW / 2, column, size=9)
    rule(axes, 8, max(left, 360) - 8, ROW)
    ends: dict[int, float] = {}  # depth -> where the last node of that depth stands
    for index, (depth, node) in enumerate(rows):
        y = ROW * (index + 1.5)
        _row(axes, depth, node, y, ends, starts, max(left, 360))
        ends[depth] = y
    if marked:
        y = height - ROW / 2 - 3
        _tint(axes, 12, y, 22)
        write(axes, 42, y, marked, size=9)
    return Picture(figure, title, alt)


def _row(
    axes: Axes,
    depth: int,
    node: Node,
    y: float,
    ends: dict[int, float],
    starts: Sequence[float],
    width: float,
) -> None:
    x = 12 + depth * INDENT
    if node.marked:
        _tint(axes, x - 5, y, width - x - 3)
    if depth:
        trunk = x - INDENT + 6
        top = max(ends[depth - 1] + 9, ends.get(depth, 0) if ends.get(depth, 0) > ends[depth - 1] else 0)
        axes.plot([trunk, trunk, x - 4], [top, y, y], color=RULE, linewidth=1.1, solid_joinstyle="round")
    write(axes, x, y, cut(node.name), bold=True)
    for start, cell in zip(starts, node.cells, strict=False):
        write(axes, start, y, cut(cell))
    if node.bar:
        share, said, full_is_trouble = node.bar
        start = starts[-1]
        full = min(1.0, max(0.0, share))
        colour = VERMILLION if full_is_trouble and share > 0.9 else GREEN
        box(axes, start, y - 5, BAR, 10, RULE, fill=0.18, edge=0)
        if full > 0:
            box(axes, start, y - 5, max(BAR * full, 3), 10, colour, fill=0.9, edge=0)
        write(axes, start + BAR + 10, y, said)


def _tint(axes: Axes, x: float, y: float, width: float) -> None:
    box(axes, x, y - ROW / 2 + 2, width, ROW - 4, BLUE, fill=0.16, edge=0)


def box(
    axes: Axes,
    x: float,
    y: float,
    width: float,
    height: float,
    colour: str,
    *,
    fill: float,
    edge: float,
    dash: str = "-",
    radius: float = 3,
    layer: float = 1,
) -> None:
    """A rounded box; ``fill`` is the opacity of its face, ``edge`` the width of its line in points, which
    ``dash`` may break.
    """
    shape = f"round,pad=0,rounding_size={min(radius, height / 2)}"
    face = (colour, fill)
    axes.add_patch(
        FancyBboxPatch((x, y), width, height, boxstyle=shape, facecolor=face, edgecolor=colour,
                       linewidth=edge, linestyle=dash, zorder=layer)
    )  # fmt: skip


def rule(axes: Axes, start: float, end: float, y: float) -> None:
    """A thin line across."""
    axes.plot([start, end], [y, y], color=RULE, linewidth=0.7, alpha=0.6)


def write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    *,
    bold: bool = False,
    size: float = SIZE,
    align: str = "left",
    colour: str = INK,
) -> None:
    """A line of text at a place in CSS pixels, vertically centred."""
    axes.text(x, y, text, ha=align, va="center_baseline", color=colour, fontsize=size,
              fontweight="bold" if bold else "normal", parse_math=False)  # fmt: skip


def cut(text: str) -> str:
    """At most LONGEST characters, without line breaks."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def fit(text: str, width: float, size: float = SIZE) -> str:
    """As much of a line as fits into so many CSS pixels."""
    if text_width(text, size=size) <= width:
        return text
    length = bisect(range(len(text)), width, key=lambda end: text_width(f"{text[:end]}…", size=size)) - 1
    return text[: max(0, length)].rstrip() + "…"


def short(command: Sequence[str]) -> str:
    """A command line for a narrow column: paths cut down to the file's name."""
    return cut(" ".join(word.rpartition("/")[2] if word.startswith("/") else word for word in command))


def count(number: int, noun: str = "process") -> str:
    """A number with its noun: 1 process, 2 processes, 1 group, 2 groups."""
    plural = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{plural}"


@lru_cache(maxsize=4096)
def text_width(text: str, bold: bool = False, size: float = SIZE) -> float:
    """Width of a line of text in CSS pixels."""
    properties = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal", size=size)
    width, _, _ = TextToPath().get_text_width_height_descent(text or " ", properties, False)
    return float(width) * CSS_DPI / 72
