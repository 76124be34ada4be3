"""Making a layer: a tar archive that depends on nothing but what it holds. See the OCI image-spec's layer.md.

The same entries give the same bytes: members are sorted, owners are numbers, and no clock is read. What other
builders packed and the kit unpacked, it packs to the same bytes again, but for deletions, which keep no time.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kit.images.compression import CHUNK, Compression, compressor
from kit.images.descriptor import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from kit.images.directory import from_directory
from kit.images.entry import Entry
from kit.images.errors import ImageError
from kit.images.header import header
from kit.images.tar import BLOCK

MEDIA_TYPES: dict[Compression | None, str] = {
    None: OCI_LAYER, "gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD,
}  # fmt: skip


class Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True)
class Layer:
    """A layer that was written: ``digest`` and ``size`` (bytes) of the blob, ``diff_id`` of the tar in it."""

    media_type: str
    digest: str
    size: int
    diff_id: str


class _Output:
    """Where the tar goes: in pieces of a MiB or more it is hashed, compressed, hashed again and written."""

    def __init__(self, out: Writable, compression: Compression | None) -> None:
        self.out, self.compressor = out, compressor(compression)
        self.plain, self.blob = hashlib.sha256(), hashlib.sha256()
        self.size = 0
        self.piece = io.BytesIO()

    def write(self, data: bytes) -> None:
        self.piece.write(data)
        if self.piece.tell() >= CHUNK:
            self._compress()

    def _compress(self) -> None:
        piece = self.piece.getvalue()
        self.piece = io.BytesIO()
        self.plain.update(piece)
        self._put(self.compressor.compress(piece))

    def _put(self, data: bytes) -> None:
        self.blob.update(data)
        self.size += len(data)
        self.out.write(data)

    def finish(self) -> None:
        self._compress()
        self._put(self.compressor.flush())


def _file(entry: Entry, output: _Output) -> None:
    with entry.open() as content:
        size = os.fstat(content.fileno()).st_size if entry.source else len(entry.data or b"")
        output.write(header(entry, size))
        left = size
        while left:
            data = content.read(min(left, CHUNK))
            if not data:
                remedy = "Stop what writes to it, then pack again."
                raise ImageError("the file became shorter while it was packed", entry.source, remedy)
            left -= len(data)
            output.write(data)
    output.write(b"\0" * (-size % BLOCK))


def _order(entry: Entry) -> tuple[bool, list[str]]:
    """By the names; but a hard link before what it names goes to the end."""
    name = entry.name.split("/")
    return entry.kind == "hardlink" and entry.target.split("/") > name, name


def pack(entries: Iterable[Entry] | Path, out: Writable, compression: Compression | None = "gzip") -> Layer:
    """Write the entries, or all that a directory holds, to ``out`` as a layer.

    Directories come before what they hold, hard links after what they name. File contents are streamed.
    Raises ImageError (a name given twice, a file that shrank), OSError for a source that can't be read.
    """
    media_type, output = MEDIA_TYPES[compression], _Output(out, compression)
    members = sorted(from_directory(entries) if isinstance(entries, Path) else entries, key=_order)
    for name, times in Counter(entry.name for entry in members).most_common(1):
        if times > 1:
            raise ImageError("two entries have the same name", name, "Leave one of them out.")
    for entry in members:
        if entry.kind == "file":
            _file(entry, output)
        else:
            output.write(header(entry, 0))
    output.write(b"\0" * (2 * BLOCK))
    output.finish()
    digest, diff_id = f"sha256:{output.blob.hexdigest()}", f"sha256:{output.plain.hexdigest()}"
    return Layer(media_type, digest, output.size, diff_id)
