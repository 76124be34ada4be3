"""Another registry's images, fetched when they are first asked for: a pull-through mirror. See the OCI
distribution-spec, "Registry Proxying".

Everything with a digest is fetched once and kept. A tag may move, so the other registry is asked each time
what it stands for (HEAD, which the Hub does not count); where it can't be reached, what was kept is served.
While a blob comes, everybody who asks for it is given the same bytes, as they arrive.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from kit.images import documents
from kit.images.descriptor import INDEXES, MANIFESTS, algorithm_of, digest_of
from kit.images.errors import ImageError
from kit.linux.errors import KernelError
from kit.registries.client import TRIES, Client
from kit.registries.exchange import Exchange
from kit.registries.refusals import RegistryError, Unreachable
from kit.registries.server import uploads
from kit.registries.server.errors import ErrorAnswer
from kit.registries.server.repositories import Repository, is_tag
from kit.registries.transport import CHUNK

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
        self._away, self._away_until = ErrorAnswer("UNKNOWN", ""), 0.0

    def ask(self, method: str, path: str) -> Exchange:
        """One request to the other registry; what it says no to is said no to in its place."""
        if time.monotonic() < self._away_until:
            raise self._away
        try:
            exchange = self.client.request(method, path, _ACCEPT)
        except RegistryError as error:
            self._away, self._away_until = _behind(error), time.monotonic() + _AWAY
            raise self._away from None
        if exchange.status in (401, 403):
            raise ErrorAnswer("DENIED", f"{self.url} shows nobody, or not us, {path}")
        if exchange.status == 404:
            kind = next((one for one in ("manifest", "blob") if f"/{one}s/" in path), "name")
            raise ErrorAnswer(f"{kind.upper()}_UNKNOWN", f"{self.url} has no {path}")
        if exchange.status != 200:
            raise ErrorAnswer("UNKNOWN", f"{self.url} answers {exchange.status} to {path}", status=502)
        return exchange

    def manifest(self, repository: Repository, reference: str) -> int:
        """Have what the reference stands for now; the bytes that had to be fetched. Raises ErrorAnswer."""
        path = f"/v2/{repository.name}/manifests/{reference}"
        try:
            there = repository.find(reference)
        except ErrorAnswer:
            there = None
        if there and ":" in reference:
            return 0
        try:
            if there and self.ask("HEAD", path).headers.get("Docker-Content-Digest") == there.digest:
                return 0
            exchange = self.ask("GET", path)
        except ErrorAnswer as error:
            if there and error.status == 502:
                return 0
            raise
        self._keep(repository, reference, exchange)
        return len(exchange.body)

    def _keep(self, repository: Repository, reference: str, exchange: Exchange) -> None:
        media_type = exchange.headers.get_content_type()
        algorithm = algorithm_of(reference) if ":" in reference else "sha256"
        wrong = ":" in reference and digest_of(exchange.body, algorithm) != reference
        if wrong or not exchange.whole or media_type not in INDEXES | MANIFESTS:
            what = f"{self.url} sends what is not the manifest {reference}, but {media_type}"
            raise ErrorAnswer("UNKNOWN", what, status=502)
        documents.parse(exchange.body, exchange.url)
        with repository.store.writing():
            kept = repository.store.put(exchange.body, media_type, algorithm)
            repository.put(kept, [reference] if is_tag(reference) else [])

    def blob(self, repository: Repository, digest: str) -> int:
        """Whether the other registry has the blob in this repository, and its bytes; else ErrorAnswer.

        One that is in the store already, by way of another repository, is not fetched again.
        """
        exchange = self.ask("HEAD", f"/v2/{repository.name}/blobs/{digest}")
        length = exchange.headers.get("Content-Length", "")
        if not _LENGTH.fullmatch(length):
            raise ErrorAnswer("UNKNOWN", f"{self.url} does not say how long {digest} is", status=502)
        with repository.store.writing():
            if repository.store.has(digest):
                repository.link(digest)
        return int(length)

    def download(self, repository: Repository, digest: str, size: int) -> Download:
        """The blob on its way: begun now, or by somebody else who wanted it. Call it in the event loop."""
        key = repository.name, digest
        if key not in self._coming:
            self._coming[key] = Download(self.client, repository, digest, size)
            running = asyncio.get_running_loop().run_in_executor(self._pool, self._coming[key].run)
            running.add_done_callback(lambda _: self._coming.pop(key))
        return self._coming[key]

    def close(self) -> None:
        """End what is on its way."""
        self.client.close()
        self._pool.shutdown()


class _Nobody(Client):
    """A client that tells nobody who it is: what only we may see is not for everybody who asks a mirror."""

    def credentials(self) -> None:
        """Nobody's."""
        return None


def _behind(error: Exception) -> ErrorAnswer:
    return ErrorAnswer("UNKNOWN", f"the registry that this one mirrors: {error}", status=502)


class Download:
    """A blob of ``size`` bytes that one thread writes, while any number of clients read it."""

    def __init__(self, client: Client, repository: Repository, digest: str, size: int) -> None:
        self.repository, self.digest, self.size = repository, digest, size
        self._client = client
        self._upload = uploads.begin(repository)
        self._file = self._upload.path.open("rb")  # which stays the same when it becomes a blob
        self._error: Exception = ErrorAnswer("UNKNOWN", "the blob could not be fetched")
        self._done = self._ended = False
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    @property
    def ready(self) -> int:
        """How many bytes may be handed on: the last one only when all of them have the digest."""
        return self.size if self._done else min(self._upload.size, self.size - 1)

    async def more(self, than: int) -> int:
        """Wait until more bytes are ready, and say how many; raises what went wrong."""
        while self.ready <= than and not self._ended:
            await self._changed.wait()
        if self._ended and not self._done:
            raise self._error
        return self.ready

    def read(self, offset: int, count: int) -> bytes:
        """``count`` bytes that are ready; see pread(2)."""
        return os.pread(self._file.fileno(), count, offset)

    def run(self) -> None:
        """Fetch it, going on where it was cut."""
        failures = 0
        try:
            while self._upload.size < self.size:
                before = self._upload.size
                try:
                    self._rest()
                except Unreachable:
                    failures = 1 if self._upload.size > before else failures + 1
                    if failures == TRIES:
                        raise
                    self._client.pause(failures)
            self._upload.commit(self.digest)
            self._done = True
        except KernelError as error:
            self._error = error
        except (ErrorAnswer, ImageError) as error:
            self._error = _behind(error)
        finally:
            self._upload.cancel()  # which is nothing any more where it became a blob
            self._ended = True
            self._loop.call_soon_threadsafe(self._tell)

    def _rest(self) -> None:
        begin = self._upload.size
        path = f"/v2/{self.repository.name}/blobs/{self.digest}"
        buffer = memoryview(bytearray(CHUNK))
        with self._client.open("GET", path, {"Range": f"bytes={begin}-"} if begin else {}) as answer:
            if answer.status == 200 and begin:  # it knows no ranges
                self._upload.truncate(0)
            elif answer.status not in (200, 206):
                raise RegistryError(f"the status {answer.status}", answer.exchange.url)
            while count := answer.readinto(buffer):
                if self._upload.size + count > self.size:
                    raise RegistryError(f"more than {self.size:,} bytes", answer.exchange.url)
                self._upload.write(buffer[:count])
                self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
