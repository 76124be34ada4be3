"""The directories that an overlay file system stacks, and what each of them has of a path.

What the merged tree shows of it is what the topmost one has; a character device 0:0 says that it is gone,
and a directory with the note "opaque" hides all below. See the kernel's overlayfs documentation.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
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

LOOKED_AT = 2_000  # files of a directory, in search of telling ones
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
    """The directories, topmost first."""
    image = source if isinstance(source, Image) else source.image
    lines = created_by(image) if image else []
    if isinstance(source, Image):
        lower, upper = held.enter_context(Snapshots(source.store).hold(source)).lower_dirs, []
    else:
        lower, upper = source.lower_dirs, [Level("upper", "its own changes", source.upper)]
    if image is None:
        return [*upper, *(Level("lower", "empty", one) for one in lower)]
    named = zip(range(len(lower), 0, -1), reversed(lines), lower, strict=True)
    return upper + [Level(f"layer {number}", instruction(line), one) for number, line, one in named]


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
            content = f"of {printable(name)}/" if parts[index + 1 :] else "device 0:0"
            return Cell("whiteout", True, "whiteout", content)
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


def telling(directories: Sequence[Path], most: int) -> list[str]:
    """So many paths at most: changed, removed, added and untouched ones, of the topmost directories first."""
    found: dict[str, list[str]] = {"changed": [], "removed": [], "added": [], "untouched": []}
    for index, directory in enumerate(directories):
        for path, gone in islice(files(directory), LOOKED_AT):
            if any(look(above, path) != Cell() for above in directories[:index]):
                continue
            below = any(look(other, path).kind for other in directories[index + 1 :])
            new = "added" if index < len(directories) - 1 else "untouched"
            found["removed" if gone else "changed" if below else new].append(path)
    in_turn = (path for turn in range(most) for paths in found.values() for path in paths[turn : turn + 1])
    chosen = set(islice(in_turn, most))
    return [path for paths in found.values() for path in paths if path in chosen]


def files(directory: Path) -> Iterator[tuple[str, bool]]:
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


def seen(cells: Sequence[Cell]) -> list[int]:
    """Which of the cells, topmost first, the merged tree shows: none, one, or all directories it merges."""
    shown: list[int] = []
    for index, cell in enumerate(cells):
        if cell.kind == "directory" or (cell.kind not in ("", "whiteout") and not shown):
            shown.append(index)
        if cell.covers:
            break
    return shown


def real(path: str, directories: Sequence[Path]) -> str:
    """The path without symbolic links among its directories, as one sees them in the merged tree."""
    done: list[str] = []
    waiting = path.split("/")
    links = 0
    while waiting:
        done.append(waiting.pop(0))
        cells = [look(directory, "/".join(done)) for directory in directories]
        shown = seen(cells)
        if waiting and shown and cells[shown[0]].kind == "symlink" and links < LINKS:
            links += 1
            target = os.readlink(directories[shown[0]] / "/".join(done))
            whole = os.path.normpath(
                "/" + ("" if target.startswith("/") else "/".join(done[:-1])) + "/" + target
            )
            done, waiting = [], [*whole.strip("/").split("/"), *waiting]
    return "/".join(done)
