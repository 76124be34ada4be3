"""A layer's bytes squeezed and unsqueezed: gzip (RFC 1952), zstd (RFC 8878), or left as they are.

See the OCI image-spec's layer.md: "+gzip" and "+zstd" media types. Memory stays flat in both directions.
"""

from __future__ import annotations

import gzip
import io
import os
import struct
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol

from kit.images.errors import AGAIN, LayerCorrupt

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Compression = Literal["gzip", "zstd"]

CHUNK = 1 << 20  # bytes handled at once
_MAGIC: dict[Compression, bytes] = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # deflate; no name, no time, no maker
_WINDOW = 1 << 15  # bytes that deflate can refer back to


class Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


class _Gzip:
    """One gzip member whose pieces are compressed side by side, as pigz does it.

    Each piece but the first may refer back to the last 32 KiB of the one before, and all but the last end at
    a whole byte (Z_SYNC_FLUSH), so that one after the other they are a single deflate stream (RFC 1951).
    """

    def __init__(self) -> None:
        self.workers = len(os.sched_getaffinity(0))
        self.pool = ThreadPoolExecutor(self.workers)
        self.pieces: deque[Future[bytes]] = deque([self.pool.submit(bytes, _GZIP_HEADER)])
        self.waiting, self.before = bytearray(), b""
        self.crc = self.size = 0

    def compress(self, data: bytes, /) -> bytes:
        self.waiting += data
        out = b""
        while len(self.waiting) > CHUNK:  # never the last one, which ends the stream
            self._submit(bytes(self.waiting[:CHUNK]), zlib.Z_SYNC_FLUSH)
            del self.waiting[:CHUNK]
            if len(self.pieces) > 2 * self.workers:
                out += self.pieces.popleft().result()
        return out

    def _submit(self, piece: bytes, end: int) -> None:
        self.pieces.append(self.pool.submit(_deflate, piece, self.before, end))
        self.before, self.crc = piece[-_WINDOW:], zlib.crc32(piece, self.crc)
        self.size += len(piece)

    def flush(self) -> bytes:
        self._submit(bytes(self.waiting), zlib.Z_FINISH)
        self.pool.shutdown()
        trailer = struct.pack("<II", self.crc, self.size % (1 << 32))
        return b"".join(piece.result() for piece in self.pieces) + trailer


def _deflate(piece: bytes, before: bytes, end: int) -> bytes:
    squeezing = zlib.compressobj(zlib.Z_BEST_SPEED, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=before)
    return squeezing.compress(piece) + squeezing.flush(end)


def compressor(compression: Compression | None) -> Compressor:
    """An object with ``compress(data)`` and ``flush()``.

    The same bytes in give the same bytes out, however they are cut, with one version of the library.
    """
    if compression == "gzip":
        return _Gzip()
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()
    return _Plain()


class Stream(io.RawIOBase):
    """What ``read`` returns, as a stream; ``errors`` are its ways to say that the bytes are damaged."""

    def __init__(self, read: Callable[[int], bytes], *errors: type[Exception]) -> None:
        self._read, self._errors = read, errors

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        try:
            data = self._read(len(view))
        except self._errors as error:
            raise LayerCorrupt(f"the compressed bytes are damaged: {error}", remedy=AGAIN) from None
        view[: len(data)] = data
        return len(data)


def compression_of(head: bytes) -> Compression | None:
    """What the first bytes of a stream tell of its compression."""
    return next((name for name, magic in _MAGIC.items() if head.startswith(magic)), None)


def decompressed(stream: BinaryIO) -> BinaryIO:
    """``stream`` without its compression, which the first bytes tell, whatever the media type said.

    Reading raises :class:`LayerCorrupt` where the compressed bytes are cut short, damaged, or followed by
    others. ``stream`` stays open.
    """
    source = io.BufferedReader(Stream(stream.read), CHUNK)
    compression = compression_of(source.peek(4))
    if compression == "gzip":
        file = gzip.GzipFile(fileobj=source)
        source = io.BufferedReader(Stream(file.read1, EOFError, gzip.BadGzipFile, zlib.error), CHUNK)
    elif compression == "zstd":
        import zstandard

        reader = zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True)
        source = io.BufferedReader(Stream(reader.read, zstandard.ZstdError), CHUNK)
    return source
