"""Where in an image's tree a COPY or ADD puts what it found, as the entries of a layer.

See the Dockerfile reference, "COPY". The destination is looked up in the tree as a program in the container
would, with the tree as its root; nothing is written here.
"""

from __future__ import annotations

import errno
import os
import posixpath
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kit.images.build.archive import extract, is_archive
from kit.images.build.context import CAPABILITY, Source
from kit.images.build.errors import BadDockerfile
from kit.images.directory import from_directory
from kit.images.entry import Entry
from kit.images.whiteouts import WHITEOUT
from kit.linux.errors import KernelError
from kit.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2


def place(
    found: Sequence[Source],
    destination: str,
    *,
    root: Path,
    workdir: str = "/",
    owner: tuple[int, int] | None = None,
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
    plan = _Plan(root, owner or (0, 0), mtime, where)
    try:
        target = posixpath.join(workdir, destination)
        is_directory = target.endswith(("/", "/.")) or destination == "."
        if len(found) > 1 and not is_directory:
            raise plan.refuse(f"{len(found)} files or directories to {destination:.200}", "End it with '/'.")
        for source in found:
            if source.top.kind == "directory":
                plan.add(plan.directory(target), source.below, owner, mode)
            elif unpack_in and source.top.source and is_archive(source.top.source):
                if mode is not None:
                    raise plan.refuse(f"--chmod of an archive, {source.name:.200}", "Its own modes count.")
                plan.add(plan.directory(target), _unpacked(source.top.source, unpack_in, where), owner, None)
            elif is_directory or plan.is_directory(target):
                plan.add(plan.directory(target), [source.top], owner, mode)
            else:
                base, name = plan.file(target)
                plan.add(base, [replace(source.top, name=name)], owner, mode)
    finally:
        plan.close()
    return list(plan.entries.values())


def missing(root: Path, path: str, owner: tuple[int, int], mtime: int, where: str = "") -> list[Entry]:
    """Entries for the directory ``path`` (absolute) and those on the way, as far as the tree lacks them."""
    plan = _Plan(root, owner, mtime, where)
    try:
        plan.directory(path)
    finally:
        plan.close()
    return list(plan.entries.values())


def _unpacked(archive: Path, directory: Path, where: str) -> Iterator[Entry]:
    """What an archive holds, unpacked below ``directory``."""
    new = directory / secrets.token_hex(4)
    new.mkdir(0o700)
    extract(archive, new)
    for entry in from_directory(new):
        if entry.kind in ("char", "block"):  # unpacking refuses devices: it is a whiteout of the archive's
            name = f"{archive.name}: {WHITEOUT}{posixpath.basename(entry.name):.100}"
            raise BadDockerfile(f"{name}: in a layer, {WHITEOUT} before a name removes a file", where)
        yield replace(entry, xattrs={key: value for key, value in entry.xattrs.items() if key == CAPABILITY})


class _Plan:
    """The entries so far, and the tree that they come upon."""

    def __init__(self, root: Path, owner: tuple[int, int], mtime: int, where: str) -> None:
        self.owner, self.mtime, self.where = owner, mtime, where
        self.entries: dict[str, Entry] = {}
        self.root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.path = os.readlink(f"/proc/self/fd/{self.root}")

    def close(self) -> None:
        os.close(self.root)

    def refuse(self, what: str, remedy: str = "") -> BadDockerfile:
        return BadDockerfile(what, self.where, remedy)

    def _look_up(self, path: str) -> tuple[str, list[str]]:
        """How far ``path`` exists, as a path in the tree with no links in it, and the missing parts."""
        parts = [part for part in posixpath.normpath(path).split("/") if part]
        for there in range(len(parts), -1, -1):
            resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
            try:
                fd = openat2(self.root, "/".join(parts[:there]) or ".", os.O_PATH, resolve=resolve)
            except KernelError as error:
                if error.errno == errno.ENOENT:
                    continue
                raise self.refuse(f"the destination {path:.200}: {error}") from error
            try:
                real = os.readlink(f"/proc/self/fd/{fd}")[len(self.path) :].lstrip("/")
            finally:
                os.close(fd)
            if there < len(parts) and self._in_tree(posixpath.join(real, parts[there])) is not None:
                raise self.refuse(f"the destination {path:.200} leads through a link to where nothing is")
            return real, parts[there:]
        raise self.refuse(f"the destination {path:.200}: the tree is gone")

    def _kind(self, name: str) -> int | None:
        """The file type of what stands at ``name`` by now, None for nothing; see inode(7)."""
        if name in self.entries:
            return stat.S_IFDIR if self.entries[name].kind == "directory" else stat.S_IFREG
        return self._in_tree(name)

    def _in_tree(self, name: str) -> int | None:
        try:
            return stat.S_IFMT(os.stat(name or ".", dir_fd=self.root, follow_symlinks=False).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def is_directory(self, path: str) -> bool:
        real, missing = self._look_up(path)
        return self._kind("/".join([*filter(None, [real]), *missing])) == stat.S_IFDIR

    def directory(self, path: str) -> str:
        """The real path of a directory, which is made when missing."""
        real, missing = self._look_up(path)
        if not missing and self._kind(real) != stat.S_IFDIR:
            raise self.refuse(f"the destination {path:.200} is no directory")
        for part in missing:
            real = posixpath.join(real, part)
            if self._kind(real) is None:
                self._put(Entry(real, "directory", 0o755, *self.owner, self.mtime))
        return real

    def file(self, path: str) -> tuple[str, str]:
        """The real directory, made when missing, and the name for a file at ``path``."""
        real, missing = self._look_up(path)
        if missing:
            above, _, name = posixpath.normpath(path).rpartition("/")
            return self.directory(above or "/"), name
        above, _, name = real.rpartition("/")
        return above, name

    def add(
        self, base: str, entries: Iterable[Entry], owner: tuple[int, int] | None, mode: int | None
    ) -> None:
        """Put entries into the directory ``base``; those of a later source replace an earlier one's files."""
        for entry in entries:
            uid, gid = owner or (entry.uid, entry.gid)
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
