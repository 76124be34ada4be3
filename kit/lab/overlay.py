"""The overlay picture: a mounted image's directories above one another, and where each file comes from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from matplotlib.axes import Axes

from kit.images.image import Image
from kit.images.rootfs import Rootfs
from kit.lab.explored import printable
from kit.lab.layers import fit
from kit.lab.levels import Cell, Level, levels, look, real, seen, telling
from kit.lab.palette import BLUE, GREEN, INK, RULE, VERMILLION
from kit.lab.picture import Picture, canvas
from kit.lab.tree import box, write

WIDTH, LEFT, HEAD, ROW, PAD = 800, 158, 54, 66, 8  # CSS pixels
MOST = 5  # paths


def overlay(
    source: Rootfs | Image, paths: Sequence[str] = (), title: str = "one tree out of several"
) -> Picture:
    """Draw a mounted image (with its upper directory), or an image's layers, for at most five ``paths``.

    Without ``paths``, telling ones are looked for: changed, removed, added, untouched. Raises ValueError for
    more than five, and for an image what :meth:`kit.images.snapshots.Snapshots.hold` does.
    """
    chosen = [path.strip("/") for path in paths]
    if len(chosen) > MOST or not all(chosen) or any(".." in path.split("/") for path in chosen):
        raise ValueError(f"overlay: give one to {MOST} paths inside the image, such as 'etc/passwd'")
    with ExitStack() as held:
        stack = levels(source, held)
        directories = [level.directory for level in stack]
        chosen = [real(path, directories) for path in chosen] or telling(directories, MOST)
        columns = [(path, [look(directory, path) for directory in directories]) for path in chosen]
    return _draw(stack, columns, title)


def _draw(stack: Sequence[Level], columns: Sequence[tuple[str, list[Cell]]], title: str) -> Picture:
    height = HEAD + ROW * (len(stack) + 1) + 14
    figure, axes = canvas(WIDTH, height)
    step = (WIDTH - LEFT - 12) / max(1, len(columns))
    for row, (name, note) in enumerate(
        [("merged", "what one sees"), *((one.name, one.note) for one in stack)]
    ):
        y = HEAD + ROW * row + (0 if row == 0 else 10)
        box(axes, 8, y, WIDTH - 16, ROW - PAD, RULE, fill=0.10, edge=0 if row else 1.2, radius=6, layer=0.2)
        write(axes, 20, y + 20, name, bold=True)
        write(axes, 20, y + 38, fit(note, LEFT - 30, 8.5), size=8.5)
    for number, (path, cells) in enumerate(columns):
        _column(axes, LEFT + step * number, step - 10, path, cells, [one.name for one in stack])
    return Picture(figure, title, words(stack, columns, title))


def _column(
    axes: Axes, x: float, width: float, path: str, cells: Sequence[Cell], names: Sequence[str]
) -> None:
    directory, _, name = printable(path).rpartition("/")
    middle, top = x + width / 2, HEAD + ROW - PAD
    write(axes, middle, 18, fit(name, width), bold=True, align="center")
    write(axes, middle, 36, fit(f"/{directory}", width, 8.5), size=8.5, align="center")
    source = seen(cells)
    stop = source if source is not None else next((i for i, one in enumerate(cells) if one.covers), None)
    hue = VERMILLION if source is None else _hue(names[source])
    if stop is not None:
        axes.plot([middle, middle], [top - 4, _top(stop) + 6], color=hue, linewidth=2.4, zorder=0.5,
                  linestyle="-" if source is not None else (0, (2, 1.5)))  # fmt: skip
    if source is None:
        _cell(axes, x, HEAD, width, INK, "nothing", "", solid=False)
    else:
        _cell(axes, x, HEAD, width, hue, cells[source].said, f"from {names[source]}", solid=True)
    for index, cell in enumerate(cells):
        if cell.kind:
            solid, whiteout = index == stop, cell.kind == "whiteout"
            said = cell.said if solid else f"{cell.said}, hidden"
            hue = VERMILLION if whiteout else _hue(names[index])
            _cell(axes, x, _top(index), width, hue, said, cell.content, solid=solid, cross=whiteout)
    below = next((i for i, one in enumerate(cells[1:], 1) if one.kind), None)
    if (
        names[0] == "upper"
        and source == 0
        and cells[0].kind == "file"
        and below
        and cells[below].kind == "file"
    ):
        _copied_up(axes, x + width - 12, _top(below) + 2, _top(0) + ROW - PAD - 2)


def _top(index: int) -> float:
    return HEAD + ROW * (index + 1) + 10


def _hue(name: str) -> str:
    return BLUE if name == "upper" else GREEN


def _cell(axes: Axes, x: float, y: float, width: float, hue: str, said: str, more: str, *, solid: bool,
          cross: bool = False) -> None:  # fmt: skip
    """A file in a directory: filled where it is seen, dashed where something above hides it."""
    y, height = y + 6, ROW - PAD - 12
    box(axes, x, y, width, height, hue, fill=0.30 if solid else 0.04, edge=0, radius=4)
    xs, ys = [x, x + width, x + width, x, x], [y, y, y + height, y + height, y]
    axes.plot(
        xs,
        ys,
        color=hue,
        linewidth=1.8 if solid else 1.1,
        linestyle="-" if solid else (0, (3, 2.5)),
        zorder=1.2,
    )
    if cross:
        for one in ([x, x + width], [x + width, x]):
            axes.plot(one, [y, y + height], color=hue, linewidth=0.8, alpha=0.28, zorder=1.1)
    write(
        axes,
        x + width / 2,
        y + (15 if more else height / 2),
        fit(said, width - 8),
        bold=solid,
        align="center",
    )
    if more:
        write(axes, x + width / 2, y + 33, fit(more, width - 10, 8.5), size=8.5, align="center")


def _copied_up(axes: Axes, x: float, start: float, end: float) -> None:
    """An arrow from the lower file to the upper one: the kernel copied it before it was changed."""
    look = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.6, "mutation_scale": 12}
    axes.annotate("", (x, end), (x, start), arrowprops=look, zorder=3)
    write(axes, x - 8, (start + end) / 2, "copied up", size=8.5, align="right")


def words(stack: Sequence[Level], columns: Sequence[tuple[str, list[Cell]]], title: str) -> str:
    """The picture in sentences."""
    said = [f"{title}: {', '.join(level.name for level in stack)}, the topmost first."]
    for path, cells in columns:
        parts = [
            f"{cell.said} in {level.name}" for level, cell in zip(stack, cells, strict=True) if cell.kind
        ]
        source = seen(cells)
        shown = "nothing" if source is None else f"that of {stack[source].name}"
        said.append(f"{printable(path)}: {', '.join(parts) or 'nowhere'}; one sees {shown}.")
    return " ".join(said)
