"""The wire view: what clients and the engine say to each other, as it happens.

Each request is an arrow to the engine, its answer one back. An answer that is a stream goes on while others
are asked; on a connection that was taken over, bytes go both ways, which is no longer HTTP.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from kit.lab.exchanges import Exchanges, alongside
from kit.lab.requests import Request
from kit.lab.tree import count
from kit.registries.exchange import plain

if TYPE_CHECKING:
    from kit.engine import Engine, Exchange

KINDS = ("containers", "images", "networks", "volumes", "exec", "build")
CLIENTS = {"Docker-Client": "docker command", "docker-sdk-python": "Docker SDK"}
FLOWS = {"whole": "", "stream": "a stream", "taken over": "taken over: bytes both ways"}


class Wire(Exchanges):
    """The requests that an engine got, which show themselves."""

    word = "wire"

    def _client(self) -> str:
        who = {one.asked for one in self.requests}
        return who.pop() or "client" if len(who) == 1 else "clients"

    def _said(self) -> str:
        flows = Counter(one.flow for one in self.requests)
        streams = count(flows["stream"], "stream") if flows["stream"] else ""
        taken = f"{flows['taken over']} taken over" if flows["taken over"] else ""
        return ", ".join(filter(None, (self._asked(), streams, taken)))

    def _told(self, one: Request) -> str:
        return one.asked if self._client() == "clients" else ""

    def _beside(self, one: Request, largest: int) -> str:
        return f"<div>{one.at:.3f} s</div>"


@contextmanager
def wire(engine: Engine, title: str = "over the wire") -> Iterator[Wire]:
    """Draw each request that an engine gets within the ``with`` block, and its answer, as they come.

        with lab.wire(engine):
            subprocess.run(["docker", "run", "--rm", "busybox", "true"])

    A row has the method and the path (of an id the first 12 digits), the status, whether the answer is a
    stream, the seconds since the block began, and the beginnings of the bodies, to be opened. The view has
    ``requests``. Outside of a notebook it is printed at the end.
    """
    began, view = time.monotonic(), Wire("engine", title, [])
    end = engine.watch(lambda one: view.requests.append(_request(one, time.monotonic() - began)))
    try:
        with alongside(view, view._repr_mimebundle_):
            yield view
    finally:
        end()


def _request(one: Exchange, at: float) -> Request:
    """An exchange in one line, which was heard ``at`` so many seconds."""
    path = plain(unquote_plus(one.path))
    first = re.sub(r"^/v\d+\.\d+", "", path).split("/")[1]
    reason = HTTPStatus(one.status).phrase if one.status in set(HTTPStatus) else ""
    received = one.received if one.method != "HEAD" else ""  # which has none, whatever is announced
    bodies = _readable(one.sent), _readable(received)
    kind = first if first in KINDS else "system"
    flow, who = FLOWS[one.kind], _client(getattr(one, "client", ""))
    return Request(kind, one.method, path, who, one.status, reason, flow, 0, 0, 0, one.kind, at, bodies)


def _client(agent: str) -> str:
    """A name for a User-Agent: ``Docker-Client/28.2.2 (linux)``."""
    name, _, version = agent.partition(" ")[0].partition("/")
    return plain(f"{CLIENTS.get(name, name)} {version}").strip()


def _readable(body: str) -> str:
    """A body, or its beginning, in lines; JSON that is all there is laid out."""
    with suppress(ValueError):
        body = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    return "\n".join(map(plain, body.splitlines()))
