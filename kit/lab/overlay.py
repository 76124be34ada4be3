"""The overlay picture: the directories of a mounted image above one another, and where each file comes from.

It is drawn from the directories themselves. What the merged tree shows of a path is what the topmost one has
of it; a character device 0:0 says that it is gone, and a directory with the note "opaque" hides all below.
See the kernel's overlayfs documentation.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes

from kit.images.image import Image
from kit.images.rootfs import Rootfs
from kit.images.snapshots import Snapshots
from kit.images.whiteouts import OVERLAY
from kit.lab.explored import printable
from kit.lab.layers import fit, instruction
from kit.lab.palette import BLUE, GREEN, INK, RULE, VERMILLION
from kit.lab.picture import Picture, canvas
from kit.lab.tree import box, write
from kit.show import size

WIDTH, LEFT, HEAD, ROW, PAD = 800, 158, 54, 66, 8  # CSS pixels
MOST = 5  # paths
LOOKED_AT = 2_000  # files of a directory, in search of telling ones


class Level(NamedTuple):
    """One directory of the overlay, and what it is called in the picture."""

    name: str
    note: str
    directory: Path


class Cell(NamedTuple):
    """What a directory has of one path: ``file``, ``directory``, ``symlink``, ``whiteout`` or nothing.

    ``covers``: what lies below it can't be seen. ``said`` is its size or kind, ``content`` its first line.
    """

    kind: str = ""
    covers: bool = False
    said: str = ""
    content: str = ""


def overlay(
    source: Rootfs | Image, paths: Sequence[str] = (), title: str = "one tree out of several"
) -> Picture:
    """Draw a mounted image (with its upper directory), or an image's layers, for at most five ``paths``.

    Without ``paths``, telling ones are looked for: changed, removed, added, untouched. Raises ValueError for
    more than five, and for an image what :meth:`kit.images.snapshots.Snapshots.hold` does.
    """
    chosen = [path.strip("/") for path in paths]
    if len(chosen) > MOST or not all(chosen):
        raise ValueError(f"overlay: give one to {MOST} paths inside the image, such as 'etc/passwd'")
    with ExitStack() as held:
        levels = _levels(source, held)
        chosen = chosen or _telling([level.directory for level in levels])
        columns = [(path, [look(level.directory, path) for level in levels]) for path in chosen]
    return _draw(levels, columns, title)


def _levels(source: Rootfs | Image, held: ExitStack) -> list[Level]:
    """The directories, topmost first."""
    image = source if isinstance(source, Image) else source.image
    lines = (
        [str(one.get("created_by", "")) for one in image.history if not one.get("empty_layer")]
        if image
        else []
    )
    if isinstance(source, Image):
        lower, upper = held.enter_context(Snapshots(source.store).hold(source)).lower_dirs, []
    else:
        lower, upper = source.lower_dirs, [Level("upper", "its own changes", source.upper)]
    notes = [instruction(line) for line in reversed(lines)]
    notes += [""] * (len(lower) - len(notes))
    names = [f"layer {len(lower) - index}" for index in range(len(lower))] if image else ["lower"]
    return upper + [Level(*one) for one in zip(names, notes, lower, strict=False)]


def look(directory: Path, path: str) -> Cell:
    """What a directory of an overlay has of ``path``."""
    at, covers = directory, False
    parts = path.split("/")
    for index, name in enumerate(parts):
        at = at / name
        try:
            status = at.lstat()
        except FileNotFoundError:
            return Cell(covers=covers)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            return Cell(
                "whiteout", True, "whiteout", f"of {printable(name)}/" if parts[index + 1 :] else "device 0:0"
            )
        if stat.S_ISDIR(status.st_mode):
            covers = covers or _is_opaque(at)
        elif parts[index + 1 :]:
            return Cell(covers=True)  # a file where the layers below have a directory
    if stat.S_ISDIR(status.st_mode):
        return Cell("directory", covers, "opaque" if _is_opaque(at) else "directory")
    if stat.S_ISLNK(status.st_mode):
        return Cell("symlink", True, "symlink", f"→ {printable(os.readlink(at))}")
    return Cell("file", True, size(status.st_size), _first_line(at) if stat.S_ISREG(status.st_mode) else "")


def _is_opaque(directory: Path) -> bool:
    names = {f"{namespace}opaque" for namespace in OVERLAY} & set(os.listxattr(directory))
    return any(os.getxattr(directory, name) == b"y" for name in names)


def _first_line(file: Path) -> str:
    with file.open("rb") as opened:
        line = opened.read(200).partition(b"\n")[0]
    text = line.decode("utf-8", "replace")
    return text if text.isprintable() and "\N{REPLACEMENT CHARACTER}" not in text else ""


def _telling(directories: Sequence[Path]) -> list[str]:
    """Changed, removed, added and untouched paths, from the topmost directories that have any."""
    found: dict[str, list[str]] = {"changed": [], "removed": [], "added": [], "untouched": []}
    for index, directory in enumerate(directories):
        for path, gone in islice(_files(directory), LOOKED_AT):
            if any(look(above, path) != Cell() for above in directories[:index]):
                continue
            below = any(look(other, path).kind for other in directories[index + 1 :])
            new = "added" if index < len(directories) - 1 else "untouched"
            found["removed" if gone else "changed" if below else new].append(path)
    in_turn = (path for turn in range(MOST) for paths in found.values() for path in paths[turn : turn + 1])
    chosen = set(islice(in_turn, MOST))
    return [path for paths in found.values() for path in paths if path in chosen]


def _files(directory: Path) -> Iterator[tuple[str, bool]]:
    """Every regular file below, and every whiteout, which is True; those that lie least deep first."""
    waiting = [("", directory)]
    for prefix, here in waiting:
        with os.scandir(here) as entries:
            for one in sorted(entries, key=lambda one: one.name):
                mode = one.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    waiting.append((f"{prefix}{one.name}/", Path(one.path)))
                elif stat.S_ISREG(mode) or stat.S_ISCHR(mode):
                    yield prefix + one.name, stat.S_ISCHR(mode)


def seen(cells: Sequence[Cell]) -> int | None:
    """Which of the cells, topmost first, the merged tree shows; None where it shows nothing."""
    for index, cell in enumerate(cells):
        if cell.kind and cell.kind != "whiteout":
            return index
        if cell.covers:
            return None
    return None


def _draw(levels: Sequence[Level], columns: Sequence[tuple[str, list[Cell]]], title: str) -> Picture:
    height = HEAD + ROW * (len(levels) + 1) + 14
    figure, axes = canvas(WIDTH, height)
    step = (WIDTH - LEFT - 12) / max(1, len(columns))
    for row, (name, note) in enumerate(
        [("merged", "what one sees"), *((one.name, one.note) for one in levels)]
    ):
        y = HEAD + ROW * row + (0 if row == 0 else 10)
        box(axes, 8, y, WIDTH - 16, ROW - PAD, RULE, fill=0.10, edge=0 if row else 1.2, radius=6, layer=0.2)
        write(axes, 20, y + 20, name, bold=True)
        write(axes, 20, y + 38, fit(note, LEFT - 30, 8.5), size=8.5)
    for number, (path, cells) in enumerate(columns):
        _column(axes, LEFT + step * number, step - 10, path, cells, [one.name for one in levels])
    return Picture(figure, title, words(levels, columns, title))


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


def words(levels: Sequence[Level], columns: Sequence[tuple[str, list[Cell]]], title: str) -> str:
    """The picture in sentences."""
    said = [f"{title}: {', '.join(level.name for level in levels)}, the topmost first."]
    for path, cells in columns:
        parts = [
            f"{cell.said} in {level.name}" for level, cell in zip(levels, cells, strict=True) if cell.kind
        ]
        source = seen(cells)
        shown = "nothing" if source is None else f"that of {levels[source].name}"
        said.append(f"{printable(path)}: {', '.join(parts) or 'nowhere'}; one sees {shown}.")
    return " ".join(said)
