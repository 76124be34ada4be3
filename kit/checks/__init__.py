"""The exercise checker: exercises whose answers are effects in the running kernel.

A chapter derives from `Exercise`; its check raises `NotYet`; `progress` holds what the learner has reached.
"""

from __future__ import annotations

from kit.checks.attempt import with_solutions
from kit.checks.exercise import Exercise, close
from kit.checks.feedback import Feedback, Hints, NotYet

__all__ = ["Exercise", "Feedback", "Hints", "NotYet", "close", "with_solutions"]
