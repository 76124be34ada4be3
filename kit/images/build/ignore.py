"""What of a build's context does not count. See the Dockerfile reference, ".dockerignore file"."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kit.images.build.errors import BadDockerfile
from kit.images.build.pattern import compiled

LARGEST = 1 << 20  # bytes of the file


@dataclass(frozen=True)
class Ignore:
    """The patterns in order, each with whether it is an exception (``!``): the last that matches counts.

    A pattern that matches a directory matches all below it.
    """

    patterns: tuple[tuple[re.Pattern[str], bool], ...] = ()

    @classmethod
    def read(cls, directory: Path, dockerfile: Path | None = None) -> Ignore:
        """From ``<dockerfile>.dockerignore`` beside the Dockerfile, else ``.dockerignore`` of the context.

        Raises BadDockerfile with file and line; OSError where a file can't be read.
        """
        own = [dockerfile.with_name(f"{dockerfile.name}.dockerignore")] if dockerfile else []
        for path in (*own, directory / ".dockerignore"):
            if path.is_file():
                if path.stat().st_size > LARGEST:
                    raise BadDockerfile(f"more than {LARGEST} bytes of patterns", path.name)
                return cls.parse(path.read_bytes(), path.name)
        return cls()

    @classmethod
    def parse(cls, data: bytes, path: str = ".dockerignore") -> Ignore:
        """From the file's content; ``path`` is how messages call the file."""
        patterns = []
        for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            where = f"{path}:{number}"
            try:
                text = line.decode("utf-8").strip()
                if line.startswith(b"#") or not text:
                    continue
                exception = text.startswith("!")
                text = text.removeprefix("!").strip()
                if not text:
                    raise ValueError("'!' excepts nothing")
                # "." means the whole context and is ignored; a name is looked up from the context's root
                if (text := posixpath.normpath(text).lstrip("/")) not in ("", "."):
                    patterns.append((compiled(text, deep=True), exception))
            except ValueError as error:
                remedy = "Patterns are those of the Dockerfile reference, one a line, in UTF-8."
                raise BadDockerfile(f"no pattern: {error}", where, remedy) from None
        return cls(tuple(patterns))

    @property
    def has_exceptions(self) -> bool:
        return any(exception for _, exception in self.patterns)

    def match(self, path: str, above: Iterable[bool] = ()) -> tuple[bool, tuple[bool, ...]]:
        """Whether ``path`` is ignored, and which patterns match it.

        ``above`` is the latter of the directory that it lies in.
        """
        before = tuple(above) or (False,) * len(self.patterns)
        ignored, matches = False, []
        for (pattern, exception), matched in zip(self.patterns, before, strict=True):
            matches.append(matched or bool(pattern.fullmatch(path)))
            if matches[-1]:
                ignored = not exception
        return ignored, tuple(matches)

    def match_all(self, path: str) -> tuple[bool, tuple[bool, ...]]:
        """The same for a path of which nothing is known yet; the context's root, "", is never ignored."""
        ignored, matches = False, (False,) * len(self.patterns)
        parts = path.split("/") if path else []
        for end in range(1, len(parts) + 1):
            ignored, matches = self.match("/".join(parts[:end]), matches)
        return ignored, matches
