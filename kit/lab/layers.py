"""An image as a still picture: its layers, what each did to which files, and the bytes that are wasted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from matplotlib.axes import Axes

from kit.images.explore import Exploration, Explored, How, Wasted
from kit.lab.explored import MARKS, Node, note, printable, size_of, tree, unfold
from kit.lab.palette import BLUE, GREEN, INK, RULE, VERMILLION
from kit.lab.picture import Picture, canvas
from kit.lab.tree import box, count, cut, fit, rule, text_width, write
from kit.show import size

WIDTH, HEAD, ROW, GAP = 800, 30, 21, 10  # CSS pixels
BAR, SIZES, COUNTS, LINE = 34, 194, 264, 366  # where the columns of a layer's line begin
FILES, SIZE_END = 60, 592  # where a file's name begins, and its size ends
FULL = 150  # the bar of the whole image
MOST, MOST_WASTED = 42, 6  # rows of files in all
Row = tuple[str, str, str, How | None]  # a path, its size, a note, what happened to it
HUES: dict[How, str] = {"added": GREEN, "changed": BLUE, "removed": VERMILLION}


def draw(found: Exploration, wasted: Sequence[Wasted], title: str) -> Picture:
    """The still picture of an image that was explored, and of what is ``wasted``, largest first."""
    wasted = wasted[:MOST_WASTED]
    each = max(1, min(8, MOST // max(1, len(found.layers))))
    blocks = [(layer, frontier(tree(layer.changes), each)) for layer in found.layers]
    height = sum(HEAD + ROW * len(rows) + GAP for _, rows in blocks)
    figure, axes = canvas(WIDTH, 58 + height + (HEAD + ROW * len(wasted) + GAP if wasted else 0))
    write(axes, 12, 18, title, bold=True, size=11.5)
    write(axes, 12, 40, headline(found), size=9.5)
    y, done = 58.0, 0
    for layer, rows in blocks:
        _layer(axes, layer, y, done, found)
        for index, row in enumerate(rows):
            _row(axes, y + HEAD + ROW * (index + 0.5), *row)
        y += HEAD + ROW * len(rows) + GAP
        done += layer.unpacked
    if wasted:
        rule(axes, 8, WIDTH - 8, y)
        write(axes, 12, y + HEAD / 2, "wasted: kept and sent, but hidden by a later layer", bold=True)
    for index, one in enumerate(wasted):
        _row(axes, y + HEAD + ROW * (index + 0.5), one.path, size(one.size), str(one))
    said = [f"{title}: {headline(found)}."]
    for layer in found.layers:
        counts = ", ".join(f"{layer.count(how):,} {how}" for how in MARKS if layer.count(how)) or "no files"
        line = cut(instruction(layer.created_by))
        said.append(f"Layer {layer.number}, {size(layer.unpacked)}, {line}: {counts}.")
    said += [f"Wasted: {one.path}, {size(one.size)} of {one}." for one in wasted[:3]]
    return Picture(figure, title, " ".join(said))


def _layer(axes: Axes, layer: Explored, y: float, done: int, found: Exploration) -> None:
    middle, x = y + HEAD / 2, float(COUNTS)
    rule(axes, 8, WIDTH - 8, y)
    write(axes, 12, middle, str(layer.number), bold=True, size=11)
    _bar(axes, layer, middle, done, found)
    write(axes, SIZES, middle, size(layer.unpacked), bold=True)
    for how, mark in MARKS.items():
        if number := layer.count(how):
            text = f"{mark}{number:,}"
            width = text_width(text, size=9) + 8
            box(axes, x, middle - 8, width, 16, HUES[how], fill=0.2, edge=0)
            write(axes, x + 4, middle, text, size=9)
            x += width + 5
    x = max(x + 9, LINE)
    write(axes, x, middle, fit(instruction(layer.created_by), WIDTH - x - 12))


def _bar(axes: Axes, layer: Explored, middle: float, done: int, found: Exploration) -> None:
    """The layer's part of the whole; what a later layer hides of it is hatched."""
    box(axes, BAR, middle - 5, FULL, 10, RULE, fill=0.16, edge=0)
    if not layer.unpacked:
        return
    scale = FULL / found.unpacked
    width = max(2.5, scale * layer.unpacked)
    end = min(BAR + scale * done + width, BAR + FULL)
    box(axes, end - width, middle - 5, width, 10, GREEN, fill=0.9, edge=0, radius=2)
    hidden = scale * found.wasted_in(layer.number)
    if hidden > 2:
        box(axes, end - hidden, middle - 5, hidden, 10, VERMILLION, fill=1, edge=0, radius=2)
        for x in range(3, int(hidden) - 2, 5):
            xs = [end - hidden + x, end - hidden + x + 3]
            axes.plot(xs, [middle + 4, middle - 4], color="white", linewidth=1.2, zorder=2)


def _row(axes: Axes, y: float, path: str, figure: str, more: str, how: How | None = None) -> None:
    shown = fit(path, SIZE_END - FILES - text_width(figure) - 14)
    if how:
        box(axes, BAR, y - 8, 16, 16, HUES[how], fill=0.28, edge=0)
        write(axes, BAR + 8, y, MARKS[how], bold=True, align="center")
    if how == "removed":
        axes.plot([FILES, FILES + text_width(shown)], [y, y], color=INK, linewidth=1)
    write(axes, FILES, y, shown)
    write(axes, SIZE_END, y, figure, size=9.5, align="right")
    write(axes, SIZE_END + 12, y, fit(more, WIDTH - SIZE_END - 20, 9), size=9)


def frontier(root: Node, rows: int) -> list[Row]:
    """At most so many rows that together stand for all that changed; the last may stand for several."""
    _, shown = unfold(root, rows)
    if len(shown) > rows:
        rest = shown[rows - 1 :]
        counts = sum((node.counts for node in rest), Counter[How]())
        total = sum(node.size for node in rest)
        shown[rows - 1 :] = [Node(f"… {len(rest):,} more", size=total, counts=counts)]
    found: list[Row] = []
    for node in shown:
        is_directory = node.below or (node.file and node.file.kind == "directory")
        found.append((node.path + "/" * bool(is_directory), size_of(node), note(node), node.how))
    return found


def headline(found: Exploration) -> str:
    """The image in one line."""
    layers, packed = count(len(found.layers), "layer"), size(found.image.size)
    lost = f"{size(found.wasted_bytes)} of it" if found.wasted else "nothing"
    efficiency = f"; efficiency {100 * found.efficiency:.1f} %" if found.wasted else ""
    return f"{layers}, {packed} packed, {size(found.unpacked)} unpacked, {lost} wasted{efficiency}"


def instruction(created_by: str) -> str:
    """A line of the history as the Dockerfile had it: without what builders put round the instruction."""
    text = printable(" ".join(created_by.split())).removesuffix("# buildkit").rstrip()
    text = re.sub(r"^/bin/sh -c #\(nop\) *", "", text)
    return re.sub(r"^(RUN )?/bin/sh -c ", "RUN ", text) or "(the history does not say)"
