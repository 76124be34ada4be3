"""The directories that an overlay file system stacks, and what each of them has of a path.

What the merged tree shows of it is what the topmost one has; a character device 0:0 says that it is gone,
and a directory with the note "opaque" hides all below. See the kernel's overlayfs documentation.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from kit.images.explore import created_by
from kit.images.image import Image
from kit.images.rootfs import Rootfs
from kit.images.snapshots import Snapshots
from kit.images.whiteouts import OVERLAY
from kit.lab.explored import printable
from kit.lab.layers import instruction
from kit.show import size

LOOKED_AT = 1_000  # files of a directory, in search of telling ones
LINKS = 40  # symbolic links on the way to a path, as many as the kernel follows


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


def levels(source: Rootfs | Image, held: ExitStack) -> list[Level]:
    """The directories, topmost first; those of an image are kept for as long as ``held``."""
    image = source if isinstance(source, Image) else source.image
    if isinstance(source, Image):
        found, lower = [], held.enter_context(Snapshots(source.store).hold(source)).lower_dirs
    else:
        found, lower = [Level("upper", "its own changes", source.upper)], source.lower_dirs
    lines = created_by(image) if image else ["empty"]
    for number in range(len(lines), 0, -1):
        found.append(Level(f"layer {number}", instruction(lines[number - 1]), lower[-number]))
    return found


def look(directory: Path, path: str) -> Cell:
    """What a directory of an overlay has of ``path``."""
    above = os.path.dirname(path)
    parent = look(directory, above) if above else Cell("directory")
    if parent.kind == "whiteout":
        return parent._replace(content="of its directory")
    at = directory / path
    if parent.kind != "directory" or not os.path.lexists(at):
        return Cell(covers=parent.covers)
    status = at.lstat()
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        return Cell("whiteout", True, "whiteout", "device 0:0")
    if stat.S_ISDIR(status.st_mode):
        notes = {f"{namespace}opaque" for namespace in OVERLAY} & set(os.listxattr(at))
        opaque = any(os.getxattr(at, name) == b"y" for name in notes)
        return Cell("directory", opaque or parent.covers, "opaque" if opaque else "directory")
    if stat.S_ISLNK(status.st_mode):
        return Cell("symlink", True, "symlink", f"→ {printable(os.readlink(at))}")
    return Cell("file", True, size(status.st_size), _first_line(at) if stat.S_ISREG(status.st_mode) else "")


def _first_line(file: Path) -> str:
    with file.open(encoding="utf-8", errors="replace") as opened:
        line = opened.readline(200).rstrip("\n")
    return line if line.isprintable() and "\N{REPLACEMENT CHARACTER}" not in line else ""


def seen(cells: Sequence[Cell]) -> list[int]:
    """Which of the cells, topmost first, the merged tree shows: none, one, or all directories it merges."""
    shown: list[int] = []
    for index, cell in enumerate(cells):
        if cell.kind == "directory" or (cell.kind not in ("", "whiteout") and not shown):
            shown.append(index)
        if cell.covers:
            break
    return shown


def telling(directories: Sequence[Path], most: int) -> list[str]:
    """So many paths at most: changed, removed, added and untouched ones, of the topmost directories first."""
    found: dict[str, list[str]] = {"changed": [], "removed": [], "added": [], "untouched": []}
    for path in dict.fromkeys(path for one in directories for path in files(one)[:LOOKED_AT]):
        cells = [look(one, path) for one in directories]
        having = [index for index, cell in enumerate(cells) if cell.kind]
        new = "untouched" if having == [len(cells) - 1] else "added"
        found["removed" if not seen(cells) else "changed" if len(having) > 1 else new].append(path)
    in_turn = (path for turn in range(most) for paths in found.values() for path in paths[turn : turn + 1])
    chosen = set(islice(in_turn, most))
    return [path for paths in found.values() for path in paths if path in chosen]


def files(directory: Path) -> list[str]:
    """Every path below but those of directories and links; those that lie least deep first."""
    found = (path for path in directory.rglob("*") if not path.is_symlink() and not path.is_dir())
    names = [str(path.relative_to(directory)) for path in found]
    return sorted(names, key=lambda name: (name.count("/"), name))


def real(path: str, directories: Sequence[Path], links: int = LINKS) -> str:
    """The path without symbolic links among its directories, as one sees them in the merged tree."""
    parts = path.split("/")
    for end in range(1, len(parts)):
        way = "/".join(parts[:end])
        cells = [look(directory, way) for directory in directories]
        shown = seen(cells)
        if links and shown and cells[shown[0]].kind == "symlink":
            target = os.readlink(directories[shown[0]] / way)
            whole = os.path.normpath(os.path.join("/", *parts[: end - 1], target, *parts[end:]))
            return real(whole.strip("/"), directories, links - 1)
    return path
