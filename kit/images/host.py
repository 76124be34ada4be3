"""Files of this machine as entries of a layer, with the directories and symbolic links that lead to each.

See path_resolution(7). The entries depend on the files alone and not on when they are read: everything
belongs to root, directories carry no time, and no file keeps set-user-id bits or file capabilities, which
would hand root's rights to whoever may run it inside.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from kit.images.elf import NotOnHost
from kit.images.entry import Entry

_LINKS_MAX = 40  # symbolic links on one path: as many as the kernel follows


class HostFiles:
    """Collects entries: ``add`` a file or ``add_tree`` a directory; then ``entries()``."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def add(self, path: str | os.PathLike[str]) -> Path:
        """The file or directory itself (not what's in it) and all that leads to it; returns its real path.

        Raises :class:`NotOnHost` where there is none, or a loop of links, a device, fifo or socket.
        """
        steps = list(reversed(Path(path).absolute().parts))
        here, links = Path("/"), 0
        while steps:
            step = steps.pop()
            if step == ".." or step.startswith("/"):
                here = here.parent if step == ".." else Path("/")
                continue
            here /= step
            try:
                status = here.lstat()
            except OSError as error:
                raise NotOnHost(f"can't be put into an image: {error.strerror}", path) from None
            if not stat.S_ISLNK(status.st_mode):
                self._put(here, status)
                continue
            links += 1
            if links > _LINKS_MAX:
                raise NotOnHost(f"more than {_LINKS_MAX} symbolic links lead to it, or in a circle", path)
            target = os.readlink(here)
            self.put(Entry(str(here)[1:], "symlink", 0o777, target=target))
            here = here.parent
            steps += reversed(Path(target).parts)  # the first is "/" where it is absolute
        return here

    def add_tree(
        self, directory: str | os.PathLike[str], leave_out: Callable[[Path], bool] = lambda path: False
    ) -> list[Path]:
        """A directory and everything below it that ``leave_out`` doesn't name; returns its files' real paths.

        Devices, fifos and sockets, and links that point nowhere, are left out. OSError as scandir(2) has it.
        """
        files = []
        for name in sorted(os.listdir(top := self.add(directory))):
            path = top / name
            if leave_out(path) or not (path.is_file() or path.is_dir()):
                continue
            if path.is_dir() and not path.is_symlink():
                files += self.add_tree(path, leave_out)
            elif (real := self.add(path)).is_file():
                files.append(real)
        return files

    def _put(self, path: Path, status: os.stat_result) -> None:
        name, mode = str(path)[1:], stat.S_IMODE(status.st_mode)
        if stat.S_ISDIR(status.st_mode):
            self.put(Entry(name, "directory", mode & 0o1777))
        elif stat.S_ISREG(status.st_mode):
            self.put(Entry(name, "file", mode & 0o777, mtime=int(status.st_mtime), source=path))
        else:
            raise NotOnHost("is no file or directory, so it can't be put into an image", path)

    def put(self, entry: Entry) -> None:
        """An entry of one's own; it takes the place of one with the same name."""
        self._entries[entry.name] = entry

    def entries(self) -> list[Entry]:
        """All of them by name, in an order in which a directory comes before what it holds."""
        return sorted(self._entries.values(), key=lambda entry: entry.name.split("/"))
