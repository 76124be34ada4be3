"""Where in an image's tree a COPY or ADD puts what it found, as the entries of a layer.

See the Dockerfile reference, "COPY". The destination is looked up in the tree as a program in the container
would, with the tree as its root; nothing is written here.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from kit.images.build.archive import is_archive, unpacked
from kit.images.build.context import Source
from kit.images.build.errors import BadDockerfile
from kit.images.build.tree import Tree
from kit.images.entry import Entry
from kit.images.whiteouts import WHITEOUT

Owner = tuple[int, int]


def place(
    found: Sequence[Source],
    destination: str,
    *,
    root: Path,
    workdir: str = "/",
    owner: Owner | None = None,
    mode: int | None = None,
    mtime: int = 0,
    unpack_in: Path | None = None,
    where: str = "",
) -> list[Entry]:
    """The layer's entries for ``found`` at ``destination``, which is relative to ``workdir``.

    A directory gives its contents, a file goes into a destination that is a directory or ends with "/".
    Missing directories, the destination too, are made with mode 0755 and time ``mtime``. ``root`` is the
    tree that the layer comes upon, ``owner`` and ``mode`` are those of --chown and --chmod. ``unpack_in``: a
    directory of the caller's, kept until the entries are packed; archives are unpacked there (ADD).

    Raises BadDockerfile at ``where`` (several sources and no directory to hold them, a file where a directory
    must be), and what :mod:`kit.images.unpack` raises for an archive.
    """
    with _Layer(root, owner, mtime, where) as layer:
        target = posixpath.join(workdir, destination)
        is_directory = target.endswith(("/", "/.")) or destination == "."
        if len(found) > 1 and not is_directory:
            raise layer.refuse(f"{len(found)} files or directories to {destination:.200}", "End it with '/'.")
        for source in found:
            if source.top.kind == "directory":
                layer.add(layer.directory(target), source.below, mode)
            elif unpack_in and source.top.source and is_archive(source.top.source):
                if mode is not None:
                    raise layer.refuse("--chmod with an archive to unpack", "Its own modes count.")
                layer.add(layer.directory(target), unpacked(source.top.source, unpack_in, where))
            else:
                base, name = (layer.directory(target), "") if is_directory else layer.file(target)
                layer.add(base, [replace(source.top, name=name or source.top.name)], mode)
    return list(layer.entries.values())


def missing(root: Path, path: str, owner: Owner, mtime: int, where: str = "") -> list[Entry]:
    """Entries for the directory ``path`` (absolute) and those on the way, as far as the tree lacks them."""
    with _Layer(root, owner, mtime, where) as layer:
        layer.directory(path)
    return list(layer.entries.values())


class _Layer(Tree):
    """The entries so far, and the tree that they come upon."""

    def __init__(self, root: Path, owner: Owner | None, mtime: int, where: str) -> None:
        super().__init__(root)
        self.owner, self.mtime, self.where = owner, mtime, where
        self.entries: dict[str, Entry] = {}

    def refuse(self, what: str, remedy: str = "") -> BadDockerfile:
        return BadDockerfile(what, self.where, remedy)

    def _look_up(self, path: str) -> tuple[str, list[str]]:
        """How far ``path`` exists, as a path in the tree with no links in it, and the missing parts."""
        parts = [part for part in posixpath.normpath(path).split("/") if part]
        rest: list[str] = []
        while (real := self.real("/".join(parts))) is None:
            rest.insert(0, parts.pop())
        if rest and self._kind(posixpath.join(real, rest[0])) == stat.S_IFLNK:
            raise self.refuse(f"the destination {path:.200} leads through a link to where nothing is")
        return real, rest

    def _kind(self, name: str) -> int | None:
        """The file type of what stands at ``name`` by now, None for nothing; see inode(7)."""
        if name in self.entries:
            return stat.S_IFDIR if self.entries[name].kind == "directory" else stat.S_IFREG
        try:
            return stat.S_IFMT(os.stat(name or ".", dir_fd=self.root, follow_symlinks=False).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def directory(self, path: str) -> str:
        """The real path of a directory, which is made when missing."""
        real, rest = self._look_up(path)
        if self._kind(real) != stat.S_IFDIR:
            raise self.refuse(f"the destination {path:.200}: /{real:.200} is no directory")
        for part in rest:
            real = posixpath.join(real, part)
            if self._kind(real) is None:
                self._put(Entry(real, "directory", 0o755, *(self.owner or (0, 0)), self.mtime))
        return real

    def file(self, path: str) -> tuple[str, str]:
        """The real directory for a file at ``path``, made when missing, and its name; "" if that is one."""
        real, rest = self._look_up(path)
        if self._kind(posixpath.join(real, *rest)) == stat.S_IFDIR:
            return self.directory(path), ""
        if rest:
            return self.directory(posixpath.join(real, *rest[:-1])), rest[-1]
        return posixpath.split(real)

    def add(self, base: str, entries: Iterable[Entry], mode: int | None = None) -> None:
        """Put entries into the directory ``base``; those of a later source replace an earlier one's files."""
        for entry in entries:
            uid, gid = self.owner or (entry.uid, entry.gid)
            self._put(
                replace(
                    entry,
                    name=posixpath.join(base, entry.name),
                    target=posixpath.join(base, entry.target) if entry.kind == "hardlink" else entry.target,
                    mode=entry.mode if mode is None or entry.kind == "symlink" else mode,
                    uid=uid,
                    gid=gid,
                )
            )

    def _put(self, entry: Entry) -> None:
        kind = self._kind(entry.name)
        if kind is not None and (kind == stat.S_IFDIR) != (entry.kind == "directory"):
            before = "a directory" if kind == stat.S_IFDIR else "no directory"
            raise self.refuse(f"/{entry.name:.200} is {before} by now, and a {entry.kind} is to be put there")
        if any(part.startswith(WHITEOUT) for part in entry.name.split("/")):
            raise self.refuse(f"/{entry.name:.200}: in a layer, {WHITEOUT} before a name removes a file")
        self.entries[entry.name] = entry
