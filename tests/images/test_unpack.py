"""Unpacking: all that a layer says of a file arrives, and whiteouts mean to an overlay what they say."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from kit.images.compression import Compression
from kit.images.descriptor import OCI_LAYER, OCI_LAYER_GZIP
from kit.images.directory import diff, from_directory
from kit.images.entry import Entry
from kit.images.errors import HostileLayer, ImageError, LayerCorrupt
from kit.images.image import write_image
from kit.images.layer import pack
from kit.images.store import Store
from kit.images.tar import Limits
from kit.images.unpack import unpack
from kit.linux.spawn import Mount, run
from tests.images.trees import archive, directory, hard_link, member, merge, symlink, tree

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep
ENTRIES = [
    Entry("etc", "directory", 0o2750, uid=7, gid=8, mtime=100),
    Entry("etc/name", "file", 0o640, uid=1000, gid=1001, mtime=12, data=b"content" * 100_000),
    Entry("etc/alias", "hardlink", 0o640, uid=1000, gid=1001, mtime=12, target="etc/name"),
    Entry("etc/link", "symlink", 0o777, uid=5, gid=6, mtime=13, target="/etc/name"),
    Entry("bin", "directory", 0o755, mtime=101),
    Entry("bin/su", "file", 0o6755, uid=3, gid=4, mtime=14, data=b"su"),
    Entry(
        "bin/port", "file", 0o755, data=b"x", xattrs={"security.capability": CAPABILITY, "user.a": b"\xff"}
    ),
    Entry("locked", "directory", 0o000, mtime=-5),
    Entry("locked/in", "file", 0o000, data=b""),
    Entry("pipe", "fifo", 0o622, uid=9, mtime=15),
    Entry("null", "char", 0o666, mtime=16, device=(1, 3)),
    Entry("disk", "block", 0o660, gid=6, mtime=17, device=(7, 300)),
    Entry("/".join(["deep"] * 50), "file", 0o644, data=b"deep"),
    Entry("name-\udcff-ü", "file", 0o644, data=b"bytes"),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def put(root: Path, *members: bytes) -> str:
    """Unpack these members into ``root``, which is made where it is missing."""
    root.mkdir(exist_ok=True)
    return unpack(archive(members), root)


@pytest.mark.needs("root")
@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
def test_what_was_packed_comes_out(root: Path, compression: Compression | None) -> None:
    out = io.BytesIO()
    layer = pack(ENTRIES, out, compression)
    out.seek(0)
    assert unpack(out, root, allow_devices=True, diff_id=layer.diff_id) == layer.diff_id
    found = {entry.name: entry for entry in from_directory(root)}
    for entry in ENTRIES:
        if entry.name in ("etc/name", "etc/alias"):
            continue
        one = found[entry.name]
        for part in ("kind", "mode", "uid", "gid", "mtime", "target", "device", "xattrs"):
            assert getattr(one, part) == getattr(entry, part), (entry.name, part)
        if entry.kind == "file":
            assert (root / entry.name).read_bytes() == entry.data
    assert (root / "etc" / "name").samefile(root / "etc" / "alias")
    assert (root / "etc" / "name").read_bytes() == b"content" * 100_000
    status = (root / "etc" / "name").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime) == (
        *(0o640, 1000, 1001),
        12,
    )


def test_fractions_of_a_second_and_long_names_of_both_dialects(root: Path) -> None:
    info = tarfile.TarInfo("d/" + "n" * 200)
    info.mtime = 3
    gnu = info.tobuf(tarfile.GNU_FORMAT)
    put(root, gnu, member("exact", pax_headers={"mtime": "1234567890.123456789"}))
    assert (root / "exact").stat().st_mtime_ns == 1234567890_123456789
    assert (root / "d" / ("n" * 200)).stat().st_mtime == 3


@pytest.mark.needs("root")
def test_a_directorys_default_acl_is_not_inherited(root: Path) -> None:
    entries = ((0x01, 7), (0x02, 7), (0x04, 5), (0x10, 7), (0x20, 0))  # user::, user:9, group::, mask, other
    acl = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, bits, 9 if tag == 2 else 0xFFFFFFFF) for tag, bits in entries
    )
    value = acl.decode("utf-8", "surrogateescape")
    put(root, directory("d", pax_headers={"SCHILY.xattr.system.posix_acl_default": value}), member("d/x"))
    assert os.getxattr(root / "d", "system.posix_acl_default") == acl
    assert os.listxattr(root / "d" / "x") == []
    assert stat.S_IMODE((root / "d" / "x").stat().st_mode) == 0o644


def test_what_is_missing_on_the_way_is_made_whatever_the_umask(root: Path) -> None:
    before = os.umask(0o077)
    try:
        put(root, member("a/b/c"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / "a" / "b").stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "a" / "b" / "c").stat().st_mode) == 0o644


def test_the_root_itself_has_an_owner_and_a_mode(root: Path) -> None:
    put(root, directory("./", mode=0o711, mtime=77), member("./file", data=b"1"))
    assert (stat.S_IMODE(root.stat().st_mode), root.stat().st_mtime) == (0o711, 77)
    assert (root / "file").read_bytes() == b"1"


def test_the_last_entry_of_a_name_counts(root: Path) -> None:
    put(
        root,
        *(member("file", data=b"one"), hard_link("other", "file"), member("file", data=b"two")),
        *(directory("x", mode=0o700), member("x/in"), member("x", data=b"now a file")),
        *(member("y"), directory("y", mode=0o711), member("y/in")),
        *(symlink("z", "y"), directory("z", mode=0o700), directory("y", mode=0o750)),
    )
    assert ((root / "file").read_bytes(), (root / "other").read_bytes()) == (b"two", b"one")
    assert (root / "x").read_bytes() == b"now a file"
    assert (root / "y" / "in").is_file() and stat.S_IMODE((root / "y").stat().st_mode) == 0o750
    assert not (root / "z").is_symlink() and not any((root / "z").iterdir())


def test_links_lead_where_they_would_in_a_container(root: Path) -> None:
    put(root, directory("usr/lib"), symlink("lib", "/usr/lib"), symlink("usr/up", "../../../usr/lib"))
    put(root, member("lib/one", data=b"1"), member("usr/up/two", data=b"2"), hard_link("three", "lib/two"))
    assert sorted(os.listdir(root / "usr" / "lib")) == ["one", "two"]
    assert (root / "three").read_bytes() == b"2"
    assert (root / "lib").is_symlink()


LOWER = (
    *(directory("etc"), member("etc/old", data=b"old"), member("etc/kept"), directory("opt")),
    *(member("opt/a"), directory("opt/sub"), member("opt/sub/b"), directory("var"), member("var/v")),
)
UPPER = (
    *(member("etc/.wh.old"), member("etc/.wh.never-there"), directory("opt"), directory("opt/sub")),
    *(member("opt/sub/new", data=b"new"), member("opt/.wh..wh..opq"), member("opt/late", data=b"late")),
    *(member(".wh.var"), directory("var"), member("var/w", data=b"w")),
)
TOGETHER = {"etc", "etc/kept", "opt", "opt/sub", "opt/sub/new", "opt/late", "var", "var/w"}


@pytest.mark.needs("root")
def test_the_kernel_puts_layers_together(tmp_path: Path) -> None:
    put(tmp_path / "lower", *LOWER)
    put(tmp_path / "upper", *UPPER)
    assert set(tree(merge([tmp_path / "upper", tmp_path / "lower"], tmp_path / "all"))) == TOGETHER


@pytest.mark.needs("root")
def test_a_whiteout_is_for_the_layers_below_whatever_the_order(tmp_path: Path) -> None:
    put(tmp_path / "lower", *LOWER)
    both = directory("opt"), member("opt/new"), member(".wh.opt"), member("var"), member(".wh.var")
    put(tmp_path / "upper", *both)
    together = merge([tmp_path / "upper", tmp_path / "lower"], tmp_path / "all")
    assert set(tree(together)) == {"etc", "etc/old", "etc/kept", "opt", "opt/new", "var"}


@pytest.mark.needs("root")
def test_a_directory_after_its_whiteout_or_a_file_is_a_new_one(tmp_path: Path) -> None:
    put(tmp_path / "lower", *LOWER)
    put(tmp_path / "upper", member(".wh.opt"), directory("opt"), member("etc"), directory("etc"))
    put(tmp_path / "upper", member(".wh.var"), member("var/new"))
    together = merge([tmp_path / "upper", tmp_path / "lower"], tmp_path / "all")
    assert set(tree(together)) == {"etc", "opt", "var", "var/new"}


@pytest.mark.needs("root")
def test_whiteouts_in_the_overlays_form(root: Path) -> None:
    put(root, *UPPER)
    gone = (root / "etc" / "old").lstat()
    assert stat.S_ISCHR(gone.st_mode) and gone.st_rdev == 0
    assert os.getxattr(root / "opt", "trusted.overlay.opaque") == b"y"
    assert os.getxattr(root / "var", "trusted.overlay.opaque") == b"y"
    assert os.listxattr(root / "opt" / "sub") == []


@pytest.mark.needs("root")
def test_a_diff_unpacked_is_the_same_diff(tmp_path: Path) -> None:
    put(tmp_path / "first", *UPPER)
    (tmp_path / "second").mkdir()
    out = io.BytesIO()
    layer = pack(diff(tmp_path / "first"), out)
    out.seek(0)
    unpack(out, tmp_path / "second", diff_id=layer.diff_id)
    assert tree(tmp_path / "first", times=False) == tree(tmp_path / "second", times=False)
    assert pack(diff(tmp_path / "second"), io.BytesIO()) == layer


def test_the_whole_stream_is_the_diff_id(root: Path) -> None:
    padded = archive([member("a", data=b"1")]).getvalue() + b"\0" * 20_480
    done = unpack(io.BytesIO(padded), root)
    assert done == "sha256:" + hashlib.sha256(padded).hexdigest()
    with pytest.raises(LayerCorrupt, match="was promised"):
        unpack(io.BytesIO(padded), root, diff_id="sha256:" + "0" * 64)


@pytest.mark.parametrize("junk", [b"x", b"\0" * 100 + b"x", b"\0" * 1_000_000 + b"x", member("after")])
def test_bytes_after_the_end_are_told(root: Path, junk: bytes) -> None:
    with pytest.raises(LayerCorrupt, match="follow the end"):
        unpack(io.BytesIO(archive([member("a")]).getvalue() + junk), root)


@pytest.mark.parametrize("end", [0, 100, 512, 600, 1024, 1500])
def test_an_early_end_is_told(root: Path, end: int) -> None:
    whole = archive([member("a", data=b"x" * 700)]).getvalue()
    with pytest.raises(LayerCorrupt, match="ends early"):
        unpack(io.BytesIO(whole[:end]), root)


def test_a_damaged_header_is_told(root: Path) -> None:
    data = bytearray(archive([member("a"), member("b")]).getvalue())
    data[512 + 10] ^= 1
    with pytest.raises(LayerCorrupt, match="bad checksum"):
        unpack(io.BytesIO(bytes(data)), root)


@pytest.mark.parametrize("kind", [b"S", b"V", b"M", b"Z"])
def test_members_of_one_maker_are_refused_by_name(root: Path, kind: bytes) -> None:
    with pytest.raises(LayerCorrupt, match="no place in a layer"):
        put(root, member("a", kind))


def test_limits_are_the_callers_to_raise(root: Path) -> None:
    layer = archive([member("a", data=b"x" * 4096), member("b")])
    with pytest.raises(HostileLayer, match=r"Limits\(size"):
        unpack(layer, root, limits=Limits(size=4096))
    layer.seek(0)
    with pytest.raises(HostileLayer, match=r"Limits\(entries"):
        unpack(layer, root, limits=Limits(entries=1))
    layer.seek(0)
    unpack(layer, root, limits=Limits(1 << 20, 2))
    assert (root / "b").exists()


@pytest.mark.needs("root")
def test_a_full_disk_is_not_the_layers_fault(tmp_path: Path) -> None:
    script = (
        "import io, sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path\n"
        "from kit.images.unpack import unpack\n"
        "from tests.images.trees import archive, member\n"
        f"try: unpack(archive([member('a', data=b'x' * 300_000)]), Path({str(tmp_path)!r}))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    told = run(
        [sys.executable, "-c", script],
        unshare=["mount"],
        mounts=[Mount("tmpfs", str(tmp_path), "tmpfs", data="size=100k")],
        cwd=str(Path(__file__).parents[2]),
    )
    assert told.stdout.startswith("ImageError the file can't be made: ENOSPC"), told.stderr


@pytest.mark.needs("root", "umoci")
def test_umoci_unpacks_the_same_tree(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    lower, upper = io.BytesIO(), archive(UPPER)
    pack([*ENTRIES, *from_members(LOWER, tmp_path)], lower)
    layers, directories = [], []
    for stream, kind in ((lower, OCI_LAYER_GZIP), (upper, OCI_LAYER)):
        stream.seek(0)
        directories.insert(0, tmp_path / kind[-4:])
        directories[0].mkdir()
        diff_id = unpack(stream, directories[0], allow_devices=True)
        layers.append((store.put(stream.getvalue(), kind), diff_id))
    store.tag("test", write_image(store, layers, {}))
    command = ["umoci", "unpack", "--image", f"{store.directory}:test", f"{tmp_path}/bundle"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    mine = merge(directories, tmp_path / "mine")
    assert comparable(mine) == comparable(tmp_path / "bundle" / "rootfs")


def from_members(members: tuple[bytes, ...], tmp_path: Path) -> list[Entry]:
    put(tmp_path / "members", *members)
    return [entry for entry in from_directory(tmp_path / "members") if entry.name != "etc"]


def comparable(root: Path) -> dict[str, tuple[object, ...]]:
    """The tree but for the times of directories that no entry spoke of, which are those of the unpacking."""
    said = {entry.name for entry in ENTRIES}
    return {
        name: found if name in said else (*found[:3], None, *found[4:])
        for name, found in tree(root).items()
        if name != "etc"  # changed by whiteouts, after its own time was set
    }


def test_an_error_of_the_kernel_is_an_image_error(root: Path) -> None:
    with pytest.raises(ImageError, match="ENAMETOOLONG"):
        put(root, member("n" * 300))
