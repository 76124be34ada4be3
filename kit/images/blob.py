"""One blob while it is written or read, and hashed on the way. See rename(2), fsync(2), hashlib."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from kit.images.compression import CHUNK
from kit.images.descriptor import Descriptor
from kit.images.errors import BlobCorrupt, ImageError
from kit.linux.errors import KernelError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_AGAIN = "Load, pull or build the image again."
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


def new_file(directory: Path) -> tuple[BinaryIO, Path]:
    """A new file in ``directory`` under a name that nobody has; its maker renames or removes it."""
    directory.mkdir(exist_ok=True)
    while True:
        path = directory / secrets.token_hex(8)
        try:
            return path.open("xb"), path
        except FileExistsError:
            continue


def write_all(fd: int, data: ReadableBuffer) -> None:
    """As write(2), which may write less than it was given, until all is written."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_directory(directory: Path) -> None:
    """Bring the names in a directory to the disk: a renamed file survives a power cut only after that."""
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


class Writer(io.RawIOBase):
    """A file that becomes a blob of the directory ``blobs`` at :meth:`commit`, and else leaves nothing."""

    def __init__(self, unfinished: Path, blobs: Path) -> None:
        self._blobs = blobs
        self._hash = hashlib.sha256()
        self._size = 0
        with as_kernel_error("begin a blob in", unfinished):
            self._file, self._path = new_file(unfinished)

    def writable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """How many bytes were written."""
        return self._size

    def write(self, data: ReadableBuffer, /) -> int:
        """Append all of ``data``; raises :class:`KernelError`, such as ENOSPC."""
        with as_kernel_error("write the blob", self._path):
            self._file.write(data)
        self._hash.update(data)
        count = memoryview(data).nbytes
        self._size += count
        return count

    def commit(self, expected: Descriptor | None = None) -> tuple[str, int]:
        """Keep what was written, on the disk; its digest, and its size in bytes.

        Raises :class:`BlobCorrupt`, and keeps nothing, where it is not what ``expected`` describes.
        """
        digest = f"sha256:{self._hash.hexdigest()}"
        if expected is not None and expected.size != self._size:
            what = f"{self._size:,} bytes arrived for {expected.digest}, which has {expected.size:,}"
            raise BlobCorrupt(what, remedy="Fetch it again from where it came.")
        if expected is not None and expected.digest != digest:
            what = f"the bytes that arrived for {expected.digest} have the digest {digest}"
            raise BlobCorrupt(what, remedy="Fetch it again from where it came.")
        with as_kernel_error("keep the blob", self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            os.replace(self._path, self._blobs / digest.removeprefix("sha256:"))
            sync_directory(self._blobs)
        self.close()
        return digest, self._size

    def close(self) -> None:
        """Give up what was not committed."""
        if not self.closed:
            super().close()
            self._path.unlink(missing_ok=True)
            with suppress(OSError):  # what could not be written any more is given up anyway
                self._file.close()


class Reader(io.BufferedReader):
    """A blob opened for reading; ``digest`` and ``size`` (bytes) are what it must have."""

    def __init__(self, file: io.FileIO, digest: str, size: int) -> None:
        self.digest = digest
        self.size = size
        super().__init__(_Verified(file, digest, size))


class _Verified(io.RawIOBase):
    """Hands on the bytes of ``file``, in order, and the last of them only if all are right."""

    def __init__(self, file: io.FileIO, digest: str, size: int) -> None:
        self._file = file
        self._digest = digest
        self._left = size
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        count = self._file.readinto(buffer) or 0
        self._hash.update(memoryview(buffer)[:count])
        self._left -= count
        wrong = self._left < 0 or (count == 0 and self._left > 0)
        if wrong or (self._left == 0 and f"sha256:{self._hash.hexdigest()}" != self._digest):
            raise BlobCorrupt(f"the blob {self._digest} has been damaged", self._file.name, _AGAIN)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
