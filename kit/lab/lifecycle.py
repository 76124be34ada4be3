"""A container's life: the states that there are, and the way that one really took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kit.lab.picture import Picture


def lifecycle(
    events: Iterable[Mapping[str, Any]] = (), container: str = "", title: str = "the life of a container"
) -> Picture:
    """Draw the states of a container and the commands between them; the way one took bold, with its times.

    ``events`` are those of the Docker Engine API: ``engine.events.kept``, a list of what the SDK's
    ``client.events(since=..., until=..., decode=True)`` gives, or the lines of ``docker events --format
    '{{json .}}'`` through ``json.loads``. ``container`` is a name or the beginning of an id; without one it
    is the container that was heard of last. Without events the states alone are drawn. Times are seconds
    since the first event. Raises ValueError for events that tell nothing of that container.
    """
    raise NotImplementedError
