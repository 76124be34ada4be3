"""An image mounted: what is seen, what is kept of changes, and that nothing stays of it."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kit import owner
from kit.images.commit import put_layer
from kit.images.entry import Entry
from kit.images.errors import BlobMissing
from kit.images.image import Image, write_image
from kit.images.rootfs import mount
from kit.images.snapshots import Snapshots
from kit.images.store import Store
from kit.linux.errors import KernelError
from kit.linux.mount import umount
from kit.linux.proc import mountinfo
from kit.linux.spawn import run

pytestmark = pytest.mark.needs("root")

BASE = [
    Entry("etc", "directory", 0o750, uid=3, gid=4),
    Entry("etc/old", "file", 0o644, data=b"old"),
    Entry("etc/kept", "file", 0o644, data=b"kept"),
]
ABOVE = [Entry("etc/.wh.old", "file", 0, data=b""), Entry("greeting", "file", 0o644, data=b"hello")]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def image(store: Store, *layers: list[Entry]) -> Image:
    return Image.of(store, write_image(store, [put_layer(store, entries) for entries in layers], {}))


def mounts_of(store: Store) -> list[str]:
    return os.listdir(store.directory / "mounts")


def test_the_layers_are_seen_as_one_tree(store: Store) -> None:
    with mount(store, one := image(store, BASE, ABOVE)) as rootfs:
        assert sorted(os.listdir(rootfs.path / "etc")) == ["kept"]
        assert (rootfs.path / "greeting").read_text() == "hello"
        assert (rootfs.path / "etc").stat().st_uid == 3
        assert rootfs.lower_dirs == [*map(Snapshots(store).path, reversed(one.chain_ids()))]
        assert (rootfs.image, os.listdir(rootfs.upper), rootfs.changes()) == (one, [], [])
    assert mounts_of(store) == []


def test_changes_are_in_upper_and_not_below(store: Store) -> None:
    one = image(store, BASE, ABOVE)
    with mount(store, one) as rootfs, mount(store, one) as other:
        (rootfs.path / "greeting").write_text("changed")
        (rootfs.path / "etc/kept").unlink()
        (rootfs.path / "new").mkdir()
        with pytest.raises(OSError, match="cross-device"):  # with redirect_dir it would be a mere note
            (rootfs.path / "etc").rename(rootfs.path / "moved")
        shutil.move(rootfs.path / "etc", rootfs.path / "moved")
        changes = {entry.name: entry.kind for entry in rootfs.changes()}
        assert changes == {"greeting": "file", ".wh.etc": "file", "moved": "directory", "new": "directory"}
        assert (other.path / "greeting").read_text() == "hello"
        assert other.changes() == []
    with mount(store, one) as again:
        assert (again.path / "greeting").read_text() == "hello"


def test_a_changed_mode_has_its_content_with_it(store: Store) -> None:
    with mount(store, image(store, ABOVE)) as rootfs:
        (rootfs.path / "greeting").chmod(0o600)  # with metacopy the content would stay below
        (change,) = rootfs.changes()
        assert change.mode == 0o600
        with change.open() as content:
            assert content.read() == b"hello"


def test_of_no_image_there_is_an_empty_tree(store: Store) -> None:
    with mount(store, None) as rootfs:
        assert os.listdir(rootfs.path) == []
        (rootfs.path / "file").write_text("x")
        assert [entry.name for entry in rootfs.changes()] == ["file"]
    assert mounts_of(store) == []


def test_read_only_is_read_only(store: Store) -> None:
    for one in (None, image(store, BASE)):
        with mount(store, one, read_only=True) as rootfs, pytest.raises(OSError, match="Read-only"):
            (rootfs.path / "x").write_text("x")


def test_the_root_is_like_that_of_the_image_whatever_the_umask(store: Store) -> None:
    before = os.umask(0o077)
    try:
        with mount(store, image(store, BASE)) as rootfs:
            assert stat.S_IMODE(rootfs.path.stat().st_mode) == 0o755
    finally:
        os.umask(before)


def test_what_is_setuid_inside_is_not_for_users_outside(store: Store) -> None:
    with mount(store, image(store, [Entry("su", "file", 0o4755, data=b"")])) as rootfs:
        assert (rootfs.path / "su").stat().st_mode & stat.S_ISUID
        assert stat.S_IMODE(rootfs.path.parents[1].stat().st_mode) == 0o700


def test_devices_inside_are_dead(store: Store) -> None:
    with mount(store, None) as rootfs:
        os.mknod(rootfs.path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        with pytest.raises(PermissionError):
            (rootfs.path / "null").read_bytes()


@pytest.mark.parametrize("name", ["store", "a,b:c\\d e"])
def test_a_hundred_layers_are_one_tree(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / name)
    many = image(store, *([Entry(f"f{number}", "file", 0o644, data=b"x")] for number in range(100)))
    with mount(store, many) as rootfs:
        assert len(os.listdir(rootfs.path)) == 100
        (rootfs.path / "f0").unlink()
        assert [entry.name for entry in rootfs.changes()] == [".wh.f0"]


def test_more_layers_than_mount_takes_are_told(store: Store) -> None:
    layer = put_layer(store, [Entry("x", "file", 0o644, data=b"x")])
    made = Image.of(store, write_image(store, [layer] * 260, {}))
    with pytest.raises(KernelError, match="260 layers: E2BIG"):
        mount(store, made)
    assert mounts_of(store) == []


def test_what_cannot_be_unpacked_leaves_no_mount(store: Store) -> None:
    one = image(store, BASE)
    store.path(one.layers[0].digest).unlink()
    with pytest.raises(BlobMissing):
        mount(store, one)
    assert not (store.directory / "mounts").exists()


def test_a_store_on_an_overlay_is_told_with_the_remedy(store: Store) -> None:
    with mount(store, None) as rootfs:
        inner = Store(rootfs.path / "inner")
        with pytest.raises(KernelError, match=r"EINVAL.*set KIT_IMAGES"):
            mount(inner, image(inner, BASE))
        assert mounts_of(inner) == []


def test_mounted_snapshots_are_in_use(store: Store) -> None:
    one = image(store, BASE, ABOVE)
    rootfs = mount(store, one)
    assert Snapshots(store).remove_unused() == []
    assert (rootfs.path / "greeting").read_text() == "hello"
    rootfs.close()
    rootfs.close()
    assert sorted(Snapshots(store).remove_unused()) == sorted(one.chain_ids())


def test_one_that_is_dropped_goes_by_itself(store: Store) -> None:
    rootfs = mount(store, one := image(store, BASE))
    rootfs = mount(store, one)  # as a cell does that is run again
    gc.collect()
    assert mounts_of(store) == [rootfs.path.parent.name]
    del rootfs
    gc.collect()
    assert mounts_of(store) == []
    assert Snapshots(store).remove_unused() == one.chain_ids()


def test_it_goes_though_a_program_is_still_inside(store: Store) -> None:
    with mount(store, image(store, BASE)) as rootfs:
        sleeper = subprocess.Popen(["sleep", "60"], cwd=rootfs.path)
    try:
        assert mounts_of(store) == []
    finally:
        sleeper.kill()
        sleeper.wait()


def test_what_is_mounted_inside_goes_first(store: Store, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("keep me")
    with mount(store, image(store, BASE)) as rootfs:
        subprocess.run(["mount", "--bind", tmp_path / "precious", rootfs.path / "etc"], check=True)
    assert (tmp_path / "precious/file").read_text() == "keep me"
    assert mounts_of(store) == []


def test_one_that_is_unmounted_already_can_be_closed(store: Store) -> None:
    with mount(store, image(store, BASE)) as rootfs:
        umount(str(rootfs.path))
    assert mounts_of(store) == []


def test_a_program_runs_in_it(store: Store) -> None:
    from kit.images.seed import seed

    with mount(store, seed(store, ["busybox"])["busybox"]) as rootfs:
        said = run(
            ["/bin/sh", "-c", "echo hello > /greeting; cat /greeting"],
            unshare=["mount", "pid"],
            root=str(rootfs.path),
        )
        assert said.stdout == "hello\n"
        assert [entry.name for entry in rootfs.changes()] == ["greeting"]


PROGRAM = """
import sys, time
from kit.images.descriptor import Descriptor
from kit.images.image import Image, write_image
from kit.images.rootfs import mount
from kit.images.store import Store
store = Store(sys.argv[1])
image = Image.of(store, Descriptor(sys.argv[2], sys.argv[3], int(sys.argv[4])))
rootfs = mount(store, image)
(rootfs.path / "changed").write_text("x")
print(rootfs.path, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("cleaner", ["kit clean", "the next start"])
def test_of_a_killed_program_nothing_stays(store: Store, cleaner: str) -> None:
    one = image(store, BASE, ABOVE).descriptor
    words = [sys.executable, "-c", PROGRAM, str(store.directory), one.media_type, one.digest, str(one.size)]
    program = subprocess.Popen(words, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    path = program.stdout.readline().strip()
    assert path in {entry.mount_point for entry in mountinfo()}
    assert str(Path(path).parent) not in {owned.path for owned in owner.leftovers()}
    program.send_signal(signal.SIGKILL)
    program.communicate(timeout=60)
    assert str(Path(path).parent) in {owned.path for owned in owner.leftovers()}
    code = "import kit.owner; kit.owner.prefix()" if cleaner == "the next start" else ""
    subprocess.run(
        [sys.executable, *(["-c", code] if code else ["-m", "kit", "clean"])],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert path not in {entry.mount_point for entry in mountinfo()}
    assert mounts_of(store) == []
    assert len(Snapshots(store).remove_unused()) == 2
