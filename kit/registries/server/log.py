"""What a registry did, a line for each request, as a program or a notebook looks at it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kit import show

#: The headers that say something of the exchange; credentials are not among them.
_TELLING = (
    "Accept", "Content-Range", "Content-Type", "Docker-Content-Digest", "Link", "Location",
    "OCI-Filters-Applied", "OCI-Subject", "Range", "WWW-Authenticate",
)  # fmt: skip


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
    known = {name.lower() for name in _TELLING}
    return {name: value for name, value in headers if name.lower() in known}


def table(log: Iterable[Access], title: str = "What the registry was asked") -> show.Table:
    """The requests as a table, in their order."""
    rows = [(one.method, one.path, one.status, show.size(one.received), show.size(one.sent)) for one in log]
    return show.Table(title, ("method", "path", "status", "in", "out"), rows)
