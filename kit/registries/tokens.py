"""What a registry wants to see before it serves: Basic (RFC 7617), or a token from another server.

A registry answers 401 with a challenge; see the "Token Authentication Specification" of
github.com/distribution/distribution:

    WWW-Authenticate: Bearer realm="https://auth.docker.io/token",service="registry.docker.io",
                      scope="repository:library/busybox:pull"

The client asks the realm, with its credentials or as nobody, and comes back with what it is given.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from kit.images import documents
from kit.registries.exchange import plain
from kit.registries.refusals import RegistryError, Unauthorized

if TYPE_CHECKING:
    from kit.registries.client import Client

_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s",]+))')
_REPOSITORY = re.compile(r"/v2/(.+)/(?:manifests|blobs|tags|referrers)/")
_TOKEN = re.compile(r"[\x21-\x7e]+")


def purpose_of(method: str, url: str) -> str:
    """What a token has to allow; a mount reads another repository as well, so its whole query counts."""
    parts = urlsplit(url)
    found = _REPOSITORY.match(parts.path)
    kind = "read" if method in ("GET", "HEAD") else "delete" if method == "DELETE" else "write"
    other = parts.query if "from=" in parts.query else ""
    return f"{kind} {found[1] if found else '/'} {other}"


def meet(client: Client, challenges: list[str], where: str) -> str | None:
    """The Authorization header that meets a challenge, None without credentials for it.

    Raises :class:`Unauthorized`, RegistryError.
    """
    by_scheme = {one.partition(" ")[0].lower(): one for one in reversed(challenges)}
    if "bearer" in by_scheme:
        found = {name: a or b for name, a, b in _PARAMETER.findall(by_scheme["bearer"])}
        return f"Bearer {_fetch(client, found)}"
    if "basic" not in by_scheme:
        what = f"{client.registry} wants {plain(', '.join(by_scheme)):.100}"
        raise RegistryError(what, where, "The kit knows Basic and Bearer.")
    credentials = client.credentials()
    return credentials.basic() if credentials and credentials.username else None


def _fetch(client: Client, challenge: dict[str, str]) -> str:
    realm = client.allowed(client.base, challenge.get("realm", ""))
    scopes = [("scope", scope) for scope in challenge.get("scope", "").split()]
    asked = [("service", challenge.get("service", "")), *scopes]
    url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(asked)}"
    credentials = client.credentials()
    if credentials is None:
        answer = client.send("GET", url, {})
    elif credentials.username:
        answer = client.send("GET", url, {"Authorization": credentials.basic()})
    else:  # an identity token, by OAuth2
        secret = {"grant_type": "refresh_token", "client_id": "kit", "refresh_token": credentials.secret}
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = client.send("POST", realm, form, urlencode([*asked, *secret.items()]).encode())
    with answer:
        exchange = answer.read()
    if exchange.status in (400, 401, 403):
        what = f"{client.registry} does not take these credentials, or gives no token without any"
        raise Unauthorized(what, exchange.url, f"Log in: kit login {client.registry}.", exchange.status)
    if exchange.status != 200:
        raise RegistryError(f"no token but the status {exchange.status}", exchange.url, "Try again later.")
    document, exchange.body = documents.parse(exchange.body, exchange.url), b""  # nobody shall see the token
    token = document.get("token") or document.get("access_token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise RegistryError("an answer without a token that could be sent", exchange.url)
    return token
