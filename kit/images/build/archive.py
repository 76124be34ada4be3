"""An archive that ADD unpacks: tar, plain or in gzip, bzip2, xz or zstd, told by its first bytes.

It is as hostile as any layer, and unpacked by the same code: :mod:`kit.images.unpack`.
"""

from __future__ import annotations

import bz2
import io
import lzma
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from kit.images.compression import decompressed
from kit.images.errors import HostileLayer, LayerCorrupt
from kit.images.unpack import unpack

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BZIP2, _XZ = b"BZh", b"\xfd7zXZ\x00"


class _Stream(io.RawIOBase):
    """What the standard library unpacks, with its many errors as one."""

    def __init__(self, file: bz2.BZ2File | lzma.LZMAFile) -> None:
        self.file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        try:
            data = self.file.read1(len(view))  # what there is, before the error that may come next
        except (OSError, EOFError, lzma.LZMAError) as error:
            raise LayerCorrupt(f"the archive is damaged: {error}", remedy="Make or fetch it again.") from None
        view[: len(data)] = data
        return len(data)


def _plain(file: BinaryIO) -> BinaryIO:
    """Without bzip2 and xz, which layers have not; gzip and zstd are unpack()'s."""
    head = file.read(len(_XZ))
    file.seek(0)
    if head.startswith(_BZIP2):
        return cast(BinaryIO, _Stream(bz2.BZ2File(file)))
    return cast(BinaryIO, _Stream(lzma.LZMAFile(file))) if head == _XZ else file


def is_archive(path: Path) -> bool:
    """Whether the file begins as a tar archive does, below its compression."""
    with path.open("rb") as file:
        try:
            stream, block = decompressed(_plain(file)), b""
            while len(block) < tarfile.BLOCKSIZE and (more := stream.read(tarfile.BLOCKSIZE - len(block))):
                block += more
            tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (LayerCorrupt, tarfile.HeaderError):
            return False
    return True


def extract(path: Path, directory: Path) -> None:
    """Unpack it into an empty directory. Raises HostileLayer, LayerCorrupt, ImageError, as unpack() does."""
    with path.open("rb") as file:
        try:
            unpack(_plain(file), directory)
        except (HostileLayer, LayerCorrupt) as error:
            error.where = f"{path.name}: {error.where}" if error.where else path.name
            raise
