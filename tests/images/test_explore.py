"""What the explorer says of a layer is what unpacking it does, and every hidden byte is counted."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.images.compression import Compression
from kit.images.descriptor import OCI_LAYER, Descriptor
from kit.images.entry import Entry
from kit.images.errors import BlobCorrupt, HostileLayer, LayerCorrupt
from kit.images.explore import Exploration, explore
from kit.images.image import Image
from kit.images.layer import pack
from kit.images.snapshots import Snapshots
from kit.images.store import Store
from tests.images import images, trees


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def file(name: str, data: bytes = b"", mode: int = 0o644, **rest: int) -> Entry:
    return Entry(name, "file", mode, data=data, **rest)


def directory(name: str, mode: int = 0o755) -> Entry:
    return Entry(name, "directory", mode)


def layer(store: Store, *entries: Entry, compression: Compression | None = "gzip") -> tuple[Descriptor, str]:
    with store.writer() as out:
        written = pack(entries, out, compression)
        out.commit()
    return Descriptor(written.media_type, written.digest, written.size), written.diff_id


def explored(store: Store, *layers: tuple[Descriptor, str], **config: object) -> Exploration:
    return explore(Image(store, images.image(store, "", *layers, **config)))


def changes(found: Exploration, number: int) -> dict[str, str]:
    return {change.path: change.how for change in found.layers[number - 1].changes}


def unpacked(found: Exploration, directory: Path) -> set[str]:
    """Every path there is when the kernel puts the layers on one another."""
    with Snapshots(found.image.store).hold(found.image) as held:
        return set(trees.tree(trees.merge(held.lower_dirs, directory)))


@pytest.mark.needs("root")
def test_added_changed_and_removed(store: Store, tmp_path: Path) -> None:
    found = explored(
        store,
        layer(store, directory("etc"), file("etc/a", b"1"), file("etc/b", b"22"), file("etc/c", b"333")),
        layer(store, directory("etc"), file("etc/b", b"4444"), file("etc/.wh.c"), file("etc/d", b"55555")),
    )
    assert changes(found, 1) == dict.fromkeys(["etc", "etc/a", "etc/b", "etc/c"], "added")
    assert changes(found, 2) == {"etc/b": "changed", "etc/c": "removed", "etc/d": "added"}
    assert set(found.tree(1)) == {"etc", "etc/a", "etc/b", "etc/c"}
    assert set(found.tree(2)) == unpacked(found, tmp_path / "flat") == {"etc", "etc/a", "etc/b", "etc/d"}
    assert [one.unpacked for one in found.layers] == [6, 9]
    assert [one.size for one in found.layers] == [one.size for one in found.image.layers]
    second = found.layers[1]
    assert (second.count("added"), second.count("changed"), second.count("removed")) == (1, 1, 1)
    assert found.tree(2)["etc/a"].layer == 1
    assert found.tree(2)["etc/b"].layer == 2


def test_wasted_bytes_are_those_that_a_later_layer_hides(store: Store) -> None:
    found = explored(
        store,
        layer(store, file("big", b"x" * 1000), file("twice", b"y" * 10), file("stays", b"z" * 90)),
        layer(store, file("twice", b"y" * 20)),
        layer(store, file("twice", b"y" * 30), file(".wh.big")),
    )
    assert [tuple(one) for one in found.wasted] == [
        ("big", 1000, 1, 3, True), ("twice", 20, 2, 3, False), ("twice", 10, 1, 2, False),
    ]  # fmt: skip
    assert found.wasted_bytes == 1030
    assert found.unpacked == 1150
    assert found.efficiency == pytest.approx(120 / 1150)
    assert sum(one.size for one in found.tree(3).values()) == found.unpacked - found.wasted_bytes


def test_the_same_bytes_again_are_a_change_and_wasted(store: Store) -> None:
    found = explored(store, layer(store, file("a", b"same")), layer(store, file("a", b"same", uid=7)))
    (change,) = found.layers[1].changes
    assert change.how == "changed"
    assert (change.before and change.before.uid, change.after and change.after.uid) == (0, 7)
    assert found.wasted_bytes == 4


def test_a_directory_is_a_change_only_when_its_mode_or_owner_is(store: Store) -> None:
    both = directory("a"), directory("b")
    found = explored(store, layer(store, *both), layer(store, directory("a"), directory("b", 0o700)))
    assert changes(found, 2) == {"b": "changed"}
    assert found.wasted == []


TREE = [directory("d"), file("d/a", b"1"), directory("d/e"), file("d/e/b", b"22"), file("dx", b"333")]


@pytest.mark.needs("root")
@pytest.mark.parametrize(
    ("above", "left"),
    [
        ([file(".wh.d")], {"dx"}),
        ([file("d", b"now a file")], {"d", "dx"}),
        ([directory("d"), file("d/.wh..wh..opq"), file("d/a", b"new")], {"d", "d/a", "dx"}),
        ([directory("d"), directory("d/e"), file("d/e/.wh..wh..opq")], {"d", "d/a", "d/e", "dx"}),
        ([directory("d"), file("d/new", b""), file(".wh.d")], {"d", "d/new", "dx"}),
        ([file("d/new", b""), file(".wh.d")], {"d", "d/new", "dx"}),
        ([file("d/a/b", b"a file has become a directory")], None),
        ([file("d/.wh.nothing")], {"d", "d/a", "d/e", "d/e/b", "dx"}),
    ],
)
def test_what_goes_with_a_directory(
    store: Store, tmp_path: Path, above: list[Entry], left: set[str] | None
) -> None:
    found = explored(store, layer(store, *TREE), layer(store, *above))
    if left is None:  # no honest tool makes it, and unpacking refuses it
        assert "d/a/b" in found.tree(2)
        return
    assert set(found.tree(2)) == left == unpacked(found, tmp_path / "flat")


def test_an_opaque_root(store: Store) -> None:
    found = explored(store, layer(store, *TREE), layer(store, file(".wh..wh..opq"), file("new", b"")))
    assert set(found.tree(2)) == {"new"}
    assert found.layers[1].count("removed") == 5


def test_what_else_a_layer_may_hold(store: Store) -> None:
    found = explored(
        store,
        layer(
            store,
            file("a", b"123", 0o4755, uid=1, gid=2),
            Entry("link", "symlink", 0o777, target="a"),
            Entry("other", "hardlink", 0o4755, target="a"),
            Entry("null", "char", 0o666, device=(1, 3)),
        ),
    )
    a = found.tree(1)["a"]
    assert (a.kind, a.size, a.mode, a.uid, a.gid) == ("file", 3, 0o4755, 1, 2)
    assert {path: (one.kind, one.size, one.target) for path, one in found.tree(1).items() if path != "a"} == {
        "link": ("symlink", 0, "a"), "other": ("hardlink", 0, "a"), "null": ("char", 0, ""),
    }  # fmt: skip


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
def test_any_compression_says_the_same(store: Store, compression: Compression | None) -> None:
    found = explored(store, layer(store, file("a", b"1" * 5000), compression=compression))
    assert found.layers[0].unpacked == 5000
    assert (found.layers[0].size < 5000) == (compression is not None)


@pytest.mark.parametrize(
    ("history", "lines"),
    [
        ([{"created_by": "A"}, {"created_by": "B", "empty_layer": True}, {"created_by": "C"}], ["A", "C"]),
        ([], ["", ""]),
    ],
)
def test_the_lines_of_the_history_that_made_layers(
    store: Store, history: list[object], lines: list[str]
) -> None:
    both = layer(store, file("a", b"1")), layer(store, file("b", b"2"))
    assert [one.created_by for one in explored(store, *both, history=history).layers] == lines


def test_an_image_without_layers_or_files(store: Store) -> None:
    nothing = explore(Image(store, images.write_image(store, [], {})))
    assert (nothing.layers, nothing.unpacked, nothing.wasted, nothing.efficiency) == ([], 0, [], 1.0)
    assert explored(store, layer(store)).layers[0].changes == []


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda data: data[:700], LayerCorrupt),
        (lambda data: data.replace(b"greeting", b"../eting", 1), LayerCorrupt),  # the header's checksum
    ],
)
def test_a_damaged_layer_is_refused(
    store: Store, damage: Callable[[bytes], bytes], error: type[Exception]
) -> None:
    data = damage(images.tar(greeting=b"hello"))
    with pytest.raises(error):
        explored(store, (store.put(data, OCI_LAYER), images.digest_of(data)))


def test_a_name_that_leads_out_is_refused(store: Store) -> None:
    data = images.tar(**{"../etc/passwd": b"x"})
    with pytest.raises(HostileLayer, match=r"\.\."):
        explored(store, (store.put(data, OCI_LAYER), images.digest_of(data)))


def test_a_changed_blob_is_refused(store: Store) -> None:
    one = layer(store, file("a", b"1" * 2000), compression=None)
    path = store.path(one[0].digest)
    path.write_bytes(path.read_bytes().replace(b"111", b"112", 1))
    with pytest.raises(BlobCorrupt):
        explored(store, one)


def test_memory_goes_with_the_entries_and_not_their_content(store: Store) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for number in range(10_000):
            archive.addfile(tarfile.TarInfo(f"usr/lib/python3/package{number // 100}/file{number}.py"))
        large = tarfile.TarInfo("large")
        large.size = 32 << 20
        archive.addfile(large, io.BytesIO(bytes(large.size)))
    many = store.put(data.getvalue(), OCI_LAYER), images.digest_of(data.getvalue())
    del data
    tracemalloc.start()
    try:
        found = explored(store, many, layer(store, file("usr/.wh.lib")))
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.layers[0].count("added") == 10_000 + 1 + 100 + 3  # its directories have no entries
    assert found.layers[1].count("removed") == 10_000 + 100 + 2
    assert kept < 10_000 * 800
    assert peak < 10_000 * 800 + (4 << 20)
