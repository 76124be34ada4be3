"""What goes over the wire between a client and the engine, as plain values: a notebook draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aiohttp import web

_SHORT = 4096  # bytes of a body that are shown


@dataclass(frozen=True)
class Exchange:
    """A request and the beginning of its answer. ``path`` has the query; long bodies are cut.

    ``kind`` tells whether the answer is "whole", a "stream" that goes on, or a connection "taken over";
    ``client`` is what the client calls itself.
    """

    method: str
    path: str
    sent: str
    status: int
    received: str
    kind: Literal["whole", "stream", "taken over"]
    client: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path} → {self.status} {self.received or self.kind:.60}"


async def exchange(request: web.Request, response: web.StreamResponse) -> Exchange:
    """The exchange that this answer begins to end."""
    is_json = request.content_type == "application/json" and request.body_exists
    sent = await request.read() if is_json else b""  # which the handler has read before
    whole = isinstance(response, web.Response)
    body = response.body if isinstance(response, web.Response) else None
    texts = [
        one[:_SHORT].decode("utf-8", "replace") if isinstance(one, bytes) else "" for one in (sent, body)
    ]
    return Exchange(
        request.method, request.path_qs, texts[0], response.status, texts[1],
        "whole" if whole else "taken over" if response.status == 101 else "stream",
        request.headers.get("User-Agent", ""),
    )  # fmt: skip
