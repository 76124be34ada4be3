"""Snapshots: made once, shared, whole or not there, and never removed under those who use them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from kit.images.descriptor import Descriptor
from kit.images.entry import Entry
from kit.images.errors import BlobMissing, HostileLayer, LayerCorrupt
from kit.images.image import Image, write_image
from kit.images.layer import pack
from kit.images.snapshots import Snapshots
from kit.images.store import Store
from kit.linux.spawn import Mount, run
from tests.images.trees import archive, symlink, tree
from tests.images.trees import member as tar_member

BASE = [
    Entry("etc", "directory", 0o750, uid=3, gid=4),
    Entry("etc/old", "file", 0o644, data=b"old"),
    Entry("tmp", "directory", 0o1777),
]
FIRST = [Entry("etc/.wh.old", "file", 0, data=b""), Entry("tmp/x", "file", 0o644, data=b"first")]
SECOND = [Entry("second", "file", 0o4755, data=b"second")]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def image(store: Store, *layers: list[Entry]) -> Image:
    written = []
    with store.writing():
        for entries in layers:
            with store.writer() as out:
                layer = pack(entries, out)
                out.commit()
            written.append((Descriptor(layer.media_type, layer.digest, layer.size), layer.diff_id))
        return Image.of(store, write_image(store, written, {}))


def hostile(store: Store, *members: bytes, diff_id: str = "") -> Image:
    data = archive(members).getvalue()
    layer = store.put(data, "application/vnd.oci.image.layer.v1.tar")
    return Image.of(store, write_image(store, [(layer, diff_id or layer.digest)], {}))


def test_layers_are_unpacked_once_and_shared(store: Store) -> None:
    snapshots, one, two = Snapshots(store), image(store, BASE, FIRST), image(store, BASE, SECOND)
    with snapshots.hold(one) as held:
        assert held.lower_dirs == [*map(snapshots.path, reversed(one.chain_ids()))]
        assert [sorted(os.listdir(lower)) for lower in held.lower_dirs] == [["etc", "tmp"], ["etc", "tmp"]]
        before = held.lower_dirs[1].stat()
        with snapshots.hold(two) as other:
            assert other.lower_dirs[1] == held.lower_dirs[1]
            assert os.listdir(other.lower_dirs[0]) == ["second"]
            assert held.lower_dirs[1].stat() == before
    assert len(os.listdir(snapshots.directory)) == 3
    assert stat.S_IMODE(snapshots.directory.stat().st_mode) == 0o700


def test_a_directory_only_passed_through_stays_as_it_is_below(store: Store) -> None:
    with Snapshots(store).hold(image(store, BASE, FIRST)) as held:
        for name in ("etc", "tmp"):
            above, below = (lower / name for lower in held.lower_dirs)
            assert above.stat().st_mode == below.stat().st_mode
            assert (above.stat().st_uid, above.stat().st_gid) == (below.stat().st_uid, below.stat().st_gid)
    assert tree(held.lower_dirs[0])["tmp"][0] == "0o41777"


def test_so_does_the_root(store: Store) -> None:
    before = os.umask(0o077)
    try:
        with Snapshots(store).hold(image(store, SECOND, FIRST)) as held:
            assert [stat.S_IMODE(lower.stat().st_mode) for lower in held.lower_dirs] == [0o755, 0o755]
        closed = hostile(store, tar_member("./", tarfile.DIRTYPE, mode=0o711))
        layers = [(closed.layers[0], closed.diff_ids[0]), *layers_of(image(store, SECOND))]
        with Snapshots(store).hold(Image.of(store, write_image(store, layers, {}))) as held:
            assert [stat.S_IMODE(lower.stat().st_mode) for lower in held.lower_dirs] == [0o711, 0o711]
    finally:
        os.umask(before)


def layers_of(image: Image) -> list[tuple[Descriptor, str]]:
    return list(zip(image.layers, image.diff_ids, strict=True))


@pytest.mark.needs("root")
def test_an_overlay_of_them_is_the_image(store: Store, tmp_path: Path) -> None:
    (tmp_path / "merged").mkdir()
    with Snapshots(store).hold(image(store, BASE, FIRST, SECOND)) as held:
        layers = "lowerdir=" + ":".join(map(str, held.lower_dirs))
        shown = run(
            ["find", ".", "-mindepth", "1", "-printf", "%P %m %U\\n"],
            unshare=["mount"],
            mounts=[Mount("overlay", f"{tmp_path}/merged", "overlay", data=layers)],
            cwd=f"{tmp_path}/merged",
        )
    assert sorted(shown.stdout.splitlines()) == ["etc 750 3", "second 4755 0", "tmp 1777 0", "tmp/x 644 0"]


def test_what_is_held_or_kept_is_not_removed(store: Store) -> None:
    snapshots, one, two = Snapshots(store), image(store, BASE, FIRST), image(store, BASE, SECOND)
    held = snapshots.hold(one)
    snapshots.hold(two).close()
    assert snapshots.remove_unused() == [two.chain_ids()[1]]
    assert all(lower.is_dir() for lower in held.lower_dirs)
    held.close()
    assert snapshots.remove_unused(keep=one.chain_ids()[:1]) == [one.chain_ids()[1]]
    assert snapshots.remove_unused() == one.chain_ids()[:1]
    assert os.listdir(snapshots.directory) == []
    with snapshots.hold(one) as held:
        assert all(lower.is_dir() for lower in held.lower_dirs)


@pytest.mark.parametrize("members", [[tar_member("../x")], [symlink("a", "/"), tar_member("a/../../x")]])
def test_of_a_hostile_layer_nothing_stays(store: Store, members: list[bytes]) -> None:
    snapshots = Snapshots(store)
    with pytest.raises(HostileLayer):
        snapshots.hold(hostile(store, tar_member("begun"), *members))
    assert os.listdir(snapshots.directory) == []


def test_a_wrong_diff_id_is_told_and_nothing_stays(store: Store) -> None:
    snapshots = Snapshots(store)
    with pytest.raises(LayerCorrupt, match="was promised"):
        snapshots.hold(hostile(store, tar_member("x"), diff_id="sha256:" + "0" * 64))
    assert os.listdir(snapshots.directory) == []


def test_a_missing_layer_lets_the_others_go(store: Store) -> None:
    snapshots, one = Snapshots(store), image(store, BASE, FIRST)
    store.path(one.layers[1].digest).unlink()
    with pytest.raises(BlobMissing):
        snapshots.hold(one)
    assert snapshots.remove_unused() == one.chain_ids()[:1]


def test_what_a_killed_program_began_is_made_anew(store: Store) -> None:
    snapshots, one = Snapshots(store), image(store, BASE)
    work = snapshots.path(one.chain_ids()[0]).parent.with_name(f".{one.chain_ids()[0][7:]}")
    (work / "fs" / "etc" / "half").mkdir(parents=True)
    with snapshots.hold(one) as held:
        assert os.listdir(held.lower_dirs[0] / "etc") == ["old"]
    assert not work.exists()
    (work / "fs").mkdir(parents=True)
    snapshots.remove_unused(keep=one.chain_ids())
    assert os.listdir(snapshots.directory) == [one.chain_ids()[0][7:]]


PROGRAM = """
import sys
from kit.images.descriptor import Descriptor
from kit.images.image import Image
from kit.images.snapshots import Snapshots
from kit.images.store import Store
store = Store(sys.argv[1])
image = Image.of(store, Descriptor(sys.argv[2], sys.argv[3], int(sys.argv[4])))
for _ in range(20):
    snapshots = Snapshots(store)
    with snapshots.hold(image) as held:
        assert all((lower / "etc" / "x49").is_file() for lower in held.lower_dirs[:1]), "not whole"
    snapshots.remove_unused()
"""


def test_several_programs_make_use_and_remove_them_at_once(store: Store) -> None:
    many = [Entry(f"etc/x{number}", "file", 0o644, data=b"x") for number in range(50)]
    one = image(store, BASE, many).descriptor
    words = [sys.executable, "-c", PROGRAM, str(store.directory), one.media_type, one.digest, str(one.size)]
    programs = [
        subprocess.Popen(words, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for program in programs:
        assert program.communicate(timeout=100)[1] == ""
        assert program.returncode == 0
    Snapshots(store).remove_unused()
    assert os.listdir(store.directory / "snapshots") == []
