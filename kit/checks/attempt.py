"""One attempt at an exercise as the progress file keeps it: parameters that stay, hints, checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kit.checks import progress
from kit.checks.progress import Record
from kit.linux.errors import KernelError

_with_solutions = False


def with_solutions() -> None:
    """Said by a notebook that holds the answers: what it solves counts as solved with the solution."""
    global _with_solutions
    _with_solutions = True


class Attempt:
    """The attempt at one exercise that is under way. `note` says so when progress cannot be kept."""

    def __init__(self, name: str, title: str) -> None:
        self.name, self.title, self.note = name, title, ""
        self._mine = Record()

    def begin(self, parameters: dict[str, Any], anew: bool = False) -> dict[str, Any]:
        """The parameters that hold from here on: those kept from before, or the new ones handed in."""

        def start(record: Record) -> None:
            record.title = self.title
            # An attempt sticks until it is reset, unless an update of the course asks for other parameters.
            if anew or not record.attempts or set(record.parameters) != set(parameters):
                record.attempts += 1
                record.parameters, record.hints, record.begun = parameters, 0, progress.now()
                record.solution_seen = False
            record.solution_seen |= _with_solutions

        return self._record(start).parameters

    def checked(self, passed: bool) -> None:
        """Count one check; the first that passes is the one that is remembered."""

        def count(record: Record) -> None:
            record.checks += 1
            if passed and not record.solved:
                hints = f"{record.hints or 'no'} hint{'' if record.hints == 1 else 's'}"
                record.solved = progress.now()
                record.solved_with = "the solution" if record.solution_seen else hints

        self._record(count)

    def hint(self, hints: int) -> int:
        """Count one more hint; returns how many were given, `hints` + 1 when it is the solution's turn."""

        def give(record: Record) -> None:
            record.hints = min(record.hints + 1, hints + 1)
            record.solution_seen |= record.hints > hints

        return self._record(give).hints

    def _record(self, change: Callable[[Record], None]) -> Record:
        def apply(record: Record) -> None:
            if not record.attempts:  # new, or the file was lost or set aside while this attempt was under way
                vars(record).update(vars(self._mine))
            change(record)

        try:
            self._mine, self.note = progress.update(self.name, apply), ""
        except KernelError as error:
            self.note = f"Progress is not kept: {error}"
            change(self._mine)
        return self._mine
