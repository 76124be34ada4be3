"""Blobs between a registry and a store, several at once. See the OCI distribution-spec, "Pull" and "Push"."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from kit.images import documents
from kit.images.blob import Writer
from kit.images.descriptor import Descriptor, algorithm_of
from kit.images.errors import BlobCorrupt, BlobMissing
from kit.images.store import Store
from kit.registries.client import BUSY, TRIES, Client
from kit.registries.exchange import Exchange
from kit.registries.progress import Event, Progress, State
from kit.registries.refusals import RegistryError, RegistryRefused, Unauthorized, Unreachable, check
from kit.registries.transport import CHUNK, Answer, Part

AT_ONCE = 4  # transfers, as in Docker
PART = 64 << 20  # bytes: what one request of an upload carries


class Transfer:
    """Blobs of one repository; ``progress`` hears of each, from one thread at a time."""

    def __init__(self, client: Client, repository: str, store: Store, progress: Progress | None) -> None:
        self.client, self.repository, self.store = client, repository, store
        self._progress = progress
        self._telling = threading.Lock()

    def each(self, move: Callable[[Descriptor], None], blobs: Iterable[Descriptor]) -> None:
        """``move`` each blob once; the first that fails, or an interrupt, ends them all and is raised."""
        once = {blob.digest: blob for blob in blobs}
        for blob in once.values():
            self._tell(blob, "waiting", 0)
        with ThreadPoolExecutor(AT_ONCE, "transfer") as pool:
            moves = [pool.submit(move, blob) for blob in once.values()]
            try:
                done, _ = wait(moves, return_when=FIRST_EXCEPTION)
                for one in moves:  # in this order, as the first that failed may have made others fail
                    if one in done:
                        one.result()
            except BaseException:
                self.client.close()
                pool.shutdown(cancel_futures=True)
                raise

    # From the registry

    def fetch(self, blob: Descriptor) -> None:
        """Have the blob in the store; one that is there is read to see whether it is right.

        Raises :class:`BlobCorrupt` for other bytes than promised, RegistryError, KernelError.
        """
        if self.intact(blob):
            self._tell(blob, "there already", blob.size)
            return
        with self.store.writer(algorithm_of(blob.digest)) as writer:
            failures = 0
            while writer.size < blob.size:
                before = writer.size
                try:
                    self._fetch_rest(blob, writer)
                except Unreachable:
                    failures = 1 if writer.size - before >= CHUNK else failures + 1
                    if failures == TRIES:
                        raise
                    self._tell(blob, "trying again", writer.size)
                    self.client.pause(failures)
            writer.commit(blob)
        self._tell(blob, "transferred", blob.size)

    def _fetch_rest(self, blob: Descriptor, writer: Writer) -> None:
        """Write what a blob has after ``writer.size``, as far as it comes."""
        begin, buffer = writer.size, memoryview(bytearray(min(CHUNK, blob.size + 1)))
        path = f"/v2/{self.repository}/blobs/{blob.digest}"
        with self.client.open("GET", path, {"Range": f"bytes={begin}-"} if begin else {}) as answer:
            if answer.status not in (200, 206):
                answer.exchange.body = answer.read(documents.LIMIT)
            check(answer.exchange, f"fetch the blob {blob.digest}", self.client.registry, 200, 206)
            skip = begin - _start(answer, begin)
            while count := answer.readinto(buffer):
                new = buffer[min(skip, count) : count]
                skip -= count - len(new)
                if writer.size + len(new) > blob.size:
                    what = f"more than the {blob.size:,} bytes of the blob {blob.digest} arrive"
                    raise BlobCorrupt(what, self.client.registry, "Don't trust this registry.")
                writer.write(bytes(new))
                self._tell(blob, "transferring", writer.size)
        if writer.size < blob.size:
            raise Unreachable(f"only {writer.size:,} of {blob.size:,} bytes came", path, "Try again.")

    def intact(self, blob: Descriptor) -> bool:
        """Whether the store has the blob, and its bytes are right; so pulling again heals what is damaged."""
        buffer = bytearray(min(CHUNK, blob.size + 1))
        try:
            with self.store.open(blob) as file:
                while file.readinto(buffer):
                    pass
        except (BlobMissing, BlobCorrupt):
            return False
        return True

    # To the registry

    def send(self, blob: Descriptor, sources: Mapping[str, str]) -> None:
        """Have the blob in the registry, which may have it in this repository already, or in another.

        ``sources`` maps digests to repositories of this registry that should have them. Raises
        :class:`BlobMissing`, :class:`BlobCorrupt` where the store's bytes are wrong, RegistryError.
        """
        self.store.open(blob).close()
        what, registry = f"push the blob {blob.digest}", self.client.registry
        found = self.client.request("HEAD", f"/v2/{self.repository}/blobs/{blob.digest}")
        if check(found, what, registry, 200, 404).status == 200:
            self._tell(blob, "there already", blob.size)
            return
        uploads, source = f"/v2/{self.repository}/blobs/uploads/", sources.get(blob.digest)
        begun = self._mounted(uploads, blob, source) if source else None
        if begun is not None and begun.status == 201:
            self._tell(blob, "mounted", blob.size)
            return
        if begun is None or begun.status != 202:
            begun = check(self.client.post(uploads), what, registry, 202)
        failures, location, sent = 0, _location(begun), 0
        while True:
            try:
                exchange, sent = self._send_part(blob, location, sent)
                if exchange.status == 201:
                    break
                failures, location = 0, _location(exchange)
            except Unreachable:
                failures += 1
                if failures == TRIES:
                    raise
                self._tell(blob, "trying again", sent)
                self.client.pause(failures)
                location, sent = self._resumed(uploads, location, what)
        self._tell(blob, "transferred", blob.size)

    def _mounted(self, uploads: str, blob: Descriptor, source: str) -> Exchange | None:
        """The answer to the wish for another repository's blob; None where we may not read there."""
        try:
            return self.client.post(f"{uploads}?mount={blob.digest}&from={source}")
        except Unauthorized:
            return None

    def _send_part(self, blob: Descriptor, location: str, begin: int) -> tuple[Exchange, int]:
        """Send the next part, the last one with PUT; the answer, and how much of the blob has been sent."""
        count = min(PART, blob.size - begin)
        last = begin + count == blob.size
        headers = {"Content-Type": "application/octet-stream"}
        if begin or not last:
            headers["Content-Range"] = f"{begin}-{begin + count - 1}"

        def tell(sent: int) -> None:
            self._tell(blob, "transferring", begin + sent)

        part = Part(self.store.path(blob.digest), begin, count, tell)
        if last:
            location += f"{'&' if '?' in location else '?'}digest={blob.digest}"
        exchange = self.client.request("PUT" if last else "PATCH", location, headers, part)
        if exchange.status in (404, 416, *BUSY):  # the upload may not be where we think: ask
            raise Unreachable(f"an upload was interrupted (status {exchange.status})", exchange.url)
        try:
            check(exchange, f"push the blob {blob.digest}", self.client.registry, 201 if last else 202)
        except RegistryRefused as error:
            if "DIGEST_INVALID" in error.codes:
                where = self.store.path(blob.digest)
                raise BlobCorrupt(str(error), where, "Load, pull or build the image again.") from None
            raise
        return exchange, begin + count

    def _resumed(self, uploads: str, location: str, what: str) -> tuple[str, int]:
        """Where to go on, and after how many bytes: those that the registry has, or in a new upload none."""
        status = self.client.get(location)
        kept = re.fullmatch(r"(?:bytes=)?0-(\d+)", status.headers.get("Range", ""))
        if status.status == 204:  # the range of no bytes at all is 0-0, as that of one
            count = int(kept[1]) + 1 if kept and kept[1] != "0" else 0
            return status.headers.get("Location", location), count
        begun = check(self.client.post(uploads), what, self.client.registry, 202)
        return _location(begun), 0

    def _tell(self, blob: Descriptor, state: State, done: int) -> None:
        if self._progress is not None:
            with self._telling:
                self._progress(Event(blob.digest, state, done, blob.size))


def _start(answer: Answer, wanted: int) -> int:
    """The offset of the first byte that comes, at most the one that was asked for."""
    if answer.status == 200:
        return 0
    found = re.match(r"bytes (\d{1,20})-", answer.headers.get("Content-Range", ""))
    if not found or int(found[1]) > wanted:
        raise RegistryError(f"a range that does not begin at {wanted}", answer.exchange.url)
    return int(found[1])


def _location(exchange: Exchange) -> str:
    """Where an upload goes on; raises RegistryError where the registry does not say."""
    if location := exchange.headers.get("Location"):
        return location
    raise RegistryError("an upload without a Location", exchange.url)
