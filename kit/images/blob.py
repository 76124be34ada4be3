"""One blob while it is written or read, and hashed on the way. See rename(2), fsync(2), hashlib."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from kit.images.compression import CHUNK
from kit.images.descriptor import Descriptor, algorithm_of
from kit.images.errors import AGAIN, BlobCorrupt, ImageError
from kit.linux.errors import KernelError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_REMEDY = {
    errno.ENOSPC: "Make room on the file system that the store lies on; `kit prune` removes unused images.",
    errno.EDQUOT: "Your quota there is used up.",
    errno.EROFS: "The file system is read-only: keep the store elsewhere.",
    errno.EACCES: "The store belongs to someone else: keep your own elsewhere.",
}


@contextmanager
def as_kernel_error(what: str, path: Path) -> Iterator[None]:
    """Say of an OSError in the block what was tried; the kit's own errors pass as they are."""
    try:
        yield
    except (ImageError, KernelError):
        raise
    except OSError as error:
        number = error.errno or 0
        raise KernelError(f"{what} {path}", number, _REMEDY.get(number, ""), str(path)) from None


@contextmanager
def new_file(directory: Path) -> Iterator[tuple[int, Path]]:
    """A new file's descriptor and its path in ``directory``, where it stays only if it is renamed."""
    path = directory / secrets.token_hex(8)
    with as_kernel_error("begin a file in", directory):
        directory.mkdir(exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        yield fd, path
    finally:
        os.close(fd)
        path.unlink(missing_ok=True)


def write_all(fd: int, data: ReadableBuffer) -> None:
    """As write(2), which may write less than it was given, until all is written."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def keep(fd: int, path: Path, place: Path) -> None:
    """Rename a file that is whole: after a power cut all of it is at its new ``place``, or nothing."""
    os.fsync(fd)
    os.replace(path, place)
    sync(place.parent)


def sync(directory: Path) -> None:
    """Bring to the disk which names are in a directory. See fsync(2)."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def measure(stream: BinaryIO) -> tuple[str, int]:
    """The digest and the size in bytes of all that a stream has left."""
    hashed, size = hashlib.sha256(), 0
    while data := stream.read(CHUNK):
        hashed.update(data)
        size += len(data)
    return f"sha256:{hashed.hexdigest()}", size


class Writer:
    """A file that becomes a blob of the directory ``blobs`` at :meth:`commit`; ``size`` is in bytes."""

    def __init__(self, fd: int, path: Path, blobs: Path, algorithm: str = "sha256") -> None:
        self._fd, self._path, self._blobs = fd, path, blobs
        self._hash = hashlib.new(algorithm)
        self.size = 0

    def write(self, data: bytes, /) -> int:
        """Append all of ``data``; raises :class:`KernelError`, such as ENOSPC."""
        with as_kernel_error("write the blob", self._path):
            write_all(self._fd, data)
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    def commit(self, expected: Descriptor | None = None) -> tuple[str, int]:
        """Keep what was written, on the disk; its digest, and its size in bytes.

        Raises :class:`BlobCorrupt`, and keeps nothing, where it is not what ``expected`` describes.
        """
        digest = f"{self._hash.name}:{self._hash.hexdigest()}"
        if expected is not None and (expected.digest, expected.size) != (digest, self.size):
            what = f"{self.size:,} bytes of the digest {digest} arrived"
            raise BlobCorrupt(f"{what} for {expected.size:,} of {expected.digest}", remedy=AGAIN)
        with as_kernel_error("keep the blob", self._path):
            keep(self._fd, self._path, self._blobs / self._hash.hexdigest())
        return digest, self.size


class Reader(io.BufferedReader):
    """A blob opened for reading; ``digest`` and ``size`` (bytes) are what it must have."""

    def __init__(self, file: io.FileIO, digest: str, size: int) -> None:
        self.digest, self.size = digest, size
        super().__init__(_Verified(file, digest, size), CHUNK)


class _Verified(io.RawIOBase):
    """Hands on the bytes of ``file``, in order, and the last of them only if all are right."""

    def __init__(self, file: io.FileIO, digest: str, size: int) -> None:
        self._file, self._digest, self._left = file, digest, size
        self._hash = hashlib.new(algorithm_of(digest))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        count = self._file.readinto(buffer) or 0
        self._hash.update(memoryview(buffer)[:count])
        self._left -= count
        wrong = self._left < 0 or (count == 0 and self._left > 0)
        if wrong or (self._left == 0 and f"{self._hash.name}:{self._hash.hexdigest()}" != self._digest):
            raise BlobCorrupt(f"the blob {self._digest} has been damaged", self._file.name, AGAIN)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
