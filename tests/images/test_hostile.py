"""Layers that mean harm, one by one: each is refused or contained, and nothing is touched outside."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.images.errors import HostileLayer, ImageError, LayerCorrupt
from kit.images.tar import MAX_RECORDS, Limits
from kit.images.unpack import unpack
from kit.linux.remove import remove_path
from tests.images.trees import archive, directory, hard_link, member, symlink, tree


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """An empty directory, beside others that are worth an attack and must come out untouched."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (outside / "directory").mkdir()
    (tmp_path / "root").mkdir()
    before, names = tree(outside), sorted(os.listdir(tmp_path))
    yield tmp_path / "root"
    assert tree(outside) == before
    assert sorted(os.listdir(tmp_path)) == names


def attack(root: Path, *members: bytes, **rest: bool) -> None:
    unpack(archive(members), root, **rest)


BAD_NAMES = [
    *("..", "../outside/new", "a/../../outside/new", "a/..", "./../x", "../outside/secret"),
    *("/etc/passwd", "/", "//x", "/../x", "/tmp/x"),
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_reach_outside(root: Path, name: str) -> None:
    for kind in (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.SYMTYPE):
        with pytest.raises(HostileLayer, match="reaches outside"):
            attack(root, member(name, kind, linkname="x"))
    assert os.listdir(root) == []


@pytest.mark.parametrize("name", ["", "a\0b", "/".join(["d"] * 300)])
def test_names_that_no_file_has(root: Path, name: str) -> None:
    with pytest.raises(HostileLayer):
        attack(root, member("x", pax_headers={"path": name}))
    with pytest.raises(ImageError):
        attack(root, member("x", tarfile.SYMTYPE, pax_headers={"linkpath": name if "\0" in name else ""}))


@pytest.mark.parametrize("target", ["..", "../outside", "../../outside", "{outside}", "/"])
def test_a_later_entry_through_a_symlink(root: Path, target: str) -> None:
    target = target.format(outside=root.parent / "outside")
    for name in ("secret", "new", "directory/new"):
        try:
            attack(root, symlink("link", target), member(f"link/{name}", data=b"changed"))
        except HostileLayer:
            continue
        assert (root / name).exists(), "it landed inside, as in a container"


def test_through_a_symlink_of_an_earlier_layer(root: Path) -> None:
    attack(root, symlink("link", str(root.parent / "outside")), symlink("dots", "../outside"))
    for name in ("link/secret", "dots/secret"):
        with pytest.raises(HostileLayer):
            attack(root, member(name, data=b"changed"))
    attack(root, symlink("file", str(root.parent / "outside" / "secret")))
    attack(root, member("file", data=b"mine"))
    assert (root / "file").read_bytes() == b"mine" and not (root / "file").is_symlink()


def test_through_a_chain_of_symlinks(root: Path) -> None:
    with pytest.raises(HostileLayer):
        attack(root, symlink("a", "b"), symlink("b", "../outside"), member("a/secret", data=b"changed"))
    with pytest.raises(HostileLayer, match="ELOOP"):
        attack(root, symlink("loop", "loop"), member("loop/x"))


def test_through_proc(root: Path) -> None:
    with pytest.raises(HostileLayer):
        attack(root, symlink("p", "/proc/self/root"), member("p/tmp/x"))


@pytest.mark.parametrize(
    "target", ["../outside/secret", "/etc/passwd", "..", ".", "", "missing", "directory"]
)
def test_hard_links_to_what_is_not_there(root: Path, target: str) -> None:
    with pytest.raises(ImageError):
        attack(root, directory("directory"), hard_link("link", target))
    assert os.listdir(root) == ["directory"]


def test_a_hard_link_through_a_symlink(root: Path) -> None:
    outside = root.parent / "outside"
    for target in (str(outside), "../outside"):
        with pytest.raises(HostileLayer):
            attack(root, symlink("dir", target), hard_link("link", "dir/secret"))
    attack(root, symlink("file", str(outside / "secret")), hard_link("link", "file"))
    assert (root / "link").is_symlink(), "the link itself got a second name, and what it names did not"
    attack(root, member("link", data=b"changed", mode=0o777))


def test_a_hard_link_to_itself(root: Path) -> None:
    with pytest.raises(HostileLayer):
        attack(root, member("a", data=b"1"), hard_link("a", "a"))


def test_a_file_is_not_written_through_its_second_name(root: Path) -> None:
    attack(root, member("a", data=b"lower"), hard_link("b", "a"))
    attack(root, member("b", data=b"upper", mode=0o4777))
    assert (root / "a").read_bytes() == b"lower" and (root / "a").stat().st_mode & 0o7777 == 0o644


WHITEOUTS = [
    *(
        ".wh...",
        ".wh..",
        ".wh.",
        "a/.wh...",
        ".wh..wh.",
        ".wh..wh..",
        ".wh..wh...",
        ".wh..wh..plnk",
        ".wh.x/y",
    ),
    ".wh..wh..opq/x",
]


@pytest.mark.parametrize("name", WHITEOUTS)
def test_whiteouts_of_no_name(root: Path, name: str) -> None:
    with pytest.raises(HostileLayer, match="whiteout"):
        attack(root, member(name))


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE])
def test_whiteouts_that_are_no_files(root: Path, kind: bytes) -> None:
    with pytest.raises(HostileLayer, match="whiteout"):
        attack(root, member(".wh.x", kind, linkname="y"))


@pytest.mark.parametrize("target", ["../outside", "{outside}"])
def test_whiteouts_through_a_symlink(root: Path, target: str) -> None:
    link = symlink("link", target.format(outside=root.parent / "outside"))
    for name in ("link/.wh.secret", "link/.wh..wh..opq", "link/.wh.directory"):
        with pytest.raises(HostileLayer):
            attack(root, link, member(name))


@pytest.mark.needs("root")
def test_devices(root: Path) -> None:
    for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        with pytest.raises(HostileLayer, match="hardware"):
            attack(root, member("dev", kind, devmajor=8, devminor=0))
        assert os.listdir(root) == []
        for major, minor in ((0, 0), (1 << 12, 1), (1, 1 << 20)):
            with pytest.raises(HostileLayer, match="no device"):
                attack(root, member("dev", kind, devmajor=major, devminor=minor), allow_devices=True)


@pytest.mark.needs("root")
def test_a_hard_link_makes_no_whiteout(root: Path) -> None:
    with pytest.raises(HostileLayer, match="removed"):
        attack(root, member(".wh.x"), hard_link("passwd", "x"))


@pytest.mark.parametrize("key", ["trusted.overlay.redirect", "trusted.overlay.opaque", "user.overlay.origin"])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE])
def test_notes_to_the_overlay(root: Path, key: str, kind: bytes) -> None:
    with pytest.raises(HostileLayer, match="steer the overlay"):
        attack(root, member("x", kind, pax_headers={f"SCHILY.xattr.{key}": "/outside"}))


@pytest.mark.needs("root")
def test_setuid_stays_only_where_it_belongs(root: Path) -> None:
    attack(root, member("su", mode=0o4755, uid=0), member("other", mode=0o6711, uid=12, gid=13))
    assert stat.S_IMODE((root / "su").stat().st_mode) == 0o4755
    assert stat.S_IMODE((root / "other").stat().st_mode) == 0o6711
    attack(root, member("pipe", tarfile.FIFOTYPE, mode=0o6777), hard_link("again", "other"))
    assert stat.S_IMODE((root / "pipe").stat().st_mode) == 0o777
    assert stat.S_IMODE((root / "again").stat().st_mode) == 0o6711


@pytest.mark.needs("root")
def test_without_the_owner_no_setuid(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    capability = {"SCHILY.xattr.security.capability": "x"}
    attack(root, member("su", mode=0o6755, uid=5), member("x", pax_headers=capability))
    status = (root / "su").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o755, 0)
    assert os.listxattr(root / "x") == []


@pytest.mark.parametrize("number", [1 << 32, (1 << 32) - 1, -1, 1 << 70])
def test_owners_that_the_kernel_does_not_have(root: Path, number: int) -> None:
    with pytest.raises(LayerCorrupt):
        attack(root, member("x", uid=number))
    with pytest.raises(LayerCorrupt):
        attack(root, member("x", pax_headers={"gid": str(number)}))


@pytest.mark.parametrize("time", ["1e999999999", "nan", "9" * 13, "", "1.2.3", "-", "0x10"])
def test_times_that_there_are_not(root: Path, time: str) -> None:
    with pytest.raises(LayerCorrupt, match="no time"):
        attack(root, member("x", pax_headers={"mtime": time}))


def test_a_time_of_the_header_far_beyond(root: Path) -> None:
    info = tarfile.TarInfo("x")
    info.mtime = 1 << 80
    with pytest.raises(HostileLayer, match="time"):
        attack(root, info.tobuf(tarfile.GNU_FORMAT))


@pytest.mark.parametrize("size", [-1, 1 << 62, 1 << 80])
def test_sizes_that_there_are_not(root: Path, size: int) -> None:
    info = tarfile.TarInfo("x")
    info.size = size
    with pytest.raises(LayerCorrupt):
        attack(root, info.tobuf(tarfile.GNU_FORMAT))


def test_a_gzip_bomb(root: Path) -> None:
    header = tarfile.TarInfo("bomb")
    header.size = 1 << 30
    bomb = io.BytesIO()
    with gzip.GzipFile(fileobj=bomb, mode="wb", mtime=0) as file:
        file.write(header.tobuf())
        for _ in range(64):
            file.write(b"\0" * (1 << 20))
    assert len(bomb.getvalue()) < 100_000
    bomb.seek(0)
    with pytest.raises(HostileLayer, match="unpacks to more than"):
        unpack(bomb, root, limits=Limits(size=8 << 20))
    assert (root / "bomb").stat().st_size <= 8 << 20


def test_a_name_larger_than_memory(root: Path) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
        info = tarfile.TarInfo("x")
        info.type, info.size = kind, MAX_RECORDS + 1
        with pytest.raises(HostileLayer, match="are taken"):
            attack(root, info.tobuf(tarfile.GNU_FORMAT) + b"x" * (2 << 20))


@pytest.mark.parametrize(
    "records",
    [
        b"5 a=\n",
        b"x",
        b"999999 path=x\n",
        b"0 path=x\n",
        b"-9 path=x\n",
        b"9 path=xx\n",
        b"8 pathx\n",
        b"6 =ab\n",
    ],
)
def test_pax_records_that_are_none(root: Path, records: bytes) -> None:
    if records == b"5 a=\n":
        attack(root, member("h", tarfile.XHDTYPE, records), member("x"))
        return
    with pytest.raises(LayerCorrupt, match="no PAX record"):
        attack(root, member("h", tarfile.XHDTYPE, records), member("x"))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_extension_of_fewer_than_no_bytes(root: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("h")
    info.type, info.size = kind, -1024
    header = info.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(HostileLayer, match="-1024 bytes"):
        attack(root, header)


def test_records_for_all_members_are_refused_but_for_a_comment(root: Path) -> None:
    attack(root, member("h", tarfile.XGLTYPE, b"13 comment=x\n"), member("x"))
    with pytest.raises(LayerCorrupt, match="path"):
        attack(root, member("h", tarfile.XGLTYPE, b"10 path=y\n"), member("x"))


def test_deeper_than_any_path_can_say(root: Path) -> None:
    """With links for stepping stones directories get deeper than a name can be; they are removed too."""
    step = "/".join(["d"] * 200)
    members = [directory(step)]
    for number in range(1, 15):
        above = "" if number == 1 else f"link{number - 1}/"
        members += [directory(f"{above}{step}"), symlink(f"link{number}", f"/{above}{step}")]
    attack(root, *members)
    deepest = 0
    fd = os.open(root, os.O_RDONLY)
    while "d" in os.listdir(fd):
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd, deepest = below, deepest + 1
    os.close(fd)
    assert deepest == 14 * 200
    remove_path(root / "d")
    assert "d" not in os.listdir(root)
