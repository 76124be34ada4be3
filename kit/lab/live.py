"""A live view of control groups: usage, throttling and memory as they happen, and a picture of it all that
stays.

A widget saved in a notebook is dead when the notebook is opened again: its model lived in the kernel. So when
the view ends, a still picture takes its place in the same output, and that is what a stored notebook, a PDF
or a web page shows.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

from IPython.core.getipython import get_ipython
from IPython.display import display

from kit.lab.canvas import Canvas, view_of
from kit.lab.frames import Frame, frame, limits
from kit.lab.palette import SERIES
from kit.lab.picture import Picture
from kit.lab.plot import draw
from kit.show import measured

# A PNG of one transparent pixel, for as long as there is no picture yet.
NOTHING = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAC0lEQVR4nGNgAAIAAAUAAXpeqz8AAAAASUVORK5CYII="
GRACE = 1.0  # seconds without any process before the subject counts as ended: one command may follow another


class LiveView:
    """A running view; made by :func:`live`. It ends by itself, by ``stop()`` or by its button."""

    def __init__(
        self, groups: tuple[Any, ...], names: Sequence[str], seconds: float, hz: float, title: str
    ) -> None:
        from kit.cgroups import Sampler

        self.groups, self.names, self.seconds, self.title = groups, list(names), float(seconds), title
        self.ended = ""
        """Why the view ended; empty while it runs."""
        self._frames: list[list[Frame]] = []
        self._samplers = [Sampler(group, hz=20 if hz <= 20 else 50) for group in groups]
        self._interval = 1 / hz
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._waited_for = self._published = False
        self._display_id = f"kit-live-{uuid.uuid4().hex}"
        self._shown_by: object = None
        self._picture: Picture | None = None
        self._canvas = Canvas(
            self.stop, title=title, groups=self.names, seconds=self.seconds, window=min(30.0, self.seconds)
        )
        self._thread = threading.Thread(target=self._run, name=f"kit-live {' '.join(names)}", daemon=True)

    @property
    def recordings(self) -> dict[str, list[Frame]]:
        """The frames so far, by the group's name."""
        return {name: [rows[i] for rows in self._frames] for i, name in enumerate(self.names)}

    @property
    def frames(self) -> list[Frame]:
        """The first group's frames so far."""
        return [rows[0] for rows in self._frames]

    def stop(self) -> None:
        """End the view now; the picture follows within a moment. Harmless when it has ended already."""
        self._stopping.set()

    def wait(self, timeout: float | None = None) -> None:
        """Block until the view has ended and its picture stands in the notebook; at most ``timeout`` seconds.

        An interrupt while waiting ends the view too, so nothing runs on behind the reader's back.
        """
        with self._lock:
            self._waited_for = True
        try:
            self._thread.join(timeout)
        except KeyboardInterrupt:
            self.stop()
            self._thread.join()
            raise
        finally:
            if self._thread.is_alive():
                with self._lock:
                    self._waited_for = False
            self._publish()

    def _start(self) -> None:
        try:
            for sampler in self._samplers:
                sampler.start()
        except OSError:  # a group has gone: nothing of the view stays
            for sampler in self._samplers:
                sampler.stop()
            self._canvas.close()
            raise
        self._thread.start()

    def _run(self) -> None:
        began, seen, busy = time.monotonic(), False, time.monotonic()
        why = ""
        try:
            while not why:
                self._stopping.wait(self._interval)
                now = time.monotonic()
                alive = [_alive(group) for group in self.groups]
                seen = seen or any(alive)
                busy = now if any(alive) else busy
                if self._stopping.is_set():
                    why = "stopped"
                elif None in alive:
                    why = "the group is gone"
                elif seen and now - busy >= GRACE:
                    why = "its last process has ended"
                elif now - began >= self.seconds:
                    why = "its time was up"
                else:
                    self._frame()
        finally:
            for sampler in self._samplers:
                sampler.stop()
            self.ended = why or "an error, see above"
            with self._lock:
                waited_for = self._waited_for
            # A front end may drop what comes from outside a cell: if one waits, it publishes.
            if not waited_for:
                self._publish()

    def _frame(self) -> None:
        rows = []
        for group, sampler in zip(self.groups, self._samplers, strict=True):
            samples = sampler.samples
            if not samples:
                return
            rows.append(frame(samples, limits(group), samples[0].t))
        if self._frames and self._frames[-1][0].t == rows[0].t:
            return  # the sampler has nothing new
        self._frames.append(rows)
        self._canvas.show(rows)

    def picture(self) -> Picture:
        """The recording as a still picture; while the view runs, what there is so far."""
        if self._picture is not None:
            return self._picture
        ended = self.ended
        groups = self.recordings if len(self.groups) > 1 else {"": self.frames}
        picture = draw(groups, what=("cpu", "throttled", "memory"), title=self.title)
        if ended:
            self._picture = picture
        return picture

    def _publish(self) -> None:
        """Put the picture in the widget's place, once."""
        with self._lock:
            if self._published or not self.ended:
                return
            self._published = True
        self._canvas.end(self.ended)
        if get_ipython() is not None:
            data, metadata = self._bundle()
            display(data, metadata=metadata, raw=True, display_id=self._display_id, update=True)

    def _bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        # The same kinds of data before and after: a comparison of a notebook's outputs compares kind by kind.
        title = f"[live view] {self.title}"
        if self.ended:
            data, metadata = self.picture()._repr_mimebundle_()
            return data | {"text/plain": title}, metadata
        waiting = measured("The live view is running; its picture will stand here when it has ended.")
        view = {"application/vnd.jupyter.widget-view+json": view_of(self._canvas)}
        return {"text/plain": title, "text/html": waiting, "image/png": NOTHING, **view}, {}

    def _ipython_display_(self) -> None:
        # live() shows the view at once; a cell that ends with it must not show it a second time.
        shell = get_ipython()
        if shell is None or self._shown_by == (cell := _cell(shell)):
            return
        self._shown_by = cell
        data, metadata = self._bundle()
        display(data, metadata=metadata, raw=True, display_id=self._display_id)


def _cell(shell: Any) -> object:
    """What tells this run of a cell from any other: the request for it, or in a terminal its number."""
    parent: dict[str, Any] = getattr(shell, "get_parent", dict)()
    return parent.get("header", {}).get("msg_id") or shell.execution_count


def _alive(group: Any) -> bool | None:
    """Whether the group or one below it has processes; None when it has been removed."""
    try:
        return bool(group.pids(below=True)) if group.alive else None
    except OSError:  # removed between the two questions
        return None


def live(
    *groups: Any, names: Sequence[str] = (), seconds: float = 20, hz: float = 10, title: str = ""
) -> LiveView:
    """Watch one control group, or up to four side by side, while the cells that follow run.

    Returns at once. The view ends after ``seconds``, when the last process has ended or the group is removed,
    or when the reader presses Stop; then a still picture takes its place. ``view.wait()`` blocks until then,
    so that a notebook run from top to bottom holds the picture. ``hz`` is the number of frames per second, 1
    to 25; ``names`` are the groups' own unless given.

    Raises ValueError for no group, more than four, a time that isn't between 0 and 3600 seconds, or another
    ``hz``; CgroupError when a group has been closed.
    """
    if not 1 <= len(groups) <= len(SERIES):
        raise ValueError(f"live: {len(groups)} groups; give one to {len(SERIES)} control groups")
    for group in groups:
        if not hasattr(group, "pids"):
            raise ValueError(f"live: {group!r} is no control group; make one with kit.cgroups.Cgroup")
    if not 0 < seconds <= 3600:
        raise ValueError(f"live: seconds={seconds!r}; give more than 0 and at most 3600")
    if not 1 <= hz <= 25:
        raise ValueError(f"live: hz={hz!r}; give 1 to 25 frames per second")
    names = list(names) or [str(group.name) for group in groups]
    subject = f"{' and '.join(names)} {'use' if len(names) > 1 else 'uses'}"
    view = LiveView(groups, names, seconds, hz, title or f"what {subject}")
    view._start()
    view._ipython_display_()
    return view
