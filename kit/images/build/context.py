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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from kit.images.build.errors import BadDockerfile
from kit.images.build.ignore import Ignore
from kit.images.build.pattern import compiled, has_wildcard, unescaped
from kit.images.directory import entry_of
from kit.images.entry import Entry
from kit.images.errors import ImageError
from kit.linux.errors import KernelError
from kit.linux.openat2 import RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

CAPABILITY = "security.capability"  # the one extended attribute that Docker's archives of a context keep
_LOOK = "Paths begin at the context's root; see .dockerignore for what is excluded."


@dataclass(frozen=True)
class Source:
    """One file or directory that was found: ``name`` is its path in the context.

    ``top`` is itself, named by its last part; ``below`` is what a directory holds, named from there.
    """

    name: str
    top: Entry
    below: tuple[Entry, ...] = ()


class Context:
    """A directory to copy from; a context manager.

    In a build's context all belongs to user 0. ``tree`` is for a stage's or an image's tree: owners stay.
    """

    def __init__(self, directory: Path, ignore: Ignore | None = None, *, tree: bool = False) -> None:
        self.ignore, self.tree = ignore or Ignore(), tree
        self.root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.path = os.readlink(f"/proc/self/fd/{self.root}")

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.root)

    def find(self, sources: Sequence[str], where: str = "") -> list[Source]:
        """What the ``sources`` of a COPY or ADD are, in order, the matches of a pattern sorted.

        Raises BadDockerfile at ``where``: one that is not there, is excluded or outside, a pattern that
        matches nothing, a device, a file that can't be read.
        """
        names: list[str] = []
        try:
            for source in sources:
                names += self._names(source, where)
            return [self._source(name, len(names) == 1, where) for name in names]
        except BadDockerfile:
            raise
        except ImageError as error:
            raise BadDockerfile(f"{error.where}: {error.what}", where, error.remedy) from error
        except OSError as error:
            what = str(error) if isinstance(error, KernelError) else f"{error.filename}: {error.strerror}"
            raise BadDockerfile(what, where, "See that it is there, and that you may read it.") from error

    def _names(self, source: str, where: str) -> list[str]:
        """The paths in the context that ``source`` means."""
        path = posixpath.normpath(source.lstrip("/") or ".")
        if path == ".." or path.startswith("../"):
            raise BadDockerfile(
                f"{source:.200} is outside the context",
                where,
                "Copy it into the context, or build from above.",
            )
        if not has_wildcard(path):
            return [unescaped(path)]
        found = [""]
        for part in path.split("/"):
            found = [match for directory in found for match in self._matches(directory, part, where)]
        if not found:
            raise BadDockerfile(f"nothing in the context matches {source:.200}", where, _LOOK)
        return found

    def _matches(self, directory: str, part: str, where: str) -> list[str]:
        """What in a directory has names that match one part of a pattern."""
        try:
            pattern = compiled(part)
        except ValueError as error:
            raise BadDockerfile(f"no pattern: {error}", where) from None
        real = self._real(directory, where)
        if real is None or not os.path.isdir(self._path(real)):
            return []
        _, above = self.ignore.match_all(real)
        return [
            posixpath.join(directory, name)
            for name in sorted(os.listdir(self._path(real)))
            if pattern.fullmatch(name) and not self._excluded(posixpath.join(real, name), above)
        ]

    def _excluded(self, real: str, above: tuple[bool, ...]) -> bool:
        """Whether nothing of ``real`` counts; a directory with exceptions is looked into later."""
        ignored, _ = self.ignore.match(real, above)
        return ignored and not (self.ignore.has_exceptions and os.path.isdir(self._path(real)))

    def _path(self, real: str) -> str:
        return f"{self.path}/{real}"

    def _real(self, name: str, where: str) -> str | None:
        """The path in the context that ``name`` leads to, its links followed; None where nothing is."""
        resolve = RESOLVE_NO_MAGICLINKS | (RESOLVE_IN_ROOT if self.tree else RESOLVE_BENEATH)
        try:
            fd = openat2(self.root, name or ".", os.O_PATH, resolve=resolve)
        except KernelError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            if error.errno == errno.EXDEV:
                remedy = "No link is followed out of it: copy what it points to into the context."
                raise BadDockerfile(f"{name:.200} leads out of the context", where, remedy) from None
            raise
        try:
            return os.readlink(f"/proc/self/fd/{fd}")[len(self.path) :].lstrip("/")
        finally:
            os.close(fd)

    def _source(self, name: str, alone: bool, where: str) -> Source:
        """The file or directory of that name. ``alone``: hard links may stay such, as no other source is."""
        real = self._real(name, where)
        if real is None:
            raise BadDockerfile(f"{name:.200} is not in the context", where, _LOOK)
        ignored, matches = self.ignore.match_all(real)
        path = self._path(real)
        last = posixpath.basename(name.rstrip("/")) if name != "." else ""
        top = self._entry(last or "context", path, os.lstat(path), {})
        if top is None:
            raise BadDockerfile(f"{name:.200} is a socket, which has no content", where)
        below = tuple(self._below(real, matches, alone)) if top.kind == "directory" else ()
        if ignored and not below:
            raise BadDockerfile(f"{name:.200} is excluded from the context", where, _LOOK)
        return Source(name, top, below)

    def _below(self, real: str, matches: tuple[bool, ...], alone: bool) -> Iterator[Entry]:
        """All in a directory that counts, and an excluded directory where something in it does."""
        seen: dict[tuple[int, int], str] = {}
        shown: set[str] = set()
        waiting: list[tuple[str, str, tuple[bool, ...], tuple[Entry, ...]]] = [(real, "", matches, ())]
        while waiting:
            directory, prefix, above, hidden = waiting.pop()
            with os.scandir(self._path(directory)) as found:
                ones = sorted(found, key=attrgetter("name"))
            for one in ones:
                path = posixpath.join(directory, one.name)
                ignored, matched = self.ignore.match(path, above)
                is_directory = one.is_dir(follow_symlinks=False)
                if ignored and not (is_directory and self.ignore.has_exceptions):
                    continue
                status = one.stat(follow_symlinks=False)
                entry = self._entry(prefix + one.name, one.path, status, seen if alone else {})
                if entry is None:
                    continue
                if is_directory:
                    waiting.append((path, f"{entry.name}/", matched, (*hidden, entry) if ignored else ()))
                if not ignored:
                    yield from (e for e in hidden if e.name not in shown)
                    shown.update(e.name for e in hidden)
                    yield entry

    def _entry(
        self, name: str, path: str, status: os.stat_result, seen: dict[tuple[int, int], str]
    ) -> Entry | None:
        entry = entry_of(name, path, status, seen)
        if entry is None:
            return None
        if entry.kind in ("char", "block"):
            raise ImageError(
                "a device, which is a door to the machine's hardware", path, "A container gets its own."
            )
        xattrs = {key: value for key, value in entry.xattrs.items() if key == CAPABILITY}
        uid, gid = (entry.uid, entry.gid) if self.tree else (0, 0)
        if (uid, gid, xattrs) == (entry.uid, entry.gid, entry.xattrs):
            return entry
        return replace(entry, uid=uid, gid=gid, xattrs=xattrs)


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
