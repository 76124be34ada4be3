"""A drawing beside a cell that is at work: it follows along, and its last state stays.

It is plain HTML, so a stored notebook shows the last drawing, and no widget is left behind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from IPython.display import display

INTERVAL = 0.2  # seconds from one drawing to the next


@contextmanager
def following(draw: Callable[[], dict[str, str]]) -> Iterator[None]:
    """Show what ``draw`` gives, by MIME type: at once, five times a second where it has changed, at the end.

    ``draw`` is called by a thread of its own.
    """
    last = draw()
    shown, ended = display(last, raw=True, display_id=True), threading.Event()

    def follow() -> None:
        nonlocal last
        while not ended.wait(INTERVAL):
            if (now := draw()) != last:
                shown.update(now, raw=True)
                last = now

    thread = threading.Thread(target=follow, name="kit-following", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        shown.update(draw(), raw=True)
