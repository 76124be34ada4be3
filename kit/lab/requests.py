"""A request and its answer in a line each, from what a client or a registry noted of it.

What is long is cut: of a digest and of an id the first 12 characters stay, of an upload's name 8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from kit.registries import Client, Exchange
from kit.registries.exchange import plain

# What a path of the OCI distribution-spec asks for; the first that fits.
KINDS = {
    "manifest": r"/v2/.+/manifests/",
    "upload": r"/v2/.+/blobs/uploads/",
    "blob": r"/v2/.+/blobs/",
    "tags": r"/v2/.+/tags/",
    "referrers": r"/v2/.+/referrers/",
    "base": r"/v2/",
    "token": "",
}
# The headers that tell most, of a request and of an answer.
ASKED = ("Content-Type", "Content-Range", "Range", "Authorization")
ANSWERED = (
    "Content-Type", "Docker-Content-Digest", "Content-Range", "Range", "Location", "Link", "OCI-Subject",
    "OCI-Filters-Applied", "WWW-Authenticate",
)  # fmt: skip
_DIGEST, _UPLOAD = r"(sha\d+(?::|%3A)[0-9a-f]{12})[0-9a-f]+", r"(?<=/uploads/)([\w-]{8})[\w=-]+"
_ID = r"\b([0-9a-f]{12})[0-9a-f]{48,}\b"  # of a container, a network, an exec
_STATE = r"(?<==)([\w-]{8})[\w=%-]{32,}"  # what a registry wants to be reminded of
_CODE = re.compile(rb'"code": *"([A-Z_]{1,50})"')


class Request(NamedTuple):
    """``up`` and ``down`` are bytes of bodies; ``fetched`` those that a mirror had to get for the answer.

    An engine's also say how the answer flows, ``at`` what second it came, and what the bodies begin with.
    """

    kind: str
    method: str
    path: str
    asked: str
    status: int
    reason: str
    answered: str
    up: int
    down: int
    fetched: int = 0
    flow: str = "whole"
    at: float = 0.0
    bodies: tuple[str, str] = ("", "")

    @property
    def refused(self) -> bool:
        """Whether it got a no; that of a HEAD is an answer like any other."""
        return self.status >= 400 and self.method != "HEAD"

    def __str__(self) -> str:
        out, back = f"{self.method} {self.path} {self.asked}", f"{self.status} {self.reason} {self.answered}"
        return short(f"{out.strip()} → {back.strip()}")


def log_of(what: Any) -> Any:
    """The list that grows: a client's exchanges, a registry's log, or a list itself."""
    return what.exchanges if isinstance(what, Client) else getattr(what, "log", what)


def name_of(what: Any) -> str:
    """The registry that is spoken to; of a list, what its first request says."""
    if found := getattr(what, "registry", None) or getattr(what, "address", None):
        return str(found)
    first = next(iter(what), None)
    return urlsplit(first.url).netloc if isinstance(first, Exchange) else "registry"


def request_of(one: Any, registry: str) -> Request:
    """The request that an Exchange, or an Access of a registry's log, is about."""
    if isinstance(one, Exchange):
        parts = urlsplit(one.url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        host = "" if parts.netloc == registry or path.startswith("/v2/") else parts.netloc
        sent, headers, reason = _lower(one.sent), _lower(one.headers), one.reason
        codes = [code.decode() for code in _CODE.findall(one.body)]
        empty = one.method == "HEAD" or one.status == 204
        up, down, fetched = _length(sent), 0 if empty else _length(headers) or len(one.body), 0
    else:
        path, host, codes = one.path, "", []
        sent, headers = _lower(one.request_headers), _lower(one.headers)
        reason = HTTPStatus(one.status).phrase if one.status in set(HTTPStatus) else ""
        up, down, fetched = one.received, one.sent, one.fetched
    if one.status != 202 and one.status // 100 != 3:  # else it is where one goes on
        headers.pop("location", None)
    kind = next(kind for kind, pattern in KINDS.items() if re.match(pattern, path))
    asked = _told(sent, ASKED, path)
    answered = " · ".join(filter(None, [*codes, _told(headers, ANSWERED, path)]))
    method, path, reason = plain(one.method), plain(host + path), plain(reason)
    return Request(kind, method, path, asked, one.status, reason, answered, up, down, fetched)


def short(text: str) -> str:
    """A line with what is long in it cut."""
    for long in (_DIGEST, _UPLOAD, _STATE, _ID):
        text = re.sub(long, r"\1…", text)
    return re.sub(r"application/vnd\.([\w.]+)\+json", r"\1", text)


def _told(headers: Mapping[str, str], names: tuple[str, ...], path: str) -> str:
    """Those of the headers, but for what the path says already, and types that say nothing."""
    found = {name: headers.get(name.lower(), "") for name in names}
    if "vnd." not in found["Content-Type"]:
        del found["Content-Type"]
    told = [f"{name}: {value}" for name, value in found.items() if value and value not in path]
    return plain(" · ".join(told).replace("Content-Type: ", ""))


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _length(headers: Mapping[str, str]) -> int:
    length = headers.get("content-length", "")
    return int(length) if re.fullmatch("[0-9]{1,18}", length) else 0
