"""What a probe is, what it finds, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: "partly" is an honest third answer: it is there, but not all of it, or far slower than the real thing.
Works = Literal["yes", "partly", "no"]


@dataclass(frozen=True)
class Finding:
    """What a probe hands back: does it work, what was seen, what to do where that depends on it."""

    works: Works
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Probe:
    """One thing to try: ``call`` is (module, function, string arguments ...), run in a child of its own for
    ``seconds`` at most.

    ``chapters`` are those that can't do without it; ``remedy`` is what to do on Debian or Ubuntu when it
    fails.
    """

    name: str
    call: tuple[str, ...]
    chapters: tuple[str, ...]
    remedy: str
    seconds: float = 5.0


@dataclass(frozen=True)
class Row:
    """One line of the report. ``remedy`` is empty where all works; ``seconds`` is how long the probe took."""

    name: str
    works: Works
    detail: str
    chapters: tuple[str, ...]
    remedy: str
    seconds: float
