"""The files that COPY and ADD can take: a build's context, or the tree of another stage or image.

Sources are found as Docker's builder finds them: from the context's root, with patterns, without what
.dockerignore excludes. A symbolic link on the way to a source is followed, by the kernel's own lookup
(openat2(2)): in a context it must not lead out, in an image's tree it leads where it would in a container.
Links among what is copied are copied as links. Nothing may change the files meanwhile.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from kit.images.build.errors import BadDockerfile
from kit.images.build.ignore import Ignore
from kit.images.build.pattern import expression, has_wildcard, unescaped
from kit.images.build.tree import Tree
from kit.images.directory import entry_of
from kit.images.entry import Entry
from kit.images.errors import ImageError
from kit.linux.errors import KernelError


def kept(xattrs: Mapping[str, bytes]) -> dict[str, bytes]:
    """The one extended attribute that a COPY keeps, as in Docker. See capabilities(7)."""
    return {key: value for key, value in xattrs.items() if key == "security.capability"}


@dataclass(frozen=True)
class Source:
    """One file or directory that was found.

    ``top`` is itself, named by its last part; ``below`` is what a directory holds, named from there.
    """

    top: Entry
    below: tuple[Entry, ...] = ()


class Context(Tree):
    """A directory to copy from; a context manager.

    In a build's context all belongs to user 0. ``tree`` is for a stage's or an image's tree: owners stay.
    """

    def __init__(self, directory: Path, ignore: Ignore | None = None, *, tree: bool = False) -> None:
        super().__init__(directory, strict=not tree)
        self.ignore, self.keep_owners = ignore or Ignore(), tree

    def find(self, sources: Sequence[str], where: str = "") -> list[Source]:
        """What the ``sources`` of a COPY or ADD are, in order, the matches of a pattern sorted.

        Raises BadDockerfile at ``where`` for one that is not there, is excluded or outside; ImageError for a
        device, OSError for a file that can't be read.
        """
        found: list[Source] = []
        for source in sources:
            try:
                names = self._names(source, where)
                alone = len(sources) == len(names) == 1
                ones = [one for name in names if (one := self._source(name, alone))]
            except KernelError as error:
                if error.errno != errno.EXDEV:
                    raise
                remedy = "No link is followed out of it: copy what it points to into the context."
                raise BadDockerfile(f"{source:.200} leads out of the context", where, remedy) from None
            if not ones:
                remedy = "Paths begin at the context's root; .dockerignore says what is excluded."
                raise BadDockerfile(f"{source:.200} is not in the context, or excluded", where, remedy)
            found += ones
        return found

    def _names(self, source: str, where: str) -> list[str]:
        """The paths in the context that ``source`` means."""
        literal = not has_wildcard(source)
        path = posixpath.normpath((unescaped(source) if literal else source).lstrip("/") or ".")
        if path == ".." or path.startswith("../"):
            remedy = "Copy it into the context, or build from above."
            raise BadDockerfile(f"{source:.200} is outside the context", where, remedy)
        if literal:
            return ["" if path == "." else path]
        found = [""]
        for part in path.split("/"):
            try:
                pattern = re.compile(expression(part), re.DOTALL)
            except ValueError as error:
                raise BadDockerfile(f"no pattern: {error}", where) from None
            found = [
                posixpath.join(directory, name)
                for directory in found
                for name in self._inside(directory)
                if pattern.fullmatch(name)
            ]
        return found

    def _inside(self, directory: str) -> list[str]:
        """The names in a directory; none where there is no directory of that name."""
        real = self.real(directory)
        path = f"{self.path}/{real}"
        return sorted(os.listdir(path)) if real is not None and os.path.isdir(path) else []

    def _source(self, name: str, alone: bool) -> Source | None:
        """What has that name. ``alone``: hard links may stay such, as there is no other source."""
        real = self.real(name)
        if real is None:
            return None
        path = f"{self.path}/{real}"
        top = self._entry(posixpath.basename(name) or "context", path, os.lstat(path), {})
        if top is None:
            return None
        below = tuple(self._below(real, alone)) if top.kind == "directory" else ()
        return None if self.ignore.ignores(real) and not below else Source(top, below)

    def _below(self, top: str, alone: bool) -> Iterator[Entry]:
        """All in a directory that counts, and an excluded directory where something in it does."""
        seen: dict[tuple[int, int], str] = {}
        shown: set[str] = set()
        waiting: list[tuple[str, tuple[Entry, ...]]] = [("", ())]
        while waiting:
            directory, hidden = waiting.pop()
            with os.scandir(f"{self.path}/{posixpath.join(top, directory)}") as found:
                ones = sorted(found, key=attrgetter("name"))
            for one in ones:
                name = posixpath.join(directory, one.name)
                ignored = self.ignore.ignores(posixpath.join(top, name))
                is_directory = one.is_dir(follow_symlinks=False)
                if ignored and not (is_directory and self.ignore.has_exceptions):
                    continue
                status = one.stat(follow_symlinks=False)
                entry = self._entry(name, one.path, status, seen if alone else {})
                if entry is None:
                    continue
                if is_directory:
                    waiting.append((name, (*hidden, entry) if ignored else ()))
                if not ignored:
                    yield from (e for e in hidden if e.name not in shown)
                    shown.update(e.name for e in hidden)
                    yield entry

    def _entry(
        self, name: str, path: str, status: os.stat_result, seen: dict[tuple[int, int], str]
    ) -> Entry | None:
        """One file as an Entry; None for a socket."""
        entry = entry_of(name, path, status, seen)
        if entry is not None and entry.kind in ("char", "block"):
            what = "a device, which is a door to the machine's hardware"
            raise ImageError(what, path, "A container gets its own.")
        if entry is None:
            return None
        uid, gid = (entry.uid, entry.gid) if self.keep_owners else (0, 0)
        if (uid, gid) == (entry.uid, entry.gid) and not entry.xattrs:
            return entry  # of ten thousand files, most are as they should be
        return replace(entry, uid=uid, gid=gid, xattrs=kept(entry.xattrs))


def content_digest(found: Sequence[Source]) -> str:
    """What tells these sources from others: names, kinds, modes, owners, contents; no times.

    Files are read as streams. OSError where one can't be read.
    """
    whole = hashlib.sha256()
    for source in found:
        copied = source.below if source.top.kind == "directory" else (source.top,)
        for entry in sorted(copied, key=attrgetter("name")):
            content = ""
            if entry.kind == "file":
                with entry.open() as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
            what = (entry.name, entry.kind, entry.mode, entry.uid, entry.gid, entry.target, content)
            whole.update(repr((*what, sorted(entry.xattrs.items()))).encode("utf-8", "surrogateescape"))
        whole.update(b"/")
    return f"sha256:{whole.hexdigest()}"
