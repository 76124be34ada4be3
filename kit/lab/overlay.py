"""The overlay picture: a mounted image's directories above one another, and where each file comes from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from matplotlib.axes import Axes

from kit.images.image import Image
from kit.images.rootfs import Rootfs
from kit.lab.explored import printable
from kit.lab.levels import Cell, levels, look, real, seen, telling
from kit.lab.palette import BLUE, GREEN, INK, RULE, VERMILLION
from kit.lab.picture import Picture, canvas
from kit.lab.tree import box, fit, write

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
        columns = {path: [look(directory, path) for directory in directories] for path in chosen}
    names = [one.name for one in stack]
    tops = [HEAD]  # of the rows: merged, then the directories
    for name in ["merged", *names]:
        tops.append(tops[-1] + ROW + {"merged": 10, "upper": 20}.get(name, 0))
    figure, axes = canvas(WIDTH, tops.pop())
    rows = [("merged", "what one sees"), *((one.name, one.note) for one in stack)]
    for y, (name, note) in zip(tops, rows, strict=True):
        edge = 1.2 if name == "merged" else 0
        box(axes, 8, y, WIDTH - 16, HIGH, RULE, fill=0.10, edge=edge, radius=6, layer=0.2)
        write(axes, 20, y + 20, name, bold=True)
        write(axes, 20, y + 38, fit(note, LEFT - 30, 8.5), size=8.5)
    step = (WIDTH - LEFT - 12) / max(1, len(columns))
    for number, (path, cells) in enumerate(columns.items()):
        _Column(axes, LEFT + step * number, step - 10).draw(path, cells, names, tops)
    said = [f"{title}: {', '.join(names)}, the topmost first."]
    for path, cells in columns.items():
        parts = [f"{cell.said} in {name}" for name, cell in zip(names, cells, strict=True) if cell.kind]
        sees = ", ".join(names[index] for index in seen(cells))
        sees = f"that of {sees}" if sees else "nothing"
        said.append(f"{printable(path)}: {', '.join(parts) or 'nowhere'}; one sees {sees}.")
    return Picture(figure, title, " ".join(said))


class _Column(NamedTuple):
    """One path: its cells below one another, ``x`` and ``width`` in CSS pixels."""

    axes: Axes
    x: float
    width: float

    def draw(self, path: str, cells: Sequence[Cell], names: Sequence[str], tops: Sequence[float]) -> None:
        """The merged cell, what each directory has, and lines from the one to the others."""
        directory, _, name = printable(path).rpartition("/")
        self._write(18, name, bold=True)
        self._write(36, f"/{directory}", size=8.5)
        merged, *below = tops
        hues = [BLUE if name == "upper" else GREEN for name in names]
        shown = seen(cells)
        if shown:
            hue, dash, ends = hues[shown[0]], "-", shown
            source = " and ".join(names[index] for index in shown)
            self._cell(merged, hue, cells[shown[0]].said, f"from {source}", seen=True)
        else:
            hue, dash, ends = VERMILLION, ":", [i for i, one in enumerate(cells) if one.covers][:1]
            self._cell(merged, INK, "nothing", "", seen=False)
        middle, start = self.x + self.width / 2, merged
        for index in ends:  # from each cell to the next one
            ys = [start + HIGH - INSET, below[index] + INSET]
            self.axes.plot([middle, middle], ys, color=hue, linewidth=2.4, linestyle=dash, zorder=0.5)
            start = below[index]
        for index, cell in enumerate(cells):
            if cell.kind:
                said = cell.said if index in ends else f"{cell.said}, hidden"
                hue = VERMILLION if cell.kind == "whiteout" else hues[index]
                self._cell(below[index], hue, said, cell.content, seen=index in ends)
        lower = [index for index, one in enumerate(cells) if one.kind and index]
        if names[0] == "upper" and lower and cells[0].kind == cells[lower[0]].kind == "file":
            self._copied_up(below[lower[0]] + 2, below[0] + HIGH - 2)

    def _write(self, y: float, text: str, bold: bool = False, size: float = 10) -> None:
        text = fit(text, self.width - 8, size)
        write(self.axes, self.x + self.width / 2, y, text, bold=bold, size=size, align="center")

    def _cell(self, y: float, hue: str, said: str, more: str, *, seen: bool) -> None:
        """A file in a directory: filled where it is seen, dashed where something above hides it."""
        top, height = y + INSET, HIGH - 2 * INSET
        edge, fill, dash = (1.8, 0.3, "-") if seen else (1.1, 0.04, "--")
        box(self.axes, self.x, top, self.width, height, hue, fill=fill, edge=edge, dash=dash)
        self._write(top + (15 if more else height / 2), said, bold=seen)
        self._write(top + 33, more, size=8.5)

    def _copied_up(self, start: float, end: float) -> None:
        """An arrow from the lower file to the upper one: the kernel copied it before it was changed."""
        x, look = self.x + self.width - 12, {"arrowstyle": "-|>", "color": INK, "linewidth": 1.6}
        self.axes.annotate("", (x, end), (x, start), arrowprops=look | {"mutation_scale": 12}, zorder=3)
        write(self.axes, x - 8, (start + end) / 2, "copied up", size=8.5, align="right")
