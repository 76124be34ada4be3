"""What a client and a server say to each other, as a sequence of arrows; also while they speak.

Every request is an arrow to the right, its answer one back, coloured by what was asked for. Bars at the side
compare the bytes of the bodies. See :mod:`kit.lab.wire` for those of an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from IPython.core.getipython import get_ipython

from kit.lab.following import following
from kit.lab.requests import Request, log_of, name_of, request_of, short
from kit.lab.rows import row, table
from kit.lab.tree import count
from kit.show import size

MOST = 30  # requests in one picture: the latest


class Exchanges:
    """Requests and their answers, which show themselves; ``requests`` has them in their order."""

    word = "exchanges"

    def __init__(self, server: str, title: str, requests: list[Request]) -> None:
        self.server, self.title, self.requests = server, title, requests

    def html(self) -> str:
        """The sequence, as a table."""
        shown = self.requests[-MOST:]
        largest = max([1, *(max(one.up, one.down) for one in shown)])
        hidden = len(self.requests) - len(shown)
        more = f'<div class="kit-more">{count(hidden, "earlier request")} not shown</div>' if hidden else ""
        ends = f'<div class="kit-ends"><b>{escape(self._client())}</b> <b>{escape(self.server)}</b></div>'
        body = "".join(self._row(one, largest) for one in shown)
        look = f"kit-exchanges kit-{self.word}"
        return table("exchanges.css", look, self.title, self._said(), body, above=more + ends)

    def _client(self) -> str:
        return "client"

    def _said(self) -> str:
        up, down, fetched = (
            sum(getattr(one, name) for one in self.requests) for name in ("up", "down", "fetched")
        )
        behind = f", {size(fetched)} fetched from the one behind it" if fetched else ""
        return f"{self._asked()}; {size(up)} to the registry, {size(down)} from it{behind}"

    def _asked(self) -> str:
        return count(len(self.requests), "request") if self.requests else "no request yet"

    def _told(self, one: Request) -> str:
        """What is said beside the path."""
        return one.asked

    def _row(self, one: Request, largest: int) -> str:
        """Two lines: what was asked and what was answered, which open to the bodies that are known."""
        path, told = escape(short(one.path)), _small(self._told(one))
        asked = f"<b>{escape(one.method)}</b> <code>{path}</code> {told}"
        fetched = f"{size(one.fetched)} fetched first" if one.fetched else ""
        answered = " · ".join(filter(None, (fetched, one.answered)))
        status = f"<span><b>{one.status}</b> {escape(one.reason)}</span> {_small(answered)}"
        whole, (sent, received) = " ".join((one.path, one.asked)), one.bodies
        cells = {
            "kind": f"<span>{one.kind}</span>",
            "arrows": _line("asked", whole, f"<span>{asked}{_cue(sent)}</span> <i>→</i>", sent)
            + _line("answered", one.answered, f"<i>←</i> <span>{status}{_cue(received)}</span>", received),
            "beside": self._beside(one, largest),
        }
        look = one.flow.replace(" ", "-")
        return row(f"{one.kind} kit-{look}{' kit-refused' * one.refused}", cells)

    def _beside(self, one: Request, largest: int) -> str:
        """The bytes that went along, each at its line."""
        return _bytes(one.up, largest) + _bytes(one.down, largest)

    def __str__(self) -> str:
        return "\n".join([f"{self.title}: {self._said()}", *map(str, self.requests)])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": f"[{self.word}] {self.title}", "text/html": self.html()}


def exchanges(what: Any, title: str = "") -> Exchanges:
    """Draw the requests of a Client, of a Registry (its log), or of a list of Exchange or Access."""
    server = name_of(what)
    requests = [request_of(one, server) for one in log_of(what)]
    return Exchanges(server, title or "requests and answers", requests)


@contextmanager
def watching(what: Any, title: str = "") -> Iterator[Exchanges]:
    """Draw the requests that a Client makes, or a Registry gets, within the ``with`` block, as they come.

    Outside of a notebook they are printed at the end.
    """
    log = log_of(what)
    last = log[-1] if log else None
    view = exchanges(what, title)

    def look() -> dict[str, str]:
        found: list[Any] = []
        for one in reversed(list(log)):
            if one is last:
                break
            found.append(one)
        view.requests = [request_of(one, view.server) for one in reversed(found)]
        return view._repr_mimebundle_()

    with alongside(view, look):
        yield view


@contextmanager
def alongside(view: Any, look: Callable[[], dict[str, str]]) -> Iterator[None]:
    """Draw what ``look`` gives while the block is at work; outside of a notebook print ``view`` after it."""
    if get_ipython() is not None:
        with following(look):
            yield
        return
    try:
        yield
    finally:
        look()
        print(view)


def _line(look: str, title: str, inner: str, body: str) -> str:
    line = f'<div class="kit-{look}" title="{escape(title)}">{inner}</div>'
    return f"<details><summary>{line}</summary><pre>{escape(body)}</pre></details>" if body else line


def _cue(body: str) -> str:
    return ' <small class="kit-cue">body</small>' if body else ""


def _small(text: str) -> str:
    return f"<small>{escape(short(text))}</small>" if text else ""


def _bytes(number: int, largest: int) -> str:
    if not number:
        return "<div></div>"
    bar = f'<span aria-hidden="true"><i style="width:{100 * number / largest:.1f}%"></i></span>'
    return f"<div>{bar} {size(number)}</div>"
