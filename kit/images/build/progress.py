"""A build as people know it from Docker: a line per step, what it prints, and what came of it."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kit.images.build.events import Done, Event, Output, Started, Step, Warned
from kit.images.image import Image
from kit.show import Table, size


@dataclass(frozen=True, repr=False)
class Built:
    """What a build came to: the ``image``, its ``steps`` and the ``tags`` it was given."""

    image: Image
    steps: list[Step]
    tags: list[str]

    @property
    def title(self) -> str:
        """The same for every run of the same build."""
        return f"Built {', '.join(self.tags) or 'an image without a name'} in {len(self.steps)} steps"

    def table(self) -> Table:
        """A row for each step."""
        rows = [
            (f"{step.number}/{step.total}", step.text, step.time, size(step.size) if step.size else "")
            for step in self.steps
        ]
        return Table(self.title, ["step", "instruction", "time", "layer"], rows, f"id {self.image.id[7:19]}")

    def __repr__(self) -> str:
        return f"<{self.title}>"

    def __str__(self) -> str:
        return str(self.table())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return self.table()._repr_mimebundle_()


class Printer:
    """Writes a build's events as text, as they come; ``styled`` for a terminal.

    What a RUN prints is indented, and passed on as soon as it arrives.
    """

    def __init__(self, write: Callable[[str], object], styled: bool = False) -> None:
        self.write = write
        self.bold, self.dim, self.plain = ("\033[1m", "\033[2m", "\033[0m") if styled else ("", "", "")
        self._begin()

    def _begin(self) -> None:
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.at_start = True  # of a line

    def __call__(self, event: Event) -> None:
        match event:
            case Started(step):
                self._begin()
                self.write(f"{self.bold}Step {step.number}/{step.total} : {step.text}{self.plain}\n")
            case Output(_, data):
                self._output(self.decode(data))
            case Done(step):
                self._output(self.decode(b"", True))
                end = "" if self.at_start else "\n"
                layer = f", {size(step.size)}" if step.size else ""
                self.write(f"{end} ---> {'failed' if step.error else step.time + layer}\n")
            case Warned(text):
                self.write(f"[Warning] {text}\n")

    def _output(self, text: str) -> None:
        for line in text.splitlines(keepends=True):
            indent = "      " if self.at_start else ""
            said = line.rstrip("\r\n")
            self.write(f"{indent}{self.dim}{said}{self.plain}{line[len(said) :]}")
            self.at_start = said != line

    def finish(self, built: Built) -> None:
        """The last lines."""
        self.write(f"Successfully built {built.image.id[7:19]}\n")
        for tag in built.tags:
            self.write(f"Successfully tagged {tag}\n")
