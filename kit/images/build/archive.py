"""An archive that ADD unpacks: tar, plain or in gzip, bzip2, xz or zstd, told by its first bytes.

It is as hostile as any layer, and unpacked by the same code: :mod:`kit.images.unpack`.
"""

from __future__ import annotations

import bz2
import lzma
import secrets
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

from kit.images.build.context import kept
from kit.images.build.errors import BadDockerfile
from kit.images.compression import Stream, decompressed
from kit.images.directory import from_directory
from kit.images.entry import Entry
from kit.images.errors import HostileLayer, LayerCorrupt
from kit.images.unpack import unpack
from kit.images.whiteouts import WHITEOUT

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
            block = decompressed(_plain(file)).read(tarfile.BLOCKSIZE)
            tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (LayerCorrupt, tarfile.HeaderError):
            return False
    return True


def unpacked(path: Path, directory: Path, where: str) -> Iterator[Entry]:
    """What it holds, unpacked below ``directory``. Raises as unpack() does, BadDockerfile for a whiteout."""
    new = directory / secrets.token_hex(4)
    new.mkdir(0o700)
    with path.open("rb") as file:
        try:
            unpack(_plain(file), new)
        except (HostileLayer, LayerCorrupt) as error:
            error.where = f"{path.name}: {error.where}" if error.where else path.name
            raise
    for entry in from_directory(new):
        if entry.kind == "char":  # unpacking refuses devices: it is what a whiteout becomes
            what = f"{path.name} holds {WHITEOUT}..., which in a layer removes a file"
            raise BadDockerfile(what, where)
        yield replace(entry, xattrs=kept(entry.xattrs))
