"""A blob on its way in, which may go on after any cut: the OCI distribution-spec, "Pushing blobs".

The bytes so far are in a file. Its size is the offset; the hash is kept while the server runs, and computed
again from the file after a restart. The file becomes a blob of the store, by rename(2), when all of it has
the digest that the client said, and is on the disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import uuid
from pathlib import Path

from kit.images.blob import as_kernel_error, keep, write_all
from kit.images.descriptor import algorithm_of
from kit.registries.server.errors import ErrorAnswer, Headers
from kit.registries.server.repositories import Repository

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RANGE = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")


class Upload:
    """One upload, in the file ``path``; ``size`` is its bytes so far.

    One request at a time may hold its ``lock`` and write.
    """

    def __init__(self, repository: Repository, path: Path) -> None:
        self.repository, self.path = repository, path
        self.lock = asyncio.Lock()
        self.size = path.stat().st_size
        self._hash = None if self.size else hashlib.sha256()  # of all bytes, where they were seen

    def check(self) -> None:
        """BLOB_UPLOAD_UNKNOWN where it has ended, or a collector took it for abandoned."""
        if not self.path.exists():
            raise _unknown(self.repository, self.path.name)

    def progress(self) -> Headers:
        """What tells a client how to go on. Of no bytes and of one the Range is the same."""
        path, id = f"/v2/{self.repository.name}/blobs/uploads/", self.path.name
        return {"Location": path + id, "Range": f"0-{max(self.size - 1, 0)}", "Docker-Upload-UUID": id}

    def after(self, content_range: str) -> int:
        """The size after a chunk of this Content-Range; for one that is not the next to come status 416."""
        found = _RANGE.fullmatch(content_range)
        if found and self.size == int(found[1]) <= int(found[2]):
            return int(found[2]) + 1
        what = f"the next chunk is {self.size}-<last byte>, and {content_range[:50]!r} is another"
        raise ErrorAnswer(416, "BLOB_UPLOAD_INVALID", what, headers=self.progress())

    def write(self, data: bytes | memoryview) -> None:
        """Append ``data``; raises KernelError, such as ENOSPC."""
        with as_kernel_error("write the upload", self.path):
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                write_all(fd, data)
            finally:
                os.close(fd)
        self.size += len(data)
        if self._hash:
            self._hash.update(data)

    def truncate(self, size: int) -> None:
        """Forget what came after the first ``size`` bytes."""
        os.truncate(self.path, size)
        self.size, self._hash = size, None

    def commit(self, digest: str) -> None:
        """Make it a blob of the store and of the repository; DIGEST_INVALID, and nothing left, for others."""
        hashed, algorithm = self._hash, algorithm_of(digest)
        if hashed is None or algorithm != "sha256":
            with self.path.open("rb") as file:
                hashed = hashlib.file_digest(file, algorithm)
        if digest != (found := f"{algorithm}:{hashed.hexdigest()}"):
            self.cancel()
            raise ErrorAnswer(400, "DIGEST_INVALID", f"{self.size} bytes came, and their digest is {found}")
        place = self.repository.store.path(digest)
        with as_kernel_error("keep the blob", place), self.repository.store.writing():
            place.parent.mkdir(exist_ok=True)
            self.repository.link(digest)
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                keep(fd, self.path, place)
            finally:
                os.close(fd)

    def cancel(self) -> None:
        """Remove what came; of one that became a blob there is nothing left here."""
        self.path.unlink(missing_ok=True)


def _directory(repository: Repository) -> Path:
    return repository.directory / "_uploads"


def begin(repository: Repository) -> Upload:
    """A new upload, of no bytes."""
    place = _directory(repository)
    with as_kernel_error("begin an upload in", place):
        place.mkdir(parents=True, exist_ok=True)
        path = place / str(uuid.uuid4())
        path.touch(exist_ok=False)
    return Upload(repository, path)


def resume(repository: Repository, id: str) -> Upload:
    """One that began earlier, maybe before the server did; BLOB_UPLOAD_UNKNOWN where there is none."""
    path = _directory(repository) / id
    if not _ID.fullmatch(id) or not path.is_file():
        raise _unknown(repository, id)
    return Upload(repository, path)


def _unknown(repository: Repository, id: str) -> ErrorAnswer:
    what = f"the repository {repository.name} has no upload {id[:50]!r}: it has ended, or never began"
    return ErrorAnswer(404, "BLOB_UPLOAD_UNKNOWN", what)
