"""A layer's bytes squeezed and unsqueezed: gzip (RFC 1952), zstd (RFC 8878), or left as they are.

See the OCI image-spec's layer.md: "+gzip" and "+zstd" media types. Memory stays flat in both directions.
"""

from __future__ import annotations

import zlib
from typing import BinaryIO, Literal, Protocol

from kit.images.errors import LayerCorrupt

Compression = Literal["gzip", "zstd"]

CHUNK = 1 << 18  # bytes handled at once
GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SQUEEZED = 1 << 15  # compressed bytes at once: what is left of them is copied for each gzip member
_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to ask for a gzip header and trailer


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def compressor(compression: Compression | None) -> Compressor:
    """An object with ``compress(data)`` and ``flush()``.

    The same bytes in give the same bytes out on one version of the library: the gzip header holds no time and
    no name.
    """
    if compression is None:
        return _Plain()
    if compression == "gzip":
        return zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()
    raise ValueError(f"{compression!r} is no compression of layers; there are 'gzip', 'zstd' and None")


class _Rejoined:
    """A stream whose first bytes were read to look at them."""

    def __init__(self, head: bytes, stream: Readable) -> None:
        self.head, self.stream = head, stream

    def read(self, size: int = CHUNK, /) -> bytes:
        if self.head:
            taken, self.head = self.head[:size], self.head[size:]
            return taken
        return self.stream.read(size)


class _Gunzip:
    """One or more gzip members, one after the other, and nothing else: what follows is not passed over."""

    def __init__(self, stream: Readable) -> None:
        self.stream = stream
        self.member = zlib.decompressobj(_GZIP)
        self.pending = b""

    def read(self, size: int = CHUNK, /) -> bytes:
        """At most ``size`` bytes, b"" at the end. Raises :class:`LayerCorrupt`."""
        while True:
            if not self.pending:
                self.pending = self.stream.read(_SQUEEZED)
            if self.member.eof:
                if not self.pending:
                    return b""
                self.member = zlib.decompressobj(_GZIP)
            elif not self.pending:
                raise LayerCorrupt("the gzip stream ends early", remedy="Fetch the layer again.")
            try:
                data = self.member.decompress(self.pending, size)
            except zlib.error as error:
                raise LayerCorrupt(
                    f"not gzip all the way: {error}", remedy="Fetch the layer again."
                ) from None
            self.pending = self.member.unused_data or self.member.unconsumed_tail
            if data:
                return data


class _Unzstd:
    def __init__(self, stream: Readable) -> None:
        import zstandard

        self.error = zstandard.ZstdError
        self.reader = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)  # type: ignore[arg-type]

    def read(self, size: int = CHUNK, /) -> bytes:
        """At most ``size`` bytes, b"" at the end. Raises :class:`LayerCorrupt`."""
        try:
            return self.reader.read(size)
        except self.error as error:
            raise LayerCorrupt(f"not zstd all the way: {error}", remedy="Fetch the layer again.") from None


def decompressed(stream: BinaryIO | Readable) -> Readable:
    """``stream`` without its compression, which the first bytes tell, whatever the media type said."""
    head = b""
    while len(head) < len(ZSTD_MAGIC) and (more := stream.read(len(ZSTD_MAGIC) - len(head))):
        head += more
    whole = _Rejoined(head, stream)
    if head.startswith(GZIP_MAGIC):
        return _Gunzip(whole)
    return _Unzstd(whole) if head == ZSTD_MAGIC else whole
