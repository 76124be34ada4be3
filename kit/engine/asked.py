"""What a request asks: its query, its filters, its JSON, each of the type that Docker's API names."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from aiohttp import web

from kit.engine.errors import bad
from kit.images.documents import Document

#: Method, path and handler; what a handler returns is JSON, None the status 204.
Routes = list[tuple[str, str, Callable[[web.Request], Awaitable[object]]]]
LIMIT = 4 << 20  # bytes of a JSON body
_NAMES = {
    str: "a string",
    int: "a number",
    bool: "true or false",
    list: "a list of strings",
    dict: "an object",
}


def flag(request: web.Request, name: str, default: bool = False) -> bool:
    """A yes or no of the query."""
    text = request.query.get(name)
    return default if text is None else text.lower() not in ("", "0", "no", "false", "none")


def number(request: web.Request, name: str) -> float | None:
    """A number of the query, or None; raises Refused."""
    text = request.query.get(name, "")
    try:
        return float(text) if text else None
    except ValueError:
        raise bad(f"{name}={text!r:.60} is no number") from None


def filters(request: web.Request, known: Iterable[str]) -> dict[str, list[str]]:
    """``filters`` of the query: for each name the values, of which one must fit. Raises Refused.

    Older clients send ``{"label": {"a=b": true}}``, newer ones ``{"label": ["a=b"]}``.
    """
    try:
        found = json.loads(request.query.get("filters") or "{}")
        given = {name: [str(value) for value in found[name]] for name in found}
    except (ValueError, TypeError, RecursionError):
        raise bad("filters must be an object of lists") from None
    if others := given.keys() - set(known):
        raise bad(f"invalid filter {min(others)!r}: there are {', '.join(sorted(known))}")
    return given


def labelled(labels: Mapping[str, str] | None, wanted: Iterable[str]) -> bool:
    """Whether all of ``name`` or ``name=value`` are among the labels."""
    pairs = [text.partition("=") for text in wanted]
    there = labels or {}
    return all(name in there and (not equals or there[name] == value) for name, equals, value in pairs)


async def body(request: web.Request) -> Document:
    """The JSON object that was sent; none is an empty one. Raises Refused."""
    try:
        found = json.loads(await request.read() or b"{}")
    except (ValueError, RecursionError):
        raise bad("the body is no JSON") from None
    if not isinstance(found, dict):
        raise bad("the body must be a JSON object")
    return found


def check(document: Mapping[str, Any], types: Mapping[str, type], where: str = "") -> None:
    """Raise Refused for a value of another type than ``types`` has for its key; null is always fine."""
    for key, kind in types.items():
        value = document.get(key)
        right = value is None or (isinstance(value, kind) and not (kind is int and isinstance(value, bool)))
        if not right or (isinstance(value, list) and not all(isinstance(one, str) for one in value)):
            raise bad(f"{where}{key} must be {_NAMES[kind]}")


def reply(document: object, status: int = 200) -> web.Response:
    """An answer of JSON. Clients compare its type with "application/json" to the letter."""
    return web.Response(body=json.dumps(document).encode(), status=status, content_type="application/json")
