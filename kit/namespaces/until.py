"""Waiting for an effect instead of for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], what: str = "the condition", seconds: float = 10.0) -> T:
    """Ask again and again (every 5 ms) until the answer is true, and return it.

    Raises TimeoutError after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}, in vain")
        time.sleep(0.005)
    return answer
