"""The client's side of the OCI distribution-spec 1.1: single requests, as safe and stubborn as need be.

    with Client("127.0.0.1:5000") as client:
        client.get("/v2/library/busybox/tags/list")

A request is sent again where the registry was busy or away; a challenge is answered; a redirect is followed
to where it may lead. What all this took is in ``client.exchanges``.
"""

from __future__ import annotations

import ipaddress
import random
import threading
from collections import deque
from collections.abc import Collection, Mapping
from types import TracebackType
from urllib.parse import urljoin, urlsplit

from kit.images import documents
from kit.images.errors import BadReference
from kit.images.reference import HUB, Reference
from kit.registries import credentials as kept
from kit.registries.credentials import Credentials
from kit.registries.exchange import Exchange, plain
from kit.registries.refusals import Cut, RegistryError, Unreachable
from kit.registries.tokens import Tokens, purpose_of
from kit.registries.transport import Answer, Part, Transport, repeatable

Body = bytes | Part | None

HUB_HOST = "registry-1.docker.io"
TRIES = 5
BUSY = (408, 429, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_HOPS = 5
_WAIT, _LONGEST = 0.2, 20.0  # seconds: the first pause doubles up to the longest


class Client:
    """A client of one registry, which several threads may use; its connections end with :meth:`close`.

    ``registry`` is as in an image's name: ``docker.io``, ``127.0.0.1:5000``. Without TLS it speaks only to
    this machine itself, and to those that are ``insecure``, whose certificates are not checked either.
    ``credentials`` are by default what `kit login` has kept. Raises :class:`BadReference` for another name.
    """

    def __init__(
        self, registry: str = HUB, *, insecure: Collection[str] = (), credentials: Credentials | None = None
    ) -> None:
        if "/" in registry or Reference.parse(f"{registry}/x/y").registry != registry:
            remedy = "One is 'docker.io' or '127.0.0.1:5000'."
            raise BadReference(f"{registry!r} is no host name of a registry", remedy=remedy)
        self.registry = registry
        self.exchanges: deque[Exchange] = deque(maxlen=1000)
        self._host = HUB_HOST if registry == HUB else registry
        self._insecure = {insecure} if isinstance(insecure, str) else set(insecure)
        self._transport = Transport(self._insecure)
        self._given = credentials
        self._tokens = Tokens(registry, self._stubborn, self.credentials, self._plain_allowed)
        self._answered = False
        self._base, self._trying = "", threading.Lock()

    # One request

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Exchange:
        """GET; of a long body the first 4 MiB are kept. As all of these, whatever the status is."""
        return self.request("GET", path, headers)

    def head(self, path: str, headers: Mapping[str, str] | None = None) -> Exchange:
        """HEAD: the headers of a GET, without the body."""
        return self.request("HEAD", path, headers)

    def post(self, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Exchange:
        """POST, which begins an upload."""
        return self.request("POST", path, headers, body)

    def patch(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Exchange:
        """PATCH, which goes on with an upload."""
        return self.request("PATCH", path, headers, body)

    def put(self, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Exchange:
        """PUT, which ends an upload, or sends a manifest."""
        return self.request("PUT", path, headers, body)

    def delete(self, path: str) -> Exchange:
        """DELETE a tag, a manifest, a blob or an upload."""
        return self.request("DELETE", path)

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
    ) -> Exchange:
        """Any request; ``path`` may be an answer's Location. Raises RegistryError where no answer came."""
        with self.open(method, path, headers, body) as answer:
            data = answer.read(documents.LIMIT)
            answer.exchange.body = data[: documents.LIMIT]
            answer.exchange.whole = len(data) <= documents.LIMIT
            return answer.exchange

    def open(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
    ) -> Answer:
        """As :meth:`request`, with the body still to be read."""
        url = self._allowed(self.base, path)
        if method in ("POST", "PUT", "PATCH"):
            body = body or b""  # whose length is told, as RFC 9110 asks
        sent = {"User-Agent": "kit", **(headers or {})}
        for _ in range(_HOPS):
            answer = self._authorized(method, url, sent, body)
            if answer.status not in _REDIRECTS or method not in ("GET", "HEAD"):
                return answer
            with answer:
                answer.read(documents.LIMIT)
                url = self._allowed(url, answer.headers.get("Location", ""))
        raise RegistryError(f"{self.registry} redirects more than {_HOPS} times", url)

    def pause(self, failures: int, retry_after: str = "") -> None:
        """Wait before another try: longer each time, by chance, so that many clients don't come back at once.

        Raises :class:`Unreachable` where the registry asks for more patience than a person has.
        """
        wait = min(_LONGEST, _WAIT * 2**failures) * random.uniform(0.5, 1)
        if retry_after.isdecimal():
            wait = float(retry_after)
            if wait > 3 * _LONGEST:
                what = f"{self.registry} has too much to do: it asks for {retry_after:.20} seconds"
                raise Unreachable(what, remedy="Try again then, or log in: known users may do more.")
        if self._transport.ended.wait(wait):
            raise Unreachable("the transfer was given up", self.registry)

    @property
    def base(self) -> str:
        """https:// or http:// and the host; where plain HTTP is allowed, that is tried first, and once.

        Raises :class:`Unreachable`.
        """
        with self._trying:
            self._base = self._base or self._find_base()
            return self._base

    def _find_base(self) -> str:
        if not self._plain_allowed(self._host):
            return f"https://{self._host}"
        url = f"http://{self._host}"
        try:
            with self._transport.send("GET", f"{url}/v2/", {"User-Agent": "kit"}, None) as answer:
                answer.exchange.body = answer.read(documents.LIMIT)
                self.exchanges.append(answer.exchange)
                tls = answer.status == 400  # what Go's servers say of a request that is not encrypted
        except Cut:
            tls = True
        return f"https://{self._host}" if tls else url

    # What may be sent where

    def _authorized(self, method: str, url: str, headers: dict[str, str], body: Body) -> Answer:
        """The answer to a request that says who we are, if it goes to the registry and to nobody else."""
        if not url.startswith(f"{self.base}/"):
            rest = {name: value for name, value in headers.items() if name.lower() != "authorization"}
            return self._stubborn(method, url, rest, body)
        purpose = purpose_of(method, url)
        authorization = self._tokens.header(purpose)
        asked = False
        while True:
            own = {**headers, **({"Authorization": authorization} if authorization else {})}
            answer = self._stubborn(method, url, own, body)
            if asked or answer.status != 401 or "WWW-Authenticate" not in answer.headers:
                return answer
            authorization = self._tokens.answer(answer.exchange, purpose)
            if authorization is None:
                return answer
            with answer:
                answer.read(documents.LIMIT)
            asked = True

    def _stubborn(self, method: str, url: str, headers: dict[str, str], body: Body) -> Answer:
        """Send a request until it is answered.

        A registry that has never answered gets one chance only, and so does a part of an upload.
        """
        failures = 0
        while True:
            failures += 1
            try:
                answer = self._transport.send(method, url, headers, body)
            except Unreachable:
                if failures == TRIES or not self._answered or not repeatable(method, body):
                    raise
                self.pause(failures)
                continue
            self._answered = True
            self.exchanges.append(answer.exchange)
            if answer.status not in BUSY or failures == TRIES or not repeatable(method, body):
                return answer
            with answer:
                answer.read(documents.LIMIT)
                self.pause(failures, answer.headers.get("Retry-After", ""))

    def _allowed(self, url: str, location: str) -> str:
        """Where a location leads from ``url``; never from TLS to plain HTTP, nor to another scheme."""
        try:
            target = urljoin(url, location)
            parts = urlsplit(target)
            clean = bool(location and parts.hostname and parts.port != 0) and parts.username is None
            plain_http = url.startswith("http:") and self._plain_allowed(parts.netloc)
        except ValueError:
            clean = False
        clean = clean and target.isascii() and target.isprintable() and " " not in target
        if not clean or not (parts.scheme == "https" or (parts.scheme == "http" and plain_http)):
            what = f"{self.registry} points to {plain(location)!r:.200}, where the kit does not go"
            raise RegistryError(what, url, "A registry leads to https and nothing else: don't trust it.")
        return target

    def _plain_allowed(self, host: str) -> bool:
        name = urlsplit(f"//{host}").hostname or ""
        try:
            loopback = ipaddress.ip_address(name).is_loopback
        except ValueError:
            loopback = name == "localhost"
        return loopback or host in self._insecure

    def credentials(self) -> Credentials | None:
        """Those given, or else those that `kit login` has kept; raises ImageError."""
        return self._given or kept.find(self.registry)

    # Its end

    def close(self) -> None:
        """Close the connections, also under a thread that is waiting for an answer."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.registry!r})"
