"""An image as a still picture: its layers, what each did to which files, and the bytes that are wasted."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from matplotlib.axes import Axes

from kit.images.explore import Exploration, Explored, How
from kit.lab.explored import MARKS, Lost, Node, note, printable, size_of, telling, tree
from kit.lab.palette import BLUE, GREEN, INK, RULE, VERMILLION
from kit.lab.picture import Picture, canvas
from kit.lab.tree import box, count, text_width, write
from kit.show import size

WIDTH, HEAD, ROW = 800, 30, 21  # CSS pixels
BAR, BAR_LEFT = 150, 34
SIZES, COUNTS = 194, 264  # where the columns of a layer's line begin
FILES, SIZE_END = 60, 592  # where a file's name begins, and its size ends
MOST, MOST_WASTED = 42, 6  # rows of files in all
LONGEST = 300  # characters of an instruction
HUES: dict[How, str] = {"added": GREEN, "changed": BLUE, "removed": VERMILLION}


def draw(found: Exploration, wasted: Sequence[Lost], title: str) -> Picture:
    """The still picture of an image that was explored, and of what is ``wasted``, largest first."""
    each = min(8, MOST // max(1, len(found.layers)))
    blocks = [(layer, frontier(tree(layer.changes), each) if each else []) for layer in found.layers]
    line = max([COUNTS, *(x for layer in found.layers for _, _, x in _chips(layer))]) + 14
    height = 58 + sum(HEAD + ROW * len(rows) + 10 for _, rows in blocks)
    height += (HEAD + ROW * len(wasted[:MOST_WASTED])) if wasted else 0
    figure, axes = canvas(WIDTH, height + 8)
    write(axes, 12, 18, title, bold=True, size=11.5)
    write(axes, 12, 40, headline(found), size=9.5)
    y, done = 58.0, 0
    for layer, rows in blocks:
        _layer(axes, layer, y, done, found, line)
        y += HEAD
        for node, path in rows:
            _file(axes, node, path, y + ROW / 2)
            y += ROW
        y += 10
        done += layer.unpacked
    if wasted:
        axes.plot([8, WIDTH - 8], [y, y], color=RULE, linewidth=0.7, alpha=0.6)
        write(axes, 12, y + HEAD / 2, "wasted: kept and sent, but hidden by a later layer", bold=True)
        for index, one in enumerate(wasted[:MOST_WASTED]):
            _wasted(axes, one, y + HEAD + ROW * (index + 0.5))
    return Picture(figure, title, words(found, wasted, title))


def _layer(axes: Axes, layer: Explored, y: float, done: int, found: Exploration, line: float) -> None:
    middle = y + HEAD / 2
    axes.plot([8, WIDTH - 8], [y, y], color=RULE, linewidth=0.7, alpha=0.6)
    write(axes, 12, middle, str(layer.number), bold=True, size=11)
    box(axes, BAR_LEFT, middle - 5, BAR, 10, RULE, fill=0.16, edge=0)
    _bar(axes, layer, middle, done, found)
    write(axes, SIZES, middle, size(layer.unpacked), bold=True)
    for how, start, end in _chips(layer):
        box(axes, start, middle - 8, end - start, 16, HUES[how], fill=0.2, edge=0)
        write(axes, start + 4, middle, f"{MARKS[how]}{layer.count(how):,}", size=9)
    write(axes, line, middle, fit(instruction(layer.created_by), WIDTH - line - 12))


def _bar(axes: Axes, layer: Explored, middle: float, done: int, found: Exploration) -> None:
    """The layer's part of the whole; what a later layer hides of it is hatched."""
    if not layer.unpacked:
        return
    scale = BAR / found.unpacked
    width = max(2.5, scale * layer.unpacked)
    start = min(BAR_LEFT + scale * done, BAR_LEFT + BAR - width)
    box(axes, start, middle - 5, width, 10, GREEN, fill=0.9, edge=0, radius=2)
    hidden = scale * sum(one.size for one in found.wasted if one.layer == layer.number)
    if hidden > 2:
        box(axes, start + width - hidden, middle - 5, hidden, 10, VERMILLION, fill=1, edge=0, radius=2)
        for x in range(3, int(hidden) - 2, 5):
            at = start + width - hidden + x
            axes.plot([at, at + 3], [middle + 4, middle - 4], color="white", linewidth=1.2, zorder=2)


def _chips(layer: Explored) -> list[tuple[How, float, float]]:
    """What the layer did as (how, left, right), in CSS pixels."""
    found, x = [], float(COUNTS)
    for how, mark in MARKS.items():
        if number := layer.count(how):
            width = text_width(f"{mark}{number:,}", size=9) + 8
            found.append((how, x, x + width))
            x += width + 5
    return found


def _file(axes: Axes, node: Node, path: str, y: float) -> None:
    said = size_of(node)
    shown = fit(path, SIZE_END - FILES - text_width(said) - 14)
    if node.how:
        box(axes, BAR_LEFT, y - 8, 16, 16, HUES[node.how], fill=0.28, edge=0)
        write(axes, BAR_LEFT + 8, y, MARKS[node.how], bold=True, align="center")
    if node.how == "removed":
        axes.plot([FILES, FILES + text_width(shown)], [y, y], color=INK, linewidth=1)
    write(axes, FILES, y, shown)
    write(axes, SIZE_END, y, said, size=9.5, align="right")
    write(axes, SIZE_END + 12, y, fit(note(node), WIDTH - SIZE_END - 20, 9), size=9)


def _wasted(axes: Axes, one: Lost, y: float) -> None:
    write(axes, FILES, y, fit(one.path, SIZE_END - FILES - 80))
    write(axes, SIZE_END, y, size(one.size), size=9.5, align="right")
    write(axes, SIZE_END + 12, y, str(one), size=9)


def frontier(root: Node, rows: int) -> list[tuple[Node, str]]:
    """About so many nodes that together stand for all that changed, with their paths."""
    found: list[tuple[Node, str]] = []
    opened = set(telling(root, rows))

    def visit(node: Node, path: str) -> None:
        for child in node.children:
            below = path + printable(child.name)
            if child in opened:
                visit(child, below + "/")
            else:
                is_directory = child.children or (child.file and child.file.kind == "directory")
                found.append((child, below + "/" if is_directory else below))

    visit(root, "")
    if len(found) > rows:
        rest = found[rows - 1 :]
        last = Node("")
        last.children = [node for node, _ in rest]
        for node in last.children:
            last.size += node.size
            for how in MARKS:
                setattr(last, how, getattr(last, how) + getattr(node, how))
        found[rows - 1 :] = [(last, f"… {len(rest):,} more")]
    return found


def headline(found: Exploration) -> str:
    """The image in one line."""
    layers, packed = count(len(found.layers), "layer"), size(found.image.size)
    text = f"{layers}, {packed} packed, {size(found.unpacked)} unpacked"
    wasted = found.wasted_bytes
    return (
        f"{text}, {size(wasted)} of it wasted; efficiency {100 * found.efficiency:.1f} %"
        if wasted
        else f"{text}, nothing wasted"
    )


def instruction(created_by: str) -> str:
    """A line of the history as the Dockerfile had it: without what builders put round the instruction."""
    text = printable(" ".join(created_by.split())).removesuffix("# buildkit").rstrip()
    for before, after in (("/bin/sh -c #(nop) ", ""), ("/bin/sh -c ", "RUN "), ("RUN /bin/sh -c ", "RUN ")):
        if text.startswith(before):
            text = after + text.removeprefix(before)
            break
    text = text if len(text) <= LONGEST else text[:LONGEST] + "…"
    return text or "(the history does not say)"


def fit(text: str, width: float, points: float = 10) -> str:
    """As much of a line as fits into so many CSS pixels."""
    if text_width(text, size=points) <= width:
        return text
    lengths = range(min(len(text), LONGEST))
    length = bisect_right(lengths, width, key=lambda one: text_width(text[:one] + "…", size=points)) - 1
    return text[: max(0, length)].rstrip() + "…"


def words(found: Exploration, wasted: Sequence[Lost], title: str) -> str:
    """The picture in sentences."""
    said = [f"{title}: {headline(found)}."]
    for layer in found.layers:
        counts = ", ".join(f"{layer.count(how):,} {how}" for how in MARKS if layer.count(how)) or "no files"
        said.append(
            f"Layer {layer.number}, {size(layer.unpacked)}, {instruction(layer.created_by)}: {counts}."
        )
    said += [f"Wasted: {one.path}, {size(one.size)} of {one}." for one in wasted[:3]]
    return " ".join(said)
