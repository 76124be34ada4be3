"""What a request asks, each value of the type that Docker's API names, and how the engine says no.

See the Docker Engine API, "Errors": HTTP's status, and one sentence.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from kit.images.build.check import nanoseconds
from kit.images.build.errors import BadDockerfile
from kit.images.documents import Document
from kit.images.errors import BadReference, ImageError, StoreBusy, UnknownImage
from kit.registries.refusals import NotInRegistry, Unauthorized

if TYPE_CHECKING:
    from kit.engine.server import Engine

Handler = Callable[["Engine", web.Request], Awaitable[object]]
#: Method, path and handler of all that can be asked, as :func:`route` has collected them.
ROUTES: list[tuple[str, str, Handler]] = []
LIMIT = 4 << 20  # bytes of a JSON body
T = TypeVar("T")
_NAMES = {str: "a string", int: "a number", bool: "true or false", dict: "an object"}
_MANY = {str: "strings", int: "numbers", dict: "objects"}


def route(method: str, path: str) -> Callable[[Handler], Handler]:
    """Have a function answer requests. What it returns is sent as JSON, None as the status 204."""

    def add(handler: Handler) -> Handler:
        ROUTES.append((method, path, handler))
        return handler

    return add


def flag(request: web.Request, name: str, default: bool = False) -> bool:
    """A yes or no of the query."""
    text = request.query.get(name)
    return default if text is None else text.lower() not in ("", "0", "no", "false", "none")


def number(request: web.Request, name: str) -> float | None:
    """A number of the query, or None; raises Refused."""
    text = request.query.get(name, "")
    try:
        value = float(text) if text else None
    except ValueError:
        value = math.nan
    if value is not None and not math.isfinite(value):
        raise bad(f"{name}={text!r:.60} is no number")
    return value


def moment(text: str) -> float:
    """Seconds since 1970 of a time: such a number, one like 2026-01-31T12:00:00Z, or an age like 1h30m."""
    for read in (float, lambda text: datetime.fromisoformat(text).timestamp()):
        try:
            return float(read(text))
        except ValueError:
            continue
    try:
        return time.time() - nanoseconds(text) / 1e9
    except BadDockerfile:
        raise bad(f"{text!r:.60} is no time, and no age like 1h30m") from None


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


def chosen(
    request: web.Request, things: Iterable[T], tests: Mapping[str, Callable[[T, str], bool]]
) -> list[T]:
    """What the query's ``filters`` let pass: of a name one value must fit, of labels all. Raises Refused."""
    wanted = filters(request, tests)

    def fits(one: T) -> bool:
        every = {key: [tests[key](one, text) for text in texts] for key, texts in wanted.items()}
        return all((all if key.startswith("label") else any)(found) for key, found in every.items())

    return [one for one in things if fits(one)]


def labelled(labels: Mapping[str, str] | None, wanted: str) -> bool:
    """Whether ``name`` or ``name=value`` is among the labels."""
    name, equals, value = wanted.partition("=")
    return name in (labels or {}) and (not equals or (labels or {})[name] == value)


def is_true(text: str) -> bool:
    """A yes or no among filters; raises Refused for anything else, since a prune would take it for all."""
    if text.lower() not in ("true", "1", "false", "0"):
        raise bad(f"{text!r:.40} is neither true nor false")
    return text.lower() in ("true", "1")


async def body(request: web.Request) -> Document:
    """The JSON object that was sent; none is an empty one. Raises Refused."""
    try:
        found = json.loads(await request.read() or b"{}")
    except (ValueError, RecursionError):
        raise bad("the body is no JSON") from None
    if not isinstance(found, dict):
        raise bad("the body must be a JSON object")
    return found


#: What a field may be that the engine does not have: as if it were not there.
_NOTHING: tuple[Any, ...] = ("", False, 0, [], {})


def known(value: Any, shape: Any, where: str = "") -> None:
    """Raise Refused for a value of another shape, or with a field that the engine does not have.

    A shape is a type; a tuple of the values that can be; ``[shape]`` for a list; ``{"Name": shape}`` for an
    object, or ``{str: shape}`` where any name will do. Null is always fine.
    """
    if value is None:
        return
    if isinstance(shape, tuple):
        if value not in shape:
            raise bad(f"the engine does not have the option {where}={value!r:.60}")
    elif isinstance(shape, list):
        kind = dict if isinstance(shape[0], dict) else shape[0]
        if not isinstance(value, list) or not all(isinstance(one, kind) for one in value):
            raise bad(f"{where} must be a list of {_MANY[kind]}")
        for one in value:
            known(one, shape[0], where)
    elif isinstance(shape, dict):
        if not isinstance(value, dict):
            raise bad(f"{where} must be an object")
        for name, one in value.items():
            known(one, shape.get(name, shape.get(str, _NOTHING)), f"{where}.{name:.60}".lstrip("."))
    elif not isinstance(value, shape) or (shape is int and isinstance(value, bool)):
        raise bad(f"{where} must be {_NAMES[shape]}")


def reply(document: object, status: int = 200) -> web.Response:
    """An answer of JSON. Clients compare its type with "application/json" to the letter."""
    return web.Response(body=json.dumps(document).encode(), status=status, content_type="application/json")


class Refused(Exception):
    """A request that is not carried out: ``status`` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def bad(message: str) -> Refused:
    """400: the request can't be meant so."""
    return Refused(400, message)


def missing(message: str) -> Refused:
    """404: there is no such thing."""
    return Refused(404, message)


def conflict(message: str) -> Refused:
    """409: not in the state that it is in."""
    return Refused(409, message)


def status_of(error: Exception) -> int:
    """The status that goes with an error of any room of the kit."""
    match error:
        case Refused():
            return error.status
        case UnknownImage() | NotInRegistry():
            return 404
        case Unauthorized():
            return 401
        case BadReference() | BadDockerfile():
            return 400
        case StoreBusy():
            return 409
        case ImageError() | OSError():
            return 500
        case ValueError() | KeyError() | TypeError() | AttributeError():  # a document of another shape
            return 400
    return 500


def message_of(error: Exception) -> str:
    """An error as one line."""
    if isinstance(error, UnknownImage):
        return f"No such image: {error}"  # clients look for these words
    return " ".join(str(error).split()) or type(error).__name__
