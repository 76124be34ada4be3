"""Whatever bytes come: an ImageError or a tree, in bounded time and space, and nothing outside."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.images.compression import compressor
from kit.images.errors import ImageError
from kit.images.tar import Limits
from kit.images.unpack import unpack
from tests.images.trees import archive, member, tree

LIMITS = Limits(size=1 << 20, entries=100)
PARTS = [
    "a",
    "b",
    "c",
    "..",
    ".",
    "",
    "secret",
    ".wh.a",
    ".wh.b",
    ".wh..wh..opq",
    ".wh..",
    "é",
    "\udcff",
    "l" * 120,
]
PATHS = st.builds(
    lambda slash, parts: slash + "/".join(parts),
    st.sampled_from(["", "", "", "/", "./", "../"]),
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=4),
)
KINDS = st.sampled_from([*b"0001112222345555567Lxg"]).map(lambda code: bytes([code]))
RECORDS = st.dictionaries(
    st.sampled_from(["path", "linkpath", "mtime", "uid", "size", "SCHILY.xattr.user.x", "GNU.sparse.map"]),
    st.one_of(PATHS, st.text(max_size=5), st.integers(-5, 1 << 40).map(str)),
    max_size=2,
)


@st.composite
def members(draw: st.DrawFn) -> bytes:
    return member(
        draw(PATHS),
        draw(KINDS),
        draw(st.binary(max_size=20)),
        linkname=draw(PATHS),
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(st.sampled_from([0, 1000])),
        mtime=draw(st.sampled_from([0, -1, 1 << 33])),
        devmajor=draw(st.integers(0, 3)),
        devminor=draw(st.integers(0, 3)),
        pax_headers=draw(RECORDS) if draw(st.integers(0, 9)) == 0 else {},
    )


def survive(data: bytes, earlier: bytes = b"") -> None:
    """Unpack beside a directory that must stay as it is, over an earlier layer if there is one."""
    above = Path(tempfile.mkdtemp())
    try:
        (above / "root").mkdir()
        (above / "secret").mkdir()
        (above / "secret" / "a").write_text("secret")
        before = tree(above / "secret"), above.stat().st_mtime_ns
        for layer in (earlier, data):
            try:
                unpack(io.BytesIO(layer), above / "root", limits=LIMITS, allow_devices=True)
            except ImageError as told:
                assert str(told)
        assert (tree(above / "secret"), above.stat().st_mtime_ns) == before
        assert sorted(os.listdir(above)) == ["root", "secret"]
    finally:
        shutil.rmtree(above)


many = settings(
    max_examples=300,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)


@pytest.mark.needs("root")
@many
@given(st.lists(members(), max_size=8), st.lists(members(), max_size=8))
def test_members_of_any_kind_in_any_order(earlier: list[bytes], late: list[bytes]) -> None:
    survive(archive(late).getvalue(), archive(earlier).getvalue())


@pytest.mark.needs("root")
@many
@given(st.lists(members(), min_size=1, max_size=4), st.data())
def test_bytes_changed_anywhere(good: list[bytes], data: st.DataObject) -> None:
    layer = bytearray(archive(good).getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        layer[data.draw(st.integers(0, len(layer) - 1))] = data.draw(st.integers(0, 255))
    at = data.draw(st.integers(0, len(layer) // 512)) * 512
    if header := bytes(layer[at : at + 512]).strip(b"\0"):  # so that the damage gets past the checksum
        total = sum(layer[at : at + 148]) + 8 * 32 + sum(layer[at + 156 : at + 512])
        layer[at + 148 : at + 156] = b"%06o\0 " % total if header else b""
    survive(bytes(layer))


@many
@given(st.sampled_from(["gzip", "zstd", None]), st.binary(max_size=300), st.data())
def test_damaged_compression(compression: str | None, content: bytes, data: st.DataObject) -> None:
    squeezed = compressor(compression)  # type: ignore[arg-type]
    plain = archive([member("a", tarfile.REGTYPE, content)]).getvalue()
    layer = bytearray(squeezed.compress(plain) + squeezed.flush())
    layer[data.draw(st.integers(0, len(layer) - 1))] ^= data.draw(st.integers(1, 255))
    survive(bytes(layer[: data.draw(st.integers(0, len(layer)))]))


@many
@given(st.sampled_from([b"", b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd"]), st.binary(max_size=2000))
def test_bytes_of_no_sense(magic: bytes, rest: bytes) -> None:
    survive(magic + rest)
