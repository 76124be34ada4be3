"""Entries, layers, an image, an archive; through skopeo and umoci, and through the kit: the same tree."""

import os
import subprocess
from pathlib import Path

import pytest

from kit.images.compression import Compression
from kit.images.descriptor import Descriptor
from kit.images.entry import Entry
from kit.images.image import Image, write_image
from kit.images.layer import pack
from kit.images.load import load
from kit.images.save import save
from kit.images.snapshots import Snapshots
from kit.images.store import Store
from tests.images.trees import merge

LOWER = [
    Entry("etc", "directory", 0o755, mtime=1),
    Entry("etc/passwd", "file", 0o644, mtime=2, data=b"root:x:0:0::/:/bin/sh\n"),
    Entry("etc/gone", "file", 0o600, data=b"soon"),
    Entry("var", "directory", 0o1777, mtime=3),
    Entry("var/old", "file", 0o644, data=b"old"),
]
UPPER = [
    Entry("bin", "directory", 0o755, mtime=4),
    Entry("bin/tool", "file", 0o4755, uid=1, gid=2, mtime=5, data=b"#!/bin/sh\n"),
    Entry("bin/same", "hardlink", 0o4755, target="bin/tool"),
    Entry("bin/link", "symlink", 0o777, target="tool"),
    Entry("etc", "directory", 0o755, mtime=6),
    Entry("etc/.wh.gone", "file", 0o644, data=b""),
    Entry("var", "directory", 0o1777, mtime=7),
    Entry("var/.wh..wh..opq", "file", 0o644, data=b""),
    Entry("var/new", "file", 0o640, uid=1000, mtime=8, data=b"new"),
]


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """Every path with its mode, owner, number of names, and content or target."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        link = path.is_symlink()
        content = os.readlink(path) if link else path.read_bytes() if path.is_file() else None
        names = 0 if path.is_dir() else status.st_nlink
        key = str(path.relative_to(root))
        found[key] = (oct(status.st_mode), status.st_uid, status.st_gid, names, content)
    return found


def packed(store: Store, entries: list[Entry], compression: Compression | None) -> tuple[Descriptor, str]:
    with store.writer() as writer:
        layer = pack(entries, writer, compression)
        digest, size = writer.commit()
    assert (layer.digest, layer.size) == (digest, size)
    return Descriptor(layer.media_type, digest, size), layer.diff_id


@pytest.mark.needs("root", "skopeo", "umoci")
@pytest.mark.parametrize("compression", ["gzip", None])
def test_the_same_tree_for_everyone(tmp_path: Path, compression: Compression | None) -> None:
    store = Store(tmp_path / "store")
    with store.writing():
        layers = [packed(store, LOWER, compression), packed(store, UPPER, compression)]
        store.tag("docker.io/library/a:1", write_image(store, layers, {"config": {"Cmd": ["/bin/tool"]}}))
    with (tmp_path / "a.tar").open("wb") as out:
        save(store, ["a:1"], out)

    copy = [
        "skopeo",
        "--insecure-policy",
        "copy",
        f"docker-archive:{tmp_path}/a.tar",
        f"oci:{tmp_path}/theirs:a",
    ]
    subprocess.run(copy, check=True, capture_output=True, timeout=60)
    umoci = ["umoci", "unpack", "--image", f"{tmp_path}/theirs:a", str(tmp_path / "bundle")]
    subprocess.run(umoci, check=True, capture_output=True, timeout=60)

    other = Store(tmp_path / "other")
    image = Image.of(other, load(other, tmp_path / "a.tar")["docker.io/library/a:1"])
    with Snapshots(other).hold(image) as held:
        ours = merge(held.lower_dirs, tmp_path / "ours")

    assert tree(ours) == tree(tmp_path / "bundle" / "rootfs")
    assert sorted(os.listdir(ours / "var")) == ["new"]
    assert sorted(os.listdir(ours / "etc")) == ["passwd"]
