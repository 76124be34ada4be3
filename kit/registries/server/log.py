"""What a registry did, a line for each request, as a program or a notebook looks at it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from aiohttp import web

from kit import show

FETCHED = web.RequestKey("fetched", int)  # bytes that a mirror got to answer this request

#: The headers that say something of the exchange; credentials are not among them.
_TELLING = {
    "accept", "content-range", "content-type", "docker-content-digest", "link", "location",
    "oci-filters-applied", "oci-subject", "range", "www-authenticate",
}  # fmt: skip


@dataclass(frozen=True)
class Access:
    """One request and its answer: ``received`` and ``sent`` are the bytes of the bodies.

    ``fetched`` are the bytes that a mirror had to get from the registry behind it, to give this answer.
    """

    method: str
    path: str
    status: int
    received: int = 0
    sent: int = 0
    fetched: int = 0
    request_headers: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        sizes = f"{show.size(self.received)} in, {show.size(self.sent)} out"
        return f"{self.method} {self.path} {self.status} {sizes}"


def telling(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Those of the headers that are worth a look."""
    return {name: value for name, value in headers if name.lower() in _TELLING}
