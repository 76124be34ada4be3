"""What a build tells while it goes on, as plain values: a terminal prints them, a notebook draws them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Step:
    """One instruction of a build, filled in as it is carried out.

    ``stage`` is the name or number of the one that it stands in, ``line`` the Dockerfile's, ``text`` the
    instruction as written, on one line. ``size`` is in bytes of its layer as it is kept, 0 where it made
    none; ``error`` says why it failed.
    """

    number: int
    total: int
    stage: str
    line: int
    text: str
    cached: bool = False
    seconds: float = 0.0
    size: int = 0
    error: str = ""

    @property
    def time(self) -> str:
        """How long it took, for people."""
        return "CACHED" if self.cached else f"{self.seconds:.2f} s"


@dataclass(frozen=True)
class Started:
    """A step begins."""

    step: Step


@dataclass(frozen=True)
class Output:
    """A RUN printed something, on standard output or error: bytes, as they came."""

    step: Step
    data: bytes


@dataclass(frozen=True)
class Done:
    """A step has ended; ``step.error`` says whether it failed."""

    step: Step


@dataclass(frozen=True)
class Warned:
    """Something that the author of the build should know, and that does not stop it."""

    text: str


Event = Started | Output | Done | Warned
