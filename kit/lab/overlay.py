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

WIDTH, LEFT, HEAD, ROW = 800, 158, 54, 66  # CSS pixels
HIGH, INSET = 58, 6  # a row without the gap below it, and how far inside it its cells begin
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
    names = [one.name for one in stack]
    tops = [float(HEAD)]  # of the rows: merged, then the directories
    for name in ["merged", *names[:-1]]:
        tops.append(tops[-1] + ROW + {"merged": 10, "upper": 20}.get(name, 0))
    figure, axes = canvas(WIDTH, tops[-1] + ROW)
    rows = [("merged", "what one sees"), *((one.name, one.note) for one in stack)]
    for y, (name, note) in zip(tops, rows, strict=True):
        edge = 1.2 if name == "merged" else 0
        box(axes, 8, y, WIDTH - 16, HIGH, RULE, fill=0.10, edge=edge, radius=6, layer=0.2)
        write(axes, 20, y + 20, name, bold=True)
        write(axes, 20, y + 38, fit(note, LEFT - 30, 8.5), size=8.5)
    step = (WIDTH - LEFT - 12) / max(1, len(columns))
    for number, (path, cells) in enumerate(columns):
        _column(axes, LEFT + step * number, step - 10, tops, path, cells, names)
    return Picture(figure, title, words(stack, columns, title))


def _column(
    axes: Axes,
    x: float,
    width: float,
    tops: Sequence[float],
    path: str,
    cells: Sequence[Cell],
    names: list[str],
) -> None:
    directory, _, name = printable(path).rpartition("/")
    middle, below = x + width / 2, tops[1:]
    write(axes, middle, 18, fit(name, width), bold=True, align="center")
    write(axes, middle, 36, fit(f"/{directory}", width, 8.5), size=8.5, align="center")
    shown = seen(cells)
    hue, dash = (_hue(names[shown[0]]), "-") if shown else (VERMILLION, ":")
    hidden_by = [] if shown else [index for index, one in enumerate(cells) if one.covers][:1]
    start = tops[0]
    for index in shown or hidden_by:  # from each cell to the next one
        ys = [start + HIGH - INSET, below[index] + INSET]
        axes.plot([middle, middle], ys, color=hue, linewidth=2.4, linestyle=dash, zorder=0.5)
        start = below[index]
    if shown:
        _cell(axes, x, tops[0], width, hue, cells[shown[0]].said, _from(shown, names), seen=True)
    else:
        _cell(axes, x, tops[0], width, INK, "nothing", "", seen=False)
    for index, cell in enumerate(cells):
        if not cell.kind:
            continue
        solid = index in shown or index in hidden_by
        said = cell.said if solid else f"{cell.said}, hidden"
        hue = VERMILLION if cell.kind == "whiteout" else _hue(names[index])
        _cell(axes, x, below[index], width, hue, said, cell.content, seen=solid)
        if cell.kind == "whiteout":
            _cross(axes, x, below[index], width)
    lower = [index for index, one in enumerate(cells) if one.kind and index]
    if names[0] == "upper" and lower and cells[0].kind == cells[lower[0]].kind == "file":
        _copied_up(axes, x + width - 12, below[lower[0]] + 2, below[0] + HIGH - 2)


def _from(shown: list[int], names: list[str]) -> str:
    more = (
        f" and {names[shown[1]]}" if len(shown) == 2 else f" and {len(shown) - 1} more" if shown[1:] else ""
    )
    return f"from {names[shown[0]]}{more}"


def _hue(name: str) -> str:
    return BLUE if name == "upper" else GREEN


def _cell(
    axes: Axes, x: float, y: float, width: float, hue: str, said: str, more: str, *, seen: bool
) -> None:
    """A file in a directory: filled where it is seen, dashed where something above hides it."""
    top, height = y + INSET, HIGH - 2 * INSET
    edge, dash = (1.8, "-") if seen else (1.1, (0, (3, 2.5)))
    box(axes, x, top, width, height, hue, fill=0.30 if seen else 0.04, edge=0, radius=4)
    xs, ys = [x, x + width, x + width, x, x], [top, top, top + height, top + height, top]
    axes.plot(xs, ys, color=hue, linewidth=edge, linestyle=dash, zorder=1.2)
    line = top + (15 if more else height / 2)
    write(axes, x + width / 2, line, fit(said, width - 8), bold=seen, align="center")
    if more:
        write(axes, x + width / 2, top + 33, fit(more, width - 10, 8.5), size=8.5, align="center")


def _cross(axes: Axes, x: float, y: float, width: float) -> None:
    for xs in ([x, x + width], [x + width, x]):
        axes.plot(xs, [y + INSET, y + HIGH - INSET], color=VERMILLION, linewidth=0.8, alpha=0.28, zorder=1.1)


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
        shown = [stack[index].name for index in seen(cells)]
        one_sees = f"that of {', '.join(shown)}" if shown else "nothing"
        said.append(f"{printable(path)}: {', '.join(parts) or 'nowhere'}; one sees {one_sees}.")
    return " ".join(said)
