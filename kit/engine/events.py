"""What happens, as it happens: create, start, die … for whoever listens. See "Monitor events" of the API."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aiohttp import web

from kit.engine import asked
from kit.images.documents import Document

if TYPE_CHECKING:
    from kit.engine.server import Engine

_KEPT = 1000
FILTERS = ("container", "event", "image", "label", "network", "type", "volume")


class Events:
    """The latest events, and those who hear the next ones. All in the engine's loop."""

    def __init__(self) -> None:
        self.kept: deque[Document] = deque(maxlen=_KEPT)
        self.listeners: set[asyncio.Queue[Document]] = set()

    def tell(self, kind: str, action: str, subject: str, attributes: Mapping[str, str] | None = None) -> None:
        """Something happened to ``subject``, the id of a thing of this ``kind``, or its name."""
        now = time.time_ns()
        actor: Document = {"ID": subject, "Attributes": dict(attributes or {})}
        event: Document = {"Type": kind, "Action": action, "Actor": actor, "scope": "local"}
        event |= {"time": now // 10**9, "timeNano": now}
        if kind == "container":  # what the event was before there were other kinds
            event |= {"status": action, "id": subject, "from": actor["Attributes"].get("image", "")}
        self.kept.append(event)
        for queue in self.listeners:
            queue.put_nowait(event)


@asked.route("GET", "/events")
async def answer(engine: Engine, request: web.Request) -> web.StreamResponse:
    """GET /events: those ``since``, then the next ones, ``until`` a time or for ever."""
    wanted = asked.filters(request, FILTERS)
    since, until = asked.number(request, "since"), asked.number(request, "until")
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    queue: asyncio.Queue[Document] = asyncio.Queue()
    for event in engine.events.kept if since is not None else ():
        if (since or 0) <= event["timeNano"] / 1e9 <= (until or float("inf")):
            queue.put_nowait(event)
    engine.events.listeners.add(queue)
    try:
        await response.prepare(request)
        async with asyncio.timeout(None if until is None else max(0.1, until - time.time())):
            while True:
                event = await queue.get()
                if _fits(event, wanted):
                    await response.write(json.dumps(event).encode() + b"\n")
    except TimeoutError:
        return response
    finally:
        engine.events.listeners.discard(queue)


def _fits(event: Document, wanted: dict[str, list[str]]) -> bool:
    """Whether of each filter one value fits; "exec_start: ls" is told by its beginning."""
    subject, attributes = event["Actor"]["ID"], event["Actor"]["Attributes"]
    for name, values in wanted.items():
        found = {event["Type"]} if name == "type" else {event["Action"].partition(":")[0]}
        if name not in ("type", "event"):
            there = event["Type"] == name or name in attributes
            found = {subject, subject[:12], attributes.get("name"), attributes.get(name)} if there else set()
        if name == "label":
            found = {value for value in values if asked.labelled(attributes, value)}
        if not found & set(values):
            return False
    return True
