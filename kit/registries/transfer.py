"""Blobs between a registry and a store, several at once. See the OCI distribution-spec, "Pull" and "Push"."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Protocol

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


class Sink(Protocol):
    """Where a download goes; ``size`` says how many bytes are there already."""

    @property
    def size(self) -> int: ...

    def write(self, data: bytes, /) -> object: ...


def download(
    client: Client, repository: str, blob: Descriptor, sink: Sink, tell: Callable[[State], object]
) -> None:
    """Write what ``sink`` lacks of a blob, and go on where the connection breaks; ``tell`` hears each step.

    The caller compares the digest. Raises :class:`BlobCorrupt` for more bytes than promised, RegistryError.
    """
    path, failures = f"/v2/{repository}/blobs/{blob.digest}", 0
    while sink.size < blob.size:
        begin = sink.size
        try:
            with client.open("GET", path, {"Range": f"bytes={begin}-"} if begin else {}) as answer:
                if answer.status not in (200, 206):
                    check(answer.read(), f"fetch the blob {blob.digest}", client.registry)
                for data in _after(begin, answer):
                    if sink.size + len(data) > blob.size:
                        what = f"more than the {blob.size:,} bytes of the blob {blob.digest} arrive"
                        raise BlobCorrupt(what, client.registry, "Don't trust this registry.")
                    sink.write(data)
                    tell("transferring")
            if sink.size < blob.size:
                raise Unreachable(f"only {sink.size:,} of {blob.size:,} bytes came", path, "Try again.")
        except Unreachable:
            failures = 1 if sink.size - begin >= CHUNK else failures + 1
            if failures == TRIES:
                raise
            tell("trying again")
            client.pause(failures)


def _after(begin: int, answer: Answer) -> Iterator[bytes]:
    """What comes of a blob after its first ``begin`` bytes; a registry may send some of those again."""
    start = 0
    if answer.status == 206:
        found = re.match(r"bytes (\d{1,20})-", answer.headers.get("Content-Range", ""))
        if not found or int(found[1]) > begin:
            raise RegistryError(f"a range that does not begin at {begin}", answer.exchange.url)
        start = int(found[1])
    for data in answer.stream():
        yield data[max(begin - start, 0) :]
        start += len(data)


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

    def fetch(self, blob: Descriptor) -> None:
        """Have the blob in the store; one that is there is read to see whether it is right.

        Raises :class:`BlobCorrupt` for other bytes than promised, RegistryError, KernelError.
        """
        if self.intact(blob):
            self._tell(blob, "there already", blob.size)
            return
        with self.store.writer(algorithm_of(blob.digest)) as writer:
            download(
                self.client, self.repository, blob, writer,
                lambda state: self._tell(blob, state, writer.size),
            )  # fmt: skip
            writer.commit(blob)
        self._tell(blob, "transferred", blob.size)

    def intact(self, blob: Descriptor) -> bool:
        """Whether the store has the blob, and its bytes are right; so pulling again heals what is damaged."""
        try:
            with self.store.open(blob) as file:
                while file.read(CHUNK):
                    pass
        except (BlobMissing, BlobCorrupt):
            return False
        return True

    def send(self, blob: Descriptor, sources: Mapping[str, str]) -> None:
        """Have the blob in the registry, which may have it in this repository already, or in another.

        ``sources`` maps digests to repositories of this registry that should have them. Raises
        :class:`BlobMissing`, :class:`BlobCorrupt` where the store's bytes are wrong, RegistryError.
        """
        self.store.open(blob).close()
        found = self.client.head(f"/v2/{self.repository}/blobs/{blob.digest}")
        if self._check(found, blob, 200, 404).status == 200:
            self._tell(blob, "there already", blob.size)
            return
        answer = self._begin(blob, sources.get(blob.digest, ""))
        if answer.status == 201:
            self._tell(blob, "mounted", blob.size)
            return
        failures, sent, location = 0, 0, _location(answer)
        while answer.status != 201:
            try:
                answer = self._part(blob, location, sent)
                if answer.status == 202:
                    failures, sent, location = 0, sent + PART, _location(answer)
            except Unreachable:
                failures += 1
                if failures == TRIES:
                    raise
                self._tell(blob, "trying again", sent)
                self.client.pause(failures)
                sent, location = self._resume(blob, location)
        self._tell(blob, "transferred", blob.size)

    def _begin(self, blob: Descriptor, source: str = "") -> Exchange:
        """The answer to a new upload: 202, or 201 where the registry took the blob from ``source``."""
        uploads = f"/v2/{self.repository}/blobs/uploads/"
        if source:
            with suppress(Unauthorized):  # we may not read there: that is no reason not to send it
                mounted = self.client.post(f"{uploads}?mount={blob.digest}&from={source}")
                if mounted.status in (201, 202):
                    return mounted
        return self._check(self.client.post(uploads), blob, 202)

    def _part(self, blob: Descriptor, location: str, begin: int) -> Exchange:
        """The answer to the next part: 202, or 201 for the last one, which goes with PUT."""
        end = min(begin + PART, blob.size)
        method, headers = "PATCH", {"Content-Type": "application/octet-stream"}
        if 0 < end - begin < blob.size:  # neither all of it nor, where all has come already, nothing
            headers["Content-Range"] = f"{begin}-{end - 1}"
        if end == blob.size:
            method = "PUT"
            location += f"{'&' if '?' in location else '?'}digest={blob.digest}"

        def report(sent: int) -> None:
            self._tell(blob, "transferring", begin + sent)

        part = Part(self.store.path(blob.digest), begin, end - begin, report)
        answer = self.client.request(method, location, headers, part)
        if answer.status in (404, 416, *BUSY):  # the upload may not be where we think: ask
            raise Unreachable(f"an upload was interrupted (status {answer.status})", answer.url)
        try:
            return self._check(answer, blob, 201 if method == "PUT" else 202)
        except RegistryRefused as error:
            if "DIGEST_INVALID" in error.codes:
                where = self.store.path(blob.digest)
                raise BlobCorrupt(str(error), where, "Load, pull or build the image again.") from None
            raise

    def _resume(self, blob: Descriptor, location: str) -> tuple[int, str]:
        """How many bytes the registry has, and where to go on; a new upload if it does not know this one."""
        status = self.client.get(location)
        if status.status != 204:
            return 0, _location(self._begin(blob))
        kept = re.fullmatch(r"(?:bytes=)?0-(\d+)", status.headers.get("Range", ""))
        count = int(kept[1]) + 1 if kept and kept[1] != "0" else 0  # no bytes at all are 0-0, as one is
        return count, status.headers.get("Location", location)

    def _check(self, exchange: Exchange, blob: Descriptor, *expected: int) -> Exchange:
        return check(exchange, f"push the blob {blob.digest}", self.client.registry, *expected)

    def _tell(self, blob: Descriptor, state: State, done: int) -> None:
        if self._progress is not None:
            with self._telling:
                self._progress(Event(blob.digest, state, done, blob.size))


def _location(exchange: Exchange) -> str:
    """Where an upload goes on; raises RegistryError where the registry does not say."""
    if location := exchange.headers.get("Location"):
        return location
    raise RegistryError("an upload without a Location", exchange.url)
