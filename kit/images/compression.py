"""A layer's bytes squeezed and unsqueezed: gzip (RFC 1952), zstd (RFC 8878), or left as they are.

See the OCI image-spec's layer.md: "+gzip" and "+zstd" media types. Memory stays flat in both directions, and
what takes long happens in threads: zlib lets go of Python's lock.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol

from kit.images.errors import LayerCorrupt

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Compression = Literal["gzip", "zstd"]

CHUNK = 1 << 20  # bytes handled at once
_MAGIC: dict[Compression, bytes] = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to ask for a gzip header, which it writes with no time and no name


class Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


class _Gzip:
    """Each piece becomes a gzip member of its own (RFC 1952, 2.2): so all processors can work at once."""

    def __init__(self) -> None:
        self.workers = len(os.sched_getaffinity(0))
        self.pool = ThreadPoolExecutor(self.workers)
        self.members: deque[Future[bytes]] = deque()

    def compress(self, data: bytes, /) -> bytes:
        self.members.append(self.pool.submit(zlib.compress, data, zlib.Z_BEST_SPEED, _GZIP))
        return self.members.popleft().result() if len(self.members) > 2 * self.workers else b""

    def flush(self) -> bytes:
        self.pool.shutdown()
        return b"".join(member.result() for member in self.members)


def compressor(compression: Compression | None) -> Compressor:
    """An object with ``compress(data)`` and ``flush()``.

    The same pieces in give the same bytes out, with one version of the library.
    """
    if compression is None:
        return _Plain()
    if compression == "gzip":
        return _Gzip()
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()
    raise ValueError(f"{compression!r} is no compression of layers; there are 'gzip', 'zstd' and None")


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
            what = f"the compressed bytes are damaged: {error}"
            raise LayerCorrupt(what, remedy="Fetch the layer again.") from None
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
