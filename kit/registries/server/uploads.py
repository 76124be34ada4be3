"""A blob on its way in: the bytes so far, in a file, which may go on after any cut. See the OCI
distribution-spec, "Pushing blobs".

The size of the file is the offset; the hash is kept while the server runs, and computed again from the file
after a restart. The file becomes a blob of the store, by rename(2), when all of it has the digest that the
client said, and is on the disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import uuid
from pathlib import Path

from kit.images.blob import as_kernel_error, keep, write_all
from kit.images.compression import CHUNK
from kit.images.descriptor import algorithm_of
from kit.registries.server.errors import ErrorAnswer
from kit.registries.server.repositories import Repository

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RANGE = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")


def directory(repository: Repository) -> Path:
    """Where a repository's uploads lie."""
    return repository.directory / "_uploads"


def begin(repository: Repository) -> Upload:
    """A new upload, of no bytes."""
    place = directory(repository)
    with as_kernel_error("begin an upload in", place):
        place.mkdir(parents=True, exist_ok=True)
        path = place / str(uuid.uuid4())
        path.touch(exist_ok=False)
    return Upload(repository, path)


def resume(repository: Repository, name: str) -> Upload:
    """An upload that began earlier, maybe before the server did; BLOB_UPLOAD_UNKNOWN where there is none."""
    path = directory(repository) / name
    if not _ID.fullmatch(name) or not path.is_file():
        raise _unknown(repository, name)
    return Upload(repository, path)


def _unknown(repository: Repository, name: str) -> ErrorAnswer:
    what = f"the repository {repository.name} has no upload {name[:50]!r}: it has ended, or never began"
    return ErrorAnswer("BLOB_UPLOAD_UNKNOWN", what)


class Upload:
    """One upload; ``size`` is its bytes so far. One request at a time may hold its ``lock`` and write."""

    def __init__(self, repository: Repository, path: Path) -> None:
        self.repository, self.path = repository, path
        self.lock = asyncio.Lock()
        self.size = path.stat().st_size
        self._hash = hashlib.sha256()
        self._hashed = 0  # bytes that are in the hash

    @property
    def id(self) -> str:
        """What the client calls it by, in the Location that it was given."""
        return self.path.name

    def check(self) -> None:
        """BLOB_UPLOAD_UNKNOWN where it has ended, or a collector took it for abandoned."""
        if not self.path.exists():
            raise _unknown(self.repository, self.id)

    def expect(self, content_range: str | None, length: int | None) -> int | None:
        """How many bytes a chunk has, where it says so.

        Refused is one that does not begin where the last one ended (416), or has not ``length`` bytes.
        """
        if content_range is None:
            return None
        found = _RANGE.fullmatch(content_range)
        if not found or int(found[2]) < int(found[1]):
            what = f"the Content-Range {content_range[:50]!r} is not of the form <first byte>-<last byte>"
            raise ErrorAnswer("BLOB_UPLOAD_INVALID", what, status=416, headers=self.progress())
        first, last = int(found[1]), int(found[2])
        if first != self.size:
            what = f"a chunk from byte {first} on, and the next one to come is {self.size}"
            raise ErrorAnswer("BLOB_UPLOAD_INVALID", what, status=416, headers=self.progress())
        if length is not None and length != last - first + 1:
            what = f"a chunk of {length} bytes, and its Content-Range has {last - first + 1}"
            raise ErrorAnswer("SIZE_INVALID", what)
        return last - first + 1

    def progress(self) -> dict[str, str]:
        """The headers that tell a client how to go on. Of no bytes and of one the Range is the same."""
        location = f"/v2/{self.repository.name}/blobs/uploads/{self.id}"
        return {"Location": location, "Range": f"0-{max(self.size - 1, 0)}", "Docker-Upload-UUID": self.id}

    def write(self, data: bytes | memoryview) -> None:
        """Append ``data``; raises KernelError, such as ENOSPC."""
        self._catch_up()
        with as_kernel_error("write the upload", self.path):
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                write_all(fd, data)
            finally:
                os.close(fd)
        self._hash.update(data)
        self.size += len(data)
        self._hashed += len(data)

    def truncate(self, size: int) -> None:
        """Forget what came after the first ``size`` bytes."""
        os.truncate(self.path, size)
        self.size = size
        self._hash, self._hashed = hashlib.sha256(), 0

    def _catch_up(self) -> None:
        if self._hashed < self.size:
            with self.path.open("rb") as file:
                file.seek(self._hashed)
                while data := file.read(CHUNK):
                    self._hash.update(data)
            self._hashed = self.size

    def commit(self, digest: str) -> None:
        """Make it a blob of the store and of the repository; DIGEST_INVALID, and nothing left, for others."""
        self._catch_up()
        found = f"sha256:{self._hash.hexdigest()}"
        if (algorithm := algorithm_of(digest)) != "sha256":
            with self.path.open("rb") as file:
                found = f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
        if found != digest:
            self.cancel()
            raise ErrorAnswer("DIGEST_INVALID", f"{self.size} bytes came, and their digest is {found}")
        store = self.repository.store
        place = store.path(digest)
        with as_kernel_error("keep the blob", place), store.writing():
            place.parent.mkdir(exist_ok=True)
            self.repository.link(digest)
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                keep(fd, self.path, place)
            finally:
                os.close(fd)

    def cancel(self) -> None:
        """Remove what came."""
        self.path.unlink(missing_ok=True)
