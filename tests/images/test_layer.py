"""Packing: the same entries give the same bytes, which others read; an overlay's changes as a layer."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import socket
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from kit.images.compression import Compression, decompressed
from kit.images.directory import diff, from_directory
from kit.images.entry import Entry
from kit.images.errors import ImageError, LayerCorrupt
from kit.images.layer import Layer, pack

LONG = "/".join(["directory-with-a-long-name"] * 12) + "/ünïcode"
BYTES = "not-utf8-\udcff"
ENTRIES = [
    Entry("etc", "directory", 0o755),
    Entry("etc/name", "file", 0o4755, uid=1000, gid=5_000_000, mtime=12, data=b"content"),
    Entry("etc/empty", "file", 0o600, data=b""),
    Entry("a-hard-link", "hardlink", 0o4755, target="etc/name"),
    Entry("absolute", "symlink", 0o777, target="/etc/name"),
    Entry("dev-null", "char", 0o666, device=(1, 3)),
    Entry("disk", "block", 0o660, device=(7, 300)),
    Entry("pipe", "fifo", 0o644),
    Entry(LONG, "file", 0o644, data=b"x" * 512),
    Entry(BYTES, "file", 0o644, data=b"y", xattrs={"user.bytes": b"\x00\xff=\n", "user.text": "ä".encode()}),
]


def packed(entries: list[Entry] | Path, compression: Compression | None = None) -> tuple[bytes, Layer]:
    out = io.BytesIO()
    layer = pack(entries, out, compression)
    return out.getvalue(), layer


def plain(blob: bytes) -> bytes:
    stream, whole = decompressed(io.BytesIO(blob)), b""
    while data := stream.read(1000):
        assert len(data) <= 1000
        whole += data
    return whole


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
def test_the_digests_are_those_of_the_bytes(compression: Compression | None) -> None:
    blob, layer = packed(ENTRIES, compression)
    assert layer.digest == "sha256:" + hashlib.sha256(blob).hexdigest()
    assert layer.size == len(blob)
    assert layer.diff_id == "sha256:" + hashlib.sha256(plain(blob)).hexdigest()
    assert layer.media_type == "application/vnd.oci.image.layer.v1.tar" + (
        f"+{compression}" if compression else ""
    )


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
def test_the_order_and_the_clock_do_not_count(compression: Compression | None) -> None:
    shuffled = random.Random(1).sample(ENTRIES, len(ENTRIES))
    assert packed(ENTRIES, compression) == packed(shuffled, compression)


def test_tarfile_reads_what_was_packed() -> None:
    blob, _ = packed(ENTRIES)
    with tarfile.open(fileobj=io.BytesIO(blob)) as tar:
        members = {member.name: member for member in tar}
        assert set(members) == {entry.name for entry in ENTRIES}
        assert list(members)[-1] == "a-hard-link", "what a hard link names comes before it"
        for entry in ENTRIES:
            member = members[entry.name]
            assert (stat.S_IMODE(member.mode), member.uid, member.gid, member.mtime, member.linkname) == (
                (entry.mode, entry.uid, entry.gid, entry.mtime, entry.target)
            )
            if entry.kind == "file":
                content = tar.extractfile(member)
                assert content is not None and content.read() == entry.data
        assert (members["disk"].devmajor, members["disk"].devminor) == (7, 300)
        attribute = members[BYTES].pax_headers["SCHILY.xattr.user.bytes"]
        assert attribute.encode("utf-8", "surrogateescape") == b"\x00\xff=\n"


@pytest.mark.needs("root", "tar")
def test_gnu_tar_unpacks_the_same_tree(tmp_path: Path) -> None:
    blob, _ = packed(ENTRIES, "gzip")
    (tmp_path / "layer.tar.gz").write_bytes(blob)
    (tmp_path / "tree").mkdir()
    command = ["tar", "-xzpf", "../layer.tar.gz", "--xattrs", "--xattrs-include=*", "--same-owner"]
    subprocess.run(command, cwd=tmp_path / "tree", check=True, timeout=60)
    tree = {entry.name: entry for entry in from_directory(tmp_path / "tree")}
    for entry in ENTRIES:
        name = {"a-hard-link": "etc/name", "etc/name": "a-hard-link"}.get(entry.name, entry.name)
        found = tree[name]  # of two names for one file, the first in the walk is the file
        assert (found.kind, found.mode) == (entry.kind, entry.mode)
        if entry.kind == "file":
            assert (found.source or tmp_path).read_bytes() == entry.data
            assert (found.uid, found.gid) == (entry.uid, entry.gid)
            assert (found.xattrs, found.mtime) == (entry.xattrs, entry.mtime)


def test_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(ImageError, match="same name"):
        packed([Entry("a", "fifo", 0o644), Entry("b", "fifo", 0o644), Entry("a", "directory", 0o755)])


def test_no_entries_are_a_layer_too() -> None:
    blob, layer = packed([])
    assert blob == b"\0" * 1024
    assert layer.diff_id == "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"


def test_a_directory_as_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b").mkdir(mode=0o700)
    (tmp_path / "b" / "file").write_bytes(b"1")
    (tmp_path / "a").hardlink_to(tmp_path / "b" / "file")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    os.setxattr(tmp_path / "b" / "file", "user.note", b"\xff")
    os.utime(tmp_path / "a", ns=(0, 5_900_000_000))
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # a socket's whole path has no room in its address
        listener.bind("socket")
        entries = {entry.name: entry for entry in from_directory(tmp_path)}
    assert set(entries) == {"a", "b", "b/file", "loop", "pipe"}
    assert (entries["a"].kind, entries["a"].mtime, entries["a"].xattrs) == ("file", 5, {"user.note": b"\xff"})
    assert (entries["b/file"].kind, entries["b/file"].target) == ("hardlink", "a")
    assert (entries["b"].mode, entries["loop"].target) == (0o700, "loop")


def test_a_whiteouts_name_in_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".wh.passwd").touch()
    with pytest.raises(ImageError, match="lower layer"):
        list(from_directory(tmp_path))
    with pytest.raises(ImageError, match="lower layer"):
        list(diff(tmp_path))


def test_a_file_that_shrinks_is_told(tmp_path: Path) -> None:
    class Short(Entry):
        def open(self) -> io.BufferedReader:
            content = (tmp_path / "file").open("rb")
            content.seek(2)
            return content

    (tmp_path / "file").write_bytes(b"12345")
    with pytest.raises(ImageError, match="shorter"):
        packed([Short("file", "file", 0o644, source=tmp_path / "file")])


@pytest.mark.needs("root")
def test_an_upper_directory_as_a_layer(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "new").write_bytes(b"new")
    os.mknod(tmp_path / "etc" / "gone", 0o020000, os.makedev(0, 0))
    os.mknod(tmp_path / "null", 0o020666, os.makedev(1, 3))
    (tmp_path / "anew").mkdir()
    os.setxattr(tmp_path / "anew", "trusted.overlay.opaque", b"y")
    os.setxattr(tmp_path / "etc", "trusted.overlay.origin", b"\0\1")
    entries = {entry.name: entry for entry in diff(tmp_path)}
    assert set(entries) == {"etc", "etc/new", "etc/.wh.gone", "null", "anew", "anew/.wh..wh..opq"}
    assert entries["etc"].xattrs == {} == entries["anew"].xattrs
    assert (entries["etc/.wh.gone"].kind, entries["etc/.wh.gone"].data) == ("file", b"")
    assert entries["null"].device == (1, 3)


@pytest.mark.needs("root")
@pytest.mark.parametrize("note", ["trusted.overlay.redirect", "trusted.overlay.metacopy"])
def test_an_upper_directory_that_is_not_whole_is_refused(tmp_path: Path, note: str) -> None:
    (tmp_path / "moved").mkdir()
    os.setxattr(tmp_path / "moved", note, b"/old")
    with pytest.raises(ImageError, match="metacopy=off,redirect_dir=off"):
        list(diff(tmp_path))


def test_a_long_layer_is_squeezed_in_pieces_that_everyone_reads() -> None:
    entry = Entry("long", "file", 0o644, data=random.Random(1).randbytes(5_000_000))
    (blob, layer), (tar, _) = packed([entry], "gzip"), packed([entry])
    assert gzip.decompress(blob) == tar
    done = subprocess.run(["gzip", "-dc"], input=blob, capture_output=True, check=True, timeout=60)
    assert done.stdout == tar
    assert packed([entry], "gzip") == (blob, layer)


def test_gzip_members_follow_each_other() -> None:
    assert plain(gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two")) == b"onetwo"


def test_what_is_not_compressed_stays() -> None:
    assert plain(b"") == b"" and plain(b"\x1f") == b"\x1f" and plain(b"0123456789") == b"0123456789"


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_junk_after_compressed_bytes_is_told(compression: Compression) -> None:
    blob, _ = packed(ENTRIES, compression)
    with pytest.raises(LayerCorrupt, match="bytes are damaged"):
        plain(blob + b"junk that is neither")


def test_a_gzip_that_ends_early_is_told() -> None:
    blob, _ = packed(ENTRIES, "gzip")
    for end in (5, len(blob) // 2, len(blob) - 1):
        with pytest.raises(LayerCorrupt, match="end-of-stream"):
            plain(blob[:end])


def test_an_unknown_compression_is_refused_by_name() -> None:
    with pytest.raises(KeyError, match="bzip2"):
        packed([], "bzip2")  # type: ignore[arg-type]
