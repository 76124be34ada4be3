"""An exercise: init, check, hints and solution, with parameters that are random per attempt and then stay.

A chapter derives one class per exercise and makes one object of it. `init` draws the parameters, `setup`
makes what the learner is to find or to work on, `look` inspects the running kernel through /proc, cgroup
files and netlink, and raises `NotYet` with what it saw. The source that was typed is never looked at: any way
to the effect is a right answer.
"""

from __future__ import annotations

import html
from collections import defaultdict
from contextlib import AbstractContextManager, ExitStack
from random import Random, SystemRandom
from types import SimpleNamespace
from typing import Any, ClassVar

from kit.checks import notebooks
from kit.checks.attempt import Attempt
from kit.checks.feedback import Feedback, Hints, NotYet, box, marked_up
from kit.show import measured

_running: dict[
    str, Exercise
] = {}  # by name: running an exercise's cell again takes the place of the one before


class Exercise:
    """One exercise of a chapter. Derive a class, and say:

    `name` ("03.1"), `title`, `goal` (the clause after "expected"; `{hostname}` stands for a parameter),
    `answers` (the names of the variables handed to `check`), `hints` (a nudge, something specific, the manual
    page). `given` holds this attempt's parameters; those that begin with "_" are the secret and are not
    shown.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    goal: ClassVar[str]
    answers: ClassVar[tuple[str, ...]] = ("process",)
    hints: ClassVar[tuple[str, ...]] = ()

    def init(self, random: Random) -> dict[str, Any]:
        """The parameters of a new attempt: names to values that JSON can hold."""
        return {}

    def setup(self) -> None:
        """Make what the attempt needs beside the learner's own work; `self.made` (an ExitStack) ends it."""

    def look(self, *answers: Any) -> str:
        """Inspect the kernel. Returns the sentence of success, or raises NotYet."""
        raise NotImplementedError

    def __init__(self) -> None:
        before = _running.pop(self.name, None)
        if before is not None:
            before.close()
        self.made = ExitStack()
        self._attempt = Attempt(self.name, self.title)
        self._handed_in: list[Any] = []
        for solved in [one for one in _running.values() if one.solved]:
            solved.close()  # what a solved exercise keeps busy would disturb the next one's measurements
        self._begin(anew=False)

    def check(self, *answers: Any) -> Feedback:
        """One line: solved, or what was observed, what was expected, and where to look."""
        self._handed_in += [one for one in answers if not any(one is known for known in self._handed_in)]
        try:
            self._complete(answers)
            sentence, self.solved = self.look(*answers), True
        except NotYet as reason:
            sentence, self.solved = reason.sentence(self._text(self.goal)), False
        # A learner's answer can be any object at all, and what it does when it is touched any error at all.
        # The lesson is the sentence, not a traceback through the checker.
        except Exception as error:
            saw = NotYet(f"looking at the answer failed with {type(error).__name__}: {error}".rstrip("."))
            sentence, self.solved = saw.sentence(self._text(self.goal)), False
        self._attempt.checked(self.solved)
        return Feedback(self.name, self.solved, sentence, self._attempt.note)

    def hint(self) -> Hints:
        """The next hint, below those given before. After the last one comes the solution."""
        given = self._attempt.hint(len(self.hints))
        solution = ""
        if given > len(self.hints):
            solution = notebooks.solution(self.name) or "(The course's solutions/ are not at hand here.)"
        return Hints(self.name, tuple(map(self._text, self.hints[:given])), len(self.hints), solution)

    def reset(self) -> Exercise:
        """A clean start: ends what this attempt made, and draws new parameters. Progress is kept."""
        self.close()
        self._begin(anew=True)
        return self

    def close(self) -> None:
        """End everything of this attempt: what `setup` made, and each answer handed in that can be closed."""
        handed_in, self._handed_in = self._handed_in, []
        with ExitStack() as ending:  # one that fails to end keeps no other from ending
            ending.callback(self.made.close)
            for answer in handed_in:
                if isinstance(answer, AbstractContextManager) and hasattr(answer, "close"):
                    ending.callback(answer.close)

    def _begin(self, anew: bool) -> None:
        drawn = self.init(Random(SystemRandom().getrandbits(64)))
        self.given = SimpleNamespace(**self._attempt.begin(drawn, anew))
        self.solved, self.trouble = False, ""
        _running[self.name] = self
        try:
            self.setup()
        # What this machine lacks for the exercise (a controller, a privilege, a program) is said on its card
        # and by its checks, and the notebook goes on.
        except Exception as error:
            self.made.close()
            self.trouble = f"This machine cannot do this exercise: {error}"

    def _text(self, template: str) -> str:
        # "?" where setup came to no such value
        return template.format_map(defaultdict(lambda: "?", vars(self.given)))

    def _complete(self, answers: tuple[Any, ...]) -> None:
        if self.trouble:
            raise NotYet(self.trouble.rstrip("."), "a machine that can", "`kit doctor`")
        for number, variable in enumerate(self.answers):
            if number >= len(answers):
                raise NotYet(f"`{variable}` was not handed to `check`")
            if answers[number] is ...:
                raise NotYet(f"`{variable}` is still the empty `...`")
            if answers[number] is None:
                raise NotYet(f"`{variable}` is None, so the answer's cell stored nothing in it")
        if len(answers) > len(self.answers):
            raise NotYet(
                f"`check` got {len(answers)} answers", f"{len(self.answers)}: {', '.join(self.answers)}"
            )

    def _shown(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self.given).items() if not name.startswith("_")}

    def __str__(self) -> str:
        given = "".join(f" · {name} = {value}" for name, value in self._shown().items())
        return f"Exercise {self.name} · {self.title}{given}"

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        cells = "<td style='text-align:left'><code>{}</code></td><td style='text-align:left'><b>{}</b></td>"
        rows = [cells.format(name, html.escape(str(value))) for name, value in self._shown().items()]
        table = "".join(f"<tr>{row}</tr>" for row in rows)
        notes = marked_up(" ".join(filter(None, (self.trouble, self._attempt.note))))
        body = measured(f"<table style='margin:.2em 0'>{table}</table><small>{notes}</small>")
        head = f"<b>{self.name}</b> · {marked_up(self.title)}"
        return {"text/plain": f"{self.name} · {self.title}", "text/html": box("#888888", head + body)}


def close() -> str:
    """End everything that the exercises of this notebook started. Returns a sentence for the closing cell."""
    with ExitStack() as ending:
        while _running:
            ending.callback(_running.pop(next(iter(_running))).close)
    return "Everything that the exercises started is gone."
