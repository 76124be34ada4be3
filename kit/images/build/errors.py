"""What can be wrong with a Dockerfile, told with its file and line."""

from __future__ import annotations

from kit.images.errors import ImageError


class BadDockerfile(ImageError, ValueError):
    """A Dockerfile that can't be built as it is written; ``where`` is its name and line: ``Dockerfile:7``."""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}. {self.remedy}" if self.remedy else text


class BuildFailed(ImageError, RuntimeError):
    """A step that could not be carried out; no image was made and no name was given.

    ``where`` is the Dockerfile's name and line, ``status`` a RUN's exit status (a signal's number negated;
    None where no program ran), ``output`` the last lines of what it printed.
    """

    status: int | None = None
    output: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}"
        text = f"{text}. {self.remedy}" if self.remedy else text
        return f"{text}\n{self.output}".rstrip()
