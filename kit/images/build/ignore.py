"""What of a build's context does not count. See the Dockerfile reference, ".dockerignore file"."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from pathlib import Path

from kit.images.build.errors import BadDockerfile
from kit.images.build.pattern import expression

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
                    whole = re.compile(f"{expression(text, deep=True)}(?:/.*)?", re.DOTALL)
                    patterns.append((whole, exception))
            except ValueError as error:
                remedy = "Patterns are those of the Dockerfile reference, one a line, in UTF-8."
                raise BadDockerfile(f"no pattern: {error}", f"{path}:{number}", remedy) from None
        return cls(tuple(patterns))

    @property
    def has_exceptions(self) -> bool:
        return any(exception for _, exception in self.patterns)

    def ignores(self, path: str) -> bool:
        """Whether a path in the context does not count; the context itself, "", always does."""
        for pattern, exception in reversed(self.patterns):
            if pattern.fullmatch(path):
                return not exception and path != ""
        return False
