"""What a registry wants to see before it serves: Basic (RFC 7617), or a token from another server.

A registry answers 401 with a challenge; see the "Token Authentication Specification" of
github.com/distribution/distribution:

    WWW-Authenticate: Bearer realm="https://auth.docker.io/token",service="registry.docker.io",
                      scope="repository:library/busybox:pull"

The client asks the realm, with its credentials or as nobody, and comes back with what it is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlencode, urlsplit

from kit.images import documents
from kit.registries.credentials import Credentials
from kit.registries.exchange import Exchange, plain
from kit.registries.refusals import RegistryError, Unauthorized
from kit.registries.transport import Answer

_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s",]+))')
_REPOSITORY = re.compile(r"/v2/(.+)/(?:manifests|blobs|tags|referrers)/")
_TOKEN = re.compile(r"[\x21-\x7e]+")


class Tokens:
    """The Authorization headers for one registry, by what they allow.

    ``send`` makes a request, ``known`` finds the credentials, ``plain_allowed`` says who may lack TLS.
    """

    def __init__(
        self,
        registry: str,
        send: Callable[[str, str, dict[str, str], bytes | None], Answer],
        known: Callable[[], Credentials | None],
        plain_allowed: Callable[[str], bool],
    ) -> None:
        self._registry, self._send, self._known = registry, send, known
        self._plain_allowed = plain_allowed
        self._headers: dict[str, str] = {}

    def header(self, purpose: str) -> str | None:
        """What was good for this purpose before, or for all."""
        return self._headers.get(purpose) or self._headers.get("")

    def answer(self, exchange: Exchange, purpose: str) -> str | None:
        """A header that meets the challenge of a 401, None without credentials for it.

        Raises :class:`Unauthorized`, RegistryError.
        """
        challenges = exchange.headers.get_all("WWW-Authenticate", [])
        by_scheme = {one.partition(" ")[0].lower(): one for one in reversed(challenges)}
        credentials = self._known()
        if "bearer" in by_scheme:
            found = {name: a or b for name, a, b in _PARAMETER.findall(by_scheme["bearer"])}
            self._headers[purpose] = f"Bearer {self._fetch(found, credentials)}"
            return self._headers[purpose]
        if "basic" not in by_scheme:
            what = f"{self._registry} wants {', '.join(by_scheme) or 'something it does not name'}"
            raise RegistryError(what, exchange.url, "The kit knows Basic and Bearer.")
        if credentials is None or not credentials.username:
            return None
        self._headers[""] = credentials.basic()
        return self._headers[""]

    def _fetch(self, challenge: dict[str, str], credentials: Credentials | None) -> str:
        realm = challenge.get("realm", "")
        parts = urlsplit(realm)
        if parts.scheme != "https" and not (parts.scheme == "http" and self._plain_allowed(parts.netloc)):
            what = f"{self._registry} sends us for a token to {plain(realm)!r:.200}"
            raise RegistryError(what, remedy="Only https is safe for credentials; nothing was sent.")
        scopes = [("scope", scope) for scope in challenge.get("scope", "").split()]
        asked = [("service", challenge.get("service", "")), *scopes]
        headers, method, body = {}, "GET", None
        if credentials is not None and credentials.username:
            headers["Authorization"] = credentials.basic()
        elif credentials is not None:  # an identity token, by OAuth2
            secret = {"grant_type": "refresh_token", "client_id": "kit", "refresh_token": credentials.secret}
            method, body = "POST", urlencode([*asked, *secret.items()]).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        url = realm if body else f"{realm}{'&' if parts.query else '?'}{urlencode(asked)}"
        with self._send(method, url, headers, body) as answer:
            return self._token(answer)

    def _token(self, answer: Answer) -> str:
        where = answer.exchange.url
        if answer.status in (400, 401, 403):
            what = f"{self._registry} does not take these credentials, or gives no token without any"
            raise Unauthorized(what, where, f"Log in: kit login {self._registry}.", answer.status)
        if answer.status != 200:
            raise RegistryError(f"no token but the status {answer.status}", where, "Try again later.")
        document = documents.parse(answer.read(documents.LIMIT), where)
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise RegistryError("an answer without a token that could be sent", where)
        return token


def purpose_of(method: str, url: str) -> str:
    """What a token has to allow; a mount reads another repository as well, so its whole query counts."""
    parts = urlsplit(url)
    found = _REPOSITORY.match(parts.path)
    kind = "read" if method in ("GET", "HEAD") else "delete" if method == "DELETE" else "write"
    other = parts.query if "from=" in parts.query else ""
    return f"{kind} {found[1] if found else '/'} {other}"
