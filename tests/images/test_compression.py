"""Squeezing by several processors gives what a single one would have given: one stream, always the same."""

from __future__ import annotations

import io
import tarfile
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from kit.images.compression import CHUNK, compressor
from kit.images.entry import Entry
from kit.images.layer import pack


def squeezed(data: bytes, cut: int) -> bytes:
    gzip = compressor("gzip")
    return b"".join(gzip.compress(data[at : at + cut]) for at in range(0, len(data), cut)) + gzip.flush()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3 * CHUNK + 1), st.integers(1000, 2 * CHUNK))
def test_one_gzip_member_whose_bytes_do_not_depend_on_how_they_came(size: int, cut: int) -> None:
    data = b"".join(b"%d " % number for number in range(size // 6))
    once = squeezed(data, len(data) or 1)
    assert squeezed(data, cut) == once
    member = zlib.decompressobj(16 + zlib.MAX_WBITS)
    assert member.decompress(once) == data
    assert member.eof and not member.unused_data


def test_a_layer_is_read_by_the_simplest_reader() -> None:
    out = io.BytesIO()
    pack([Entry("large", "file", 0o644, data=bytes(5 * CHUNK))], out)
    out.seek(0)
    with tarfile.open(fileobj=out, mode="r|gz") as tar:
        assert [(one.name, one.size) for one in tar] == [("large", 5 * CHUNK)]
