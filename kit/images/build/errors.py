"""What can be wrong with a Dockerfile, told with its file and line."""

from __future__ import annotations

from kit.images.errors import ImageError


class _InDockerfile(ImageError):
    """``where`` is the Dockerfile's name and line: ``Dockerfile:7``."""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}. {self.remedy}" if self.remedy else text


class BadDockerfile(_InDockerfile, ValueError):
    """A Dockerfile that can't be built as it is written."""


class BuildFailed(_InDockerfile, RuntimeError):
    """A step that could not be carried out; no image was made and no name was given.

    ``status`` is a RUN's exit status (a signal's number negated; None where no program ran), ``output`` the
    last lines of what it printed.
    """

    status: int | None = None
    output: str = ""

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.output}".rstrip()
