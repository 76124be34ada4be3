"""What can go wrong between a client and a registry, as errors that say what, where and what to do.

The codes are those of the OCI distribution-spec, "Error Codes".
"""

from __future__ import annotations

import json
import re

from kit.images.errors import ImageError
from kit.registries.exchange import Exchange, plain


class RegistryError(ImageError, OSError):
    """A registry that answers with something it should not, or to which nothing may be sent."""


class Unreachable(RegistryError):
    """No connection, or one that was cut or stood still: it may be well the next time."""


class Cut(Unreachable):
    """A connection that ended without an answer, or in the middle of one."""


class RegistryRefused(RegistryError):
    """The registry said no: ``status`` is HTTP's, ``codes`` are the specification's, such as NAME_UNKNOWN."""

    def __init__(self, what: str, where: object = "", remedy: str = "", status: int = 0, *codes: str) -> None:
        super().__init__(what, where, remedy)
        self.status = status
        self.codes = codes


class Unauthorized(RegistryRefused):
    """The registry wants other credentials than it got, or any."""


class NotInRegistry(RegistryRefused, LookupError):
    """The registry has no such repository, manifest, tag or blob."""


def check(exchange: Exchange, what: str, registry: str, *expected: int) -> Exchange:
    """The exchange, if its status is one of those expected; else an error with what the registry said.

    Raises :class:`NotInRegistry`, :class:`Unauthorized`, :class:`RegistryRefused`.
    """
    if exchange.status in expected:
        return exchange
    codes, messages = _errors(exchange.body)
    name = " ".join(codes) or str(exchange.status)
    text = f"{what}: {registry} says {name} ({'; '.join(messages)[:300] or plain(exchange.reason)})"
    if exchange.status == 401:
        raise Unauthorized(text, exchange.url, f"Log in: kit login {registry}.", 401, *codes)
    if exchange.status == 403:
        remedy = f"Log in as somebody who may: kit login {registry}."
        raise Unauthorized(text, exchange.url, remedy, 403, *codes)
    if exchange.status == 404:
        remedy = "Look at its name; `kit tags` lists a repository's tags."
        raise NotInRegistry(text, exchange.url, remedy, 404, *codes)
    raise RegistryRefused(text, exchange.url, "", exchange.status, *codes)


def _errors(body: bytes) -> tuple[list[str], list[str]]:
    """The codes and messages of an error's body, as far as it is one."""
    try:
        found = [one for one in json.loads(body)["errors"] if isinstance(one, dict)]
    except (ValueError, LookupError, TypeError, RecursionError):
        return [], []
    codes = [one["code"] for one in found if re.fullmatch("[A-Z_]{1,50}", str(one.get("code")))]
    return codes, [plain(one["message"]) for one in found if isinstance(one.get("message"), str)]
