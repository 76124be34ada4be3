"""An archive that ADD unpacks: tar, plain or in gzip, bzip2, xz or zstd, told by its first bytes.

It is as hostile as any layer, and unpacked by the same code: :mod:`kit.images.unpack`.
"""

from __future__ import annotations

import bz2
import lzma
import tarfile
from pathlib import Path
from typing import BinaryIO, cast

from kit.images.compression import Stream, decompressed
from kit.images.errors import HostileLayer, LayerCorrupt
from kit.images.unpack import unpack

_BZIP2, _XZ = b"BZh", b"\xfd7zXZ\x00"


def _plain(file: BinaryIO) -> BinaryIO:
    """Without bzip2 and xz, which layers have not; gzip and zstd are unpack()'s."""
    head = file.read(len(_XZ))
    file.seek(0)
    if not head.startswith((_BZIP2, _XZ)):
        return file
    kind = lzma.LZMAFile if head == _XZ else bz2.BZ2File
    return cast(BinaryIO, Stream(kind(file).read1, OSError, EOFError, lzma.LZMAError))


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
