"""What can go wrong between a client and a registry, as errors that say what, where and what to do.

The codes are those of the OCI distribution-spec, "Error Codes".
"""

from __future__ import annotations

import errno
import json
import re
import socket
import ssl
from http.client import HTTPException
from urllib.parse import urlsplit

from urllib3.exceptions import ProtocolError, ProxyError, URLSchemeUnknown

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
        self.status, self.codes = status, codes


class Unauthorized(RegistryRefused):
    """The registry wants other credentials than it got, or any."""


class NotInRegistry(RegistryRefused, LookupError):
    """The registry has no such repository, manifest, tag or blob."""


def check(exchange: Exchange, what: str, registry: str, *expected: int) -> Exchange:
    """The exchange, if its status is one of those expected; else an error with what the registry said.

    Raises :class:`NotInRegistry`, :class:`Unauthorized`, :class:`RegistryRefused`.
    """
    status = exchange.status
    if status in expected:
        return exchange
    codes, messages = _errors(exchange.body)
    said = f"{' '.join(codes) or status} ({'; '.join(messages)[:300] or plain(exchange.reason)})"
    kind, remedy = {
        401: (Unauthorized, f"Log in: kit login {registry}."),
        403: (Unauthorized, f"Log in as somebody who may: kit login {registry}."),
        404: (NotInRegistry, "Look at its name; `kit tags` lists a repository's tags."),
    }.get(status, (RegistryRefused, ""))
    raise kind(f"{what}: {registry} says {said}", exchange.url, remedy, status, *codes)


def _errors(body: bytes) -> tuple[list[str], list[str]]:
    """The codes and messages of an error's body, as far as it is one."""
    try:
        found = [one for one in json.loads(body)["errors"] if isinstance(one, dict)]
    except (ValueError, LookupError, TypeError, RecursionError):
        return [], []
    codes = [one["code"] for one in found if re.fullmatch("[A-Z_]{1,50}", str(one.get("code")))]
    return codes, [plain(one["message"]) for one in found if isinstance(one.get("message"), str)]


def broken(error: BaseException, url: str) -> RegistryError:
    """What urllib3's error means, in words."""
    host, cause = urlsplit(url).netloc, _cause(error)
    if isinstance(cause, RegistryError):
        return cause
    if isinstance(error, ProxyError | URLSchemeUnknown):
        remedy = "Look at $HTTP_PROXY, $HTTPS_PROXY and $NO_PROXY."
        return Unreachable(f"the proxy does not lead to {host}: {plain(cause)}", url, remedy)
    if isinstance(cause, ssl.SSLCertVerificationError):
        remedy = "Point SSL_CERT_FILE at the certificate of who signed it, or name the host as insecure."
        return RegistryError(f"the certificate of {host} is not trusted: {cause.verify_message}", url, remedy)
    if isinstance(cause, TimeoutError):
        return Unreachable(f"{host} was silent for too long (ETIMEDOUT)", url, "Try again.")
    if isinstance(cause, ConnectionRefusedError):
        return Unreachable(f"nobody listens at {host} (ECONNREFUSED)", url, "Is the registry running?")
    if isinstance(cause, socket.gaierror):
        remedy = "Check its name, and the network; without one, `kit registry` serves the base images."
        return Unreachable(f"the host {host} is not known", url, remedy)
    if isinstance(cause, ProtocolError | HTTPException | ConnectionError | ssl.SSLError):
        return Cut(f"the connection to {host} was cut before all was said ({type(cause).__name__})", url)
    name = errno.errorcode.get(getattr(cause, "errno", None) or 0, type(cause).__name__)
    return Unreachable(f"no connection to {host}: {name} ({plain(cause)})", url)


def _cause(error: BaseException) -> BaseException:
    """What urllib3 has wrapped."""
    inner = error.__cause__ or next((one for one in error.args if isinstance(one, BaseException)), None)
    return _cause(inner) if inner else error
