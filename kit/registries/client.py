"""The client's side of the OCI distribution-spec 1.1: single requests, as safe and stubborn as need be.

    with Client("127.0.0.1:5000") as client:
        client.get("/v2/library/busybox/tags/list")

A request is sent again where the registry was busy or away; a challenge is answered; a redirect is followed
to where it may lead. What all this took is in ``client.exchanges``.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Collection, Mapping
from urllib.parse import urljoin, urlsplit

from kit.images.errors import BadReference
from kit.images.reference import HUB, Reference
from kit.registries import credentials as kept
from kit.registries import tokens
from kit.registries.credentials import Credentials
from kit.registries.exchange import Exchange, plain
from kit.registries.refusals import Cut, RegistryError, Unreachable
from kit.registries.transport import Answer, Body, Part, Transport, loopback

Headers = Mapping[str, str] | None

HUB_HOST = "registry-1.docker.io"
TRIES = 5
BUSY = (408, 429, 502, 503, 504)
_AGENT = {"User-Agent": "kit"}
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
        self._insecure = {insecure} if isinstance(insecure, str) else set(insecure)
        self._transport = Transport(self._insecure)
        self._given = credentials
        self._authorizations: dict[str, str] = {}  # what a token allows -> the header with it
        self._base, self._answered = "", False
        self._finding = threading.Lock()  # of the base, by one thread for all

    def get(self, path: str, headers: Headers = None) -> Exchange:
        """GET; of a long body the first 4 MiB are kept. As all of these, whatever the status is."""
        return self.request("GET", path, headers)

    def head(self, path: str, headers: Headers = None) -> Exchange:
        """HEAD: the headers of a GET, without the body."""
        return self.request("HEAD", path, headers)

    def post(self, path: str, body: bytes = b"", headers: Headers = None) -> Exchange:
        """POST, which begins an upload."""
        return self.request("POST", path, headers, body)

    def patch(self, path: str, body: bytes, headers: Headers = None) -> Exchange:
        """PATCH, which goes on with an upload."""
        return self.request("PATCH", path, headers, body)

    def put(self, path: str, body: bytes = b"", headers: Headers = None) -> Exchange:
        """PUT, which ends an upload, or sends a manifest."""
        return self.request("PUT", path, headers, body)

    def delete(self, path: str) -> Exchange:
        """DELETE a tag, a manifest, a blob or an upload."""
        return self.request("DELETE", path)

    def request(self, method: str, path: str, headers: Headers = None, body: Body = None) -> Exchange:
        """Any request; ``path`` may be an answer's Location. Raises RegistryError where no answer came."""
        with self.open(method, path, headers, body) as answer:
            return answer.read()

    def open(self, method: str, path: str, headers: Headers = None, body: Body = None) -> Answer:
        """As :meth:`request`, with the body still to be read."""
        url = self.allowed(self.base, path)
        if method in ("POST", "PUT", "PATCH"):
            body = body or b""  # whose length is told, as RFC 9110 asks
        for _ in range(_HOPS):
            answer = self._authorized(method, url, headers or {}, body)
            if answer.status not in _REDIRECTS or method not in ("GET", "HEAD"):
                return answer
            with answer:
                answer.read()
                url = self.allowed(url, answer.headers.get("Location", ""))
        raise RegistryError(f"{self.registry} redirects more than {_HOPS} times", url)

    def _authorized(self, method: str, url: str, headers: Mapping[str, str], body: Body) -> Answer:
        """The answer to a request that says who we are, if it goes to the registry and to nobody else."""
        if not url.startswith(f"{self.base}/"):
            rest = {name: value for name, value in headers.items() if name.lower() != "authorization"}
            return self.send(method, url, rest, body)
        purpose = tokens.purpose_of(method, url)
        known = self._authorizations.get(purpose) or self._authorizations.get("")
        answer = self.send(method, url, {**headers, **({"Authorization": known} if known else {})}, body)
        challenges = answer.headers.get_all("WWW-Authenticate", [])
        if answer.status != 401 or not challenges:
            return answer
        found = tokens.meet(self, challenges, url)
        if found is None:
            return answer
        with answer:
            answer.read()
        self._authorizations[purpose if found.startswith("Bearer") else ""] = found
        return self.send(method, url, {**headers, "Authorization": found}, body)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Body = None) -> Answer:
        """A request to whom it may concern, until it is answered.

        A registry that has never answered gets one chance only, and so does a part of an upload, as nobody
        knows how much of it has arrived.
        """
        tries = 1 if method == "PATCH" or isinstance(body, Part) else TRIES
        failures = 0
        while True:
            failures += 1
            try:
                answer = self._transport.send(method, url, {**_AGENT, **headers}, body)
            except Unreachable:
                if failures == tries or not self._answered:
                    raise
                self.pause(failures)
                continue
            self._answered = True
            self.exchanges.append(answer.exchange)
            if answer.status not in BUSY or failures == tries:
                return answer
            with answer:
                answer.read()
            self.pause(failures, answer.headers.get("Retry-After", ""))

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
        with self._finding:
            self._base = self._base or self._find_base()
            return self._base

    def _find_base(self) -> str:
        host = HUB_HOST if self.registry == HUB else self.registry
        if not self._plain_allowed(host):
            return f"https://{host}"
        try:
            with self._transport.send("GET", f"http://{host}/v2/", _AGENT, None) as answer:
                self.exchanges.append(answer.read())
                tls = answer.status == 400  # what Go's servers say of a request that is not encrypted
        except Cut:  # other servers hang up
            tls = True
        return f"{'https' if tls else 'http'}://{host}"

    def allowed(self, url: str, location: str) -> str:
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
        """Whether a host may do without TLS."""
        return loopback(host) or host in self._insecure

    def credentials(self) -> Credentials | None:
        """Those given, or else those that `kit login` has kept; raises ImageError."""
        return self._given or kept.find(self.registry)

    def close(self) -> None:
        """Close the connections, also under a thread that is waiting for an answer."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.registry!r})"
