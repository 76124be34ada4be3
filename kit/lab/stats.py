"""What running containers use, as it happens: the live view of their control groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit.lab.live import LiveView, live

if TYPE_CHECKING:
    from kit.engine import Engine


def stats(engine: Engine, *names: str, seconds: float = 20, hz: float = 10, title: str = "") -> LiveView:
    """Watch up to four running containers of an engine, by name or id; as :func:`kit.lab.live`.

    Returns at once; ``view.wait()`` blocks until ``seconds`` have passed or they have ended, and a still
    picture stands there. Raises ValueError for a container that does not run, and as live does.
    """
    found = [engine.find(name) for name in names]
    for one in found:
        if one.task is None:
            raise ValueError(f"stats: {one.name} does not run; start it first")
    groups = [one.task.group for one in found if one.task]
    return live(*groups, names=[one.name for one in found], seconds=seconds, hz=hz, title=title)
