"""Another registry's images, fetched when they are first asked for: a pull-through mirror. See the OCI
distribution-spec, "Registry Proxying".

Everything with a digest is fetched once and kept. A tag may move, so the other registry is asked each time
what it stands for (HEAD, which the Hub does not count); where it can't be reached, what was kept is served.
While a blob comes, everybody who asks for it is given the same bytes, as they arrive.
"""

from __future__ import annotations

import asyncio
import re
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from aiohttp import web

from kit.images import documents
from kit.images.descriptor import INDEXES, MANIFESTS, Descriptor, algorithm_of, digest_of
from kit.images.errors import ImageError
from kit.registries.client import Client
from kit.registries.exchange import Exchange
from kit.registries.progress import State
from kit.registries.refusals import Unreachable
from kit.registries.server import upload
from kit.registries.server.bodies import give
from kit.registries.server.errors import ErrorAnswer
from kit.registries.server.log import FETCHED
from kit.registries.server.repositories import Repository, is_tag
from kit.registries.transfer import download

_AT_ONCE = 4  # blobs on their way
_AWAY = 15.0  # seconds until a registry that could not be reached is asked again
_LENGTH = re.compile(r"[0-9]{1,18}")
_ACCEPT = {"Accept": ", ".join(sorted(INDEXES | MANIFESTS))}


class Mirror:
    """A mirror of the registry at ``url``, such as https://registry-1.docker.io; ImageError for none."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/"):
            remedy = "One is https://registry-1.docker.io, the Hub."
            raise ImageError(f"{url!r} is no address of a registry", remedy=remedy)
        self.url = url
        self.client = _Nobody(parts.netloc, insecure=[parts.netloc] if parts.scheme == "http" else ())
        self._pool = ThreadPoolExecutor(_AT_ONCE, "mirror")
        self._coming: dict[tuple[str, str], Download] = {}
        self._away, self._away_until = ErrorAnswer(502, "UNKNOWN", ""), 0.0

    def ask(self, method: str, path: str) -> Exchange:
        """One request to the other registry; what it says no to is said no to in its place."""
        if time.monotonic() < self._away_until:
            raise self._away
        try:
            exchange = self.client.request(method, path, _ACCEPT)
        except Unreachable as error:
            self._away, self._away_until = _behind(error), time.monotonic() + _AWAY
            raise self._away from None
        except ImageError as error:
            raise _behind(error) from None
        if exchange.status in (401, 403):
            raise ErrorAnswer(403, "DENIED", f"{self.url} shows nobody, or not us, {path}")
        if exchange.status == 404:
            kind = next((one for one in ("manifest", "blob") if f"/{one}s/" in path), "name")
            raise ErrorAnswer(404, f"{kind.upper()}_UNKNOWN", f"{self.url} has no {path}")
        if exchange.status != 200:
            raise ErrorAnswer(502, "UNKNOWN", f"{self.url} answers {exchange.status} to {path}")
        return exchange

    def manifest(self, repository: Repository, reference: str) -> int:
        """Have what the reference stands for now; the bytes that had to be fetched. Raises ErrorAnswer."""
        there = repository.references().get(reference)
        tags = [reference] if is_tag(reference) else []
        if not tags and (there or ":" not in reference):  # a digest does not move
            return 0
        path = f"/v2/{repository.name}/manifests/{reference}"
        try:
            if there and self.ask("HEAD", path).headers.get("Docker-Content-Digest") == there.digest:
                return 0
            exchange = self.ask("GET", path)
        except ErrorAnswer as error:
            if there and error.status == 502:
                return 0
            raise
        digest = digest_of(exchange.body) if tags else reference
        algorithm, media_type = algorithm_of(digest), exchange.headers.get_content_type()
        right = exchange.whole and digest_of(exchange.body, algorithm) == digest
        if not right or media_type not in INDEXES | MANIFESTS:
            what = f"{self.url} sends what is not the manifest {reference}, but {media_type}"
            raise ErrorAnswer(502, "UNKNOWN", what)
        documents.parse(exchange.body, exchange.url)
        with repository.store.writing():
            repository.put(repository.store.put(exchange.body, media_type, algorithm), tags)
        return len(exchange.body)

    def blob(self, repository: Repository, digest: str) -> int:
        """Whether the other registry has the blob in this repository, and its bytes; else ErrorAnswer.

        One that is in the store already, by way of another repository, is not fetched again.
        """
        exchange = self.ask("HEAD", f"/v2/{repository.name}/blobs/{digest}")
        length = exchange.headers.get("Content-Length", "")
        if not _LENGTH.fullmatch(length):
            raise ErrorAnswer(502, "UNKNOWN", f"{self.url} does not say how long {digest} is")
        repository.mount(digest, None)
        return int(length)

    async def hand_on(
        self, request: web.Request, repository: Repository, digest: str, size: int
    ) -> web.StreamResponse:
        """The answer to a request for a blob that is not here: its bytes at the pace at which they come."""
        if request.method == "HEAD":
            headers = {"Docker-Content-Digest": digest, "Content-Length": str(size)}
            return web.Response(content_type="application/octet-stream", headers=headers)
        key = repository.name, digest
        if key not in self._coming:
            request[FETCHED] = size  # the others who want it now get it for nothing
            self._coming[key] = Download(self.client, self._pool, repository, digest, size)
            self._coming[key].running.add_done_callback(lambda _: self._coming.pop(key))
        coming = self._coming[key]
        return await give(request, digest, coming.file, size, coming.more)

    def close(self) -> None:
        """End what is on its way."""
        self.client.close()
        self._pool.shutdown()


MIRROR: web.AppKey[Mirror | None] = web.AppKey("mirror")


class _Nobody(Client):
    """A client that tells nobody who it is: what only we may see is not for everybody who asks a mirror."""

    def credentials(self) -> None:
        """Nobody's."""
        return None


def _behind(error: Exception) -> ErrorAnswer:
    return ErrorAnswer(502, "UNKNOWN", f"the registry that this one mirrors: {error}")


class Download:
    """A blob of ``whole`` bytes that a thread writes, while any number of clients read it."""

    def __init__(
        self, client: Client, pool: ThreadPoolExecutor, repository: Repository, digest: str, whole: int
    ) -> None:
        self.client, self.repository, self.digest, self.whole = client, repository, digest, whole
        self._upload = upload.begin(repository)
        self.file = self._upload.path.open("rb")  # which stays the same when it becomes a blob
        self._loop, self._grown = asyncio.get_running_loop(), asyncio.Event()
        self.running = self._loop.run_in_executor(pool, self._fetch)
        self.running.add_done_callback(self._end)

    def _end(self, running: asyncio.Future[None]) -> None:
        running.exception()  # which nobody may wait for any more
        self._grown.set()

    async def more(self, than: int) -> int:
        """Wait until more than so many bytes may be handed on, and say how many; raises what went wrong.

        The last one may only when all of them have the digest.
        """
        while not self.running.done():
            if (ready := min(self._upload.size, self.whole - 1)) > than:
                return ready
            self._grown.clear()
            await self._grown.wait()
        self.running.result()
        return self.whole

    def _fetch(self) -> None:
        try:
            blob = Descriptor("application/octet-stream", self.digest, self.whole)
            download(self.client, self.repository.name, blob, self._upload, self._tell)
            self._upload.commit(self.digest)
        except (ErrorAnswer, ImageError) as error:
            raise _behind(error) from None
        finally:
            self._upload.cancel()

    def _tell(self, state: State) -> None:
        self._loop.call_soon_threadsafe(self._grown.set)
