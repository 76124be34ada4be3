"""Images out of one store and into another, by the kit alone and by way of skopeo."""

import gzip
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from kit.images import documents
from kit.images.compression import compressor
from kit.images.descriptor import (
    OCI_INDEX,
    OCI_LAYER,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    Platform,
    digest_of,
)
from kit.images.errors import (
    BadArchive,
    BadManifest,
    BlobCorrupt,
    BlobMissing,
    ImageError,
    LayerCorrupt,
    NoSuchPlatform,
    UnknownImage,
)
from kit.images.image import Image
from kit.images.load import load
from kit.images.save import Layout, save, save_directory
from kit.images.store import NAME, Store
from tests.images.images import image, layer, tar

ONE, TWO, THREE = "docker.io/library/one:latest", "docker.io/library/two:1", "docker.io/library/three:1"
LAYOUTS = get_args(Layout)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two images, one of them with two names, that share a gzip layer, and have a plain and a zstd one."""
    store = Store(tmp_path / "store")
    shared, plain = layer(store, shared=b"x" * 5000), layer(store, compressed=False, plain=b"y")
    data = tar(zstd=b"z")
    squeezed = compressor("zstd")
    zstd = store.put(squeezed.compress(data) + squeezed.flush(), OCI_LAYER_ZSTD), digest_of(data)
    arch = Platform.here().architecture
    image(store, ONE, shared, plain, architecture=arch, config={"Cmd": ["/one"]})
    image(store, TWO, shared, zstd, shared, architecture=arch)
    store.tag("localhost:5000/a/one:x", store.resolve(ONE))
    return store


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(tmp_path / "other")


def saved(store: Store, *names: str, layout: Layout = "docker") -> bytes:
    out = io.BytesIO()
    save(store, names, out, layout)
    return out.getvalue()


def content(store: Store, name: str) -> tuple[str, list[str], dict[str, Any]]:
    found = Image.find(store, name)
    found.check()
    return found.id, found.diff_ids, found.config


@pytest.mark.parametrize("layout", LAYOUTS)
def test_there_and_back(store: Store, other: Store, layout: Layout) -> None:
    names = [ONE, TWO, "localhost:5000/a/one:x"]
    data = saved(store, "one", "two:1", "localhost:5000/a/one:x", layout=layout)
    assert data == saved(store, *names, layout=layout)
    loaded = load(other, io.BytesIO(data))
    assert sorted(loaded) == sorted(names) == list(other.tags())
    for name in names:
        assert content(other, name) == content(store, name)
        if layout != "docker-old":
            assert other.resolve(name).digest == store.resolve(name).digest


def test_an_archive_in_a_file_compressed(store: Store, other: Store, tmp_path: Path) -> None:
    file = tmp_path / "one.tar.gz"
    file.write_bytes(gzip.compress(saved(store, ONE)))
    assert list(load(other, file)) == [ONE]
    assert content(other, ONE) == content(store, ONE)


def test_a_directory(store: Store, other: Store, tmp_path: Path) -> None:
    save_directory(store, ["one"], tmp_path / "layout")
    save_directory(store, ["two:1"], tmp_path / "layout")
    assert list(load(other, tmp_path / "layout")) == [ONE, TWO]
    for name in (ONE, TWO):
        assert other.resolve(name).digest == store.resolve(name).digest


def test_a_layer_with_the_longer_digest(other: Store, tmp_path: Path) -> None:
    store = Store(tmp_path / "longer")
    data = tar(a=b"a")
    descriptor = image(store, ONE, (store.put(data, OCI_LAYER, "sha512"), digest_of(data)))
    out = io.BytesIO()
    save(store, [ONE], out, "oci")
    out.seek(0)
    assert load(other, out) == {ONE: descriptor}
    Image.of(other, descriptor).check()
    save_directory(store, [ONE], tmp_path / "layout")
    assert load(Store(tmp_path / "third"), tmp_path / "layout") == {ONE: descriptor}


def test_another_name(store: Store, other: Store) -> None:
    assert list(load(other, io.BytesIO(saved(store, ONE)), "mine")) == ["docker.io/library/mine:latest"]
    with pytest.raises(BadArchive, match="one name, and 2 images"):
        load(other, io.BytesIO(saved(store, ONE, TWO)), "mine")


def test_nothing_is_written_for_an_unknown_name(store: Store) -> None:
    out = io.BytesIO()
    with pytest.raises(UnknownImage):
        save(store, [ONE, "missing"], out)
    assert out.getvalue() == b""


def index_of(store: Store, **parts: Descriptor) -> Descriptor:
    """An image for several machines, named "both"."""
    manifests = [
        Descriptor(one.media_type, one.digest, one.size, platform=Platform.parse(f"linux/{arch}")).to_json()
        for arch, one in parts.items()
    ]
    index = store.put(documents.encode({"schemaVersion": 2, "manifests": manifests}), OCI_INDEX)
    store.tag("docker.io/library/both:latest", index)
    return index


def test_an_index_for_several_machines(store: Store, tmp_path: Path) -> None:
    both = index_of(store, s390x=store.resolve(ONE), riscv64=store.resolve(TWO))
    save_directory(store, ["both"], tmp_path / "layout")
    sources = store.directory, tmp_path / "layout", io.BytesIO(saved(store, "both", layout="oci"))
    for number, source in enumerate(sources):
        other = Store(tmp_path / f"other-{number}")
        loaded = load(other, source)
        assert loaded["docker.io/library/both:latest"].digest == both.digest
        found = Image.find(other, "both", Platform.parse("linux/riscv64"))
        assert found.descriptor.digest == store.resolve(TWO).digest
        found.check()
    with pytest.raises(NoSuchPlatform):
        saved(store, "both")


def test_of_an_index_docker_gets_the_image_for_this_machine(store: Store, other: Store) -> None:
    here = Platform.here().architecture
    index_of(store, **{here: store.resolve(ONE), "s390x": store.resolve(TWO)})
    for layout in ("docker", "docker-old"):
        load(other, io.BytesIO(saved(store, "both", layout=layout)))
        assert content(other, "both") == content(store, ONE)
    missing = Descriptor(OCI_MANIFEST, digest_of(b"missing"), 7)
    index_of(store, **{here: missing, "s390x": store.resolve(TWO)})
    load(other, io.BytesIO(saved(store, "both", layout="oci")))
    with pytest.raises(BlobMissing):
        saved(store, "both")
    index_of(store, **{here: missing})
    with pytest.raises(BlobMissing):
        saved(store, "both", layout="oci")


# What arrives from strangers


def archive_of(*members: tuple[str, Any]) -> io.BytesIO:
    """A tar archive of (name, bytes), (name, object to write as JSON) or (name, TarInfo for its type)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, what in members:
            member = what if isinstance(what, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.name = name
            data = b"" if member is what else what if isinstance(what, bytes) else json.dumps(what).encode()
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    out.seek(0)
    return out


def of_type(kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo()
    member.type, member.linkname = kind, target
    return member


LAYER = tar(a=b"1")
CONFIG = {
    "os": "linux",
    "architecture": Platform.here().architecture,
    "rootfs": {"type": "layers", "diff_ids": [digest_of(LAYER)]},
}
MANIFEST = [{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["l/layer.tar"]}]


def old(**change: Any) -> io.BytesIO:
    """A small archive of the old layout, with some members changed."""
    members = {"c.json": CONFIG, "l/layer.tar": LAYER, "manifest.json": MANIFEST}
    return archive_of(*(members | change).items())


def test_the_smallest_archive(other: Store) -> None:
    assert list(load(other, old())) == ["docker.io/library/a:1"]


def test_a_link_to_a_layer(other: Store) -> None:
    data = old(**{"l/layer.tar": of_type(tarfile.SYMTYPE, "../x.tar"), "x.tar": LAYER})
    assert load(other, data)["docker.io/library/a:1"].media_type == OCI_MANIFEST


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"../evil": b"x"}, "leads out of the archive"),
        ({"a/../../evil": b"x"}, "leads out of the archive"),
        ({"/tmp/evil": b"x"}, "leads out of the archive"),
        ({"link": of_type(tarfile.SYMTYPE, "../../etc/passwd")}, "a link that leads out"),
        ({"l/layer.tar": of_type(tarfile.SYMTYPE, "/etc/passwd")}, "a link that leads out"),
        ({"l/layer.tar": of_type(tarfile.LNKTYPE, "c.json")}, "a hardlink has no place"),
        ({"null": of_type(tarfile.CHRTYPE)}, "a char has no place"),
        ({"pipe": of_type(tarfile.FIFOTYPE)}, "a fifo has no place"),
        ({"l/layer.tar": of_type(tarfile.SYMTYPE, "layer.tar")}, "not in the archive"),
        ({"manifest.json": {}}, "list of objects"),
        ({"manifest.json": b" " * 10_000_000}, "are too many"),
        ({"manifest.json": []}, "no name of its own"),
        ({"manifest.json": [{}]}, "names None"),
        ({"manifest.json": [MANIFEST[0] | {"Config": "/etc/passwd"}]}, "not in the archive"),
        ({"manifest.json": [MANIFEST[0] | {"Config": "../c.json"}]}, "not in the archive"),
        ({"manifest.json": [MANIFEST[0] | {"Layers": []}]}, "don't fit together"),
        ({"manifest.json": [MANIFEST[0] | {"Layers": [["x"]]}]}, "not in the archive"),
        ({"manifest.json": [MANIFEST[0] | {"RepoTags": None}]}, "no name of its own"),
        ({"manifest.json": [MANIFEST[0] | {"RepoTags": ["../a"]}]}, "no host name"),
        ({"l/layer.tar": tar(a=b"2")}, "its diff id is"),
        ({"l/layer.tar": gzip.compress(LAYER)[:-4]}, "bytes are damaged"),
        ({"l/layer.tar": gzip.compress(LAYER) + b"junk"}, "bytes are damaged"),
        ({"c.json": b"\0"}, "no readable JSON"),
        ({"c.json": {"rootfs": {"type": "layers", "diff_ids": ["x"]}}}, "diff_ids"),
        ({"blobs/sha256/" + "0" * 64: b"x"}, "it has the digest"),
        ({"blobs/sha256/../x": b"x"}, "leads out of the archive"),
        ({"blobs/sha256/x": b"x"}, "no digest"),
    ],
)
def test_what_is_refused(other: Store, tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ImageError, match=reason):
        load(other, old(**change))
    assert other.tags() == {}
    assert sorted(os.listdir(tmp_path)) == before
    assert list(other.unfinished.iterdir()) == []


def test_an_archive_cut_short(store: Store, other: Store) -> None:
    data = saved(store, ONE)
    for end in (1, 700, len(data) // 2, len(data) - 10240):
        with pytest.raises(LayerCorrupt, match="ends early"):
            load(other, io.BytesIO(data[:end]))
    assert other.tags() == {}


def test_no_archive(other: Store, tmp_path: Path) -> None:
    with pytest.raises(BadArchive, match=r"neither index\.json nor manifest\.json"):
        load(other, archive_of(("readme", b"hello")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadArchive, match="no OCI layout"):
        load(other, tmp_path / "empty")
    with pytest.raises(FileNotFoundError):
        load(other, tmp_path / "missing.tar")


def test_a_blob_missing_from_the_archive(store: Store, other: Store) -> None:
    missing = Image.find(store, ONE).layers[0].digest.removeprefix("sha256:")
    with tarfile.open(fileobj=io.BytesIO(saved(store, ONE))) as archive:
        members = [
            (one.name, file.read())
            for one in archive
            if not one.name.endswith(missing) and (file := archive.extractfile(one))
        ]
    with pytest.raises(ImageError, match="has no blob"):
        load(other, archive_of(*members))
    assert other.tags() == {}


def test_a_damaged_directory(store: Store, other: Store) -> None:
    blob = store.path(Image.find(store, ONE).layers[0].digest)
    good = blob.read_bytes()
    blob.write_bytes(good[:-1] + b"!")
    with pytest.raises(BlobCorrupt):
        load(other, store.directory)
    blob.unlink()
    blob.symlink_to("/etc/passwd")
    with pytest.raises(BadArchive, match="no OCI layout"):
        load(other, store.directory)
    assert other.tags() == {}


def test_a_name_that_is_a_tag_alone_is_no_name(store: Store, other: Store, tmp_path: Path) -> None:
    save_directory(store, [ONE], tmp_path / "layout")
    index = tmp_path / "layout" / "index.json"
    index.write_bytes(index.read_bytes().replace(ONE.encode(), b"latest"))
    assert json.loads(index.read_bytes())["manifests"][0]["annotations"] == {NAME: "latest"}
    with pytest.raises(BadArchive, match="Load it with a name"):
        load(other, tmp_path / "layout")
    assert list(load(other, tmp_path / "layout", "one")) == [ONE]


def test_an_artifact_is_no_image(other: Store, tmp_path: Path) -> None:
    layout = Store(tmp_path / "layout")
    config = layout.put(b"{}", "application/vnd.oci.empty.v1+json")
    manifest = {"schemaVersion": 2, "config": config.to_json(), "layers": []}
    layout.tag("a:1", layout.put(documents.encode(manifest), OCI_MANIFEST))
    with pytest.raises(BadManifest, match="no image but an artifact"):
        load(other, layout.directory)


# skopeo


def skopeo(*arguments: str) -> None:
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *arguments], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr


Transport = Callable[[Path], str]
ARCHIVES: dict[str, Transport] = {
    "docker": lambda file: f"docker-archive:{file}",
    "docker-old": lambda file: f"docker-archive:{file}",
    "oci": lambda file: f"oci-archive:{file}",
}


# To read an OCI archive skopeo unpacks it with its owners, which are root's.
@pytest.mark.needs("root", "skopeo")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", [ONE, TWO])
def test_skopeo_reads_what_the_kit_saved(store: Store, tmp_path: Path, layout: Layout, name: str) -> None:
    file = tmp_path / "image.tar"
    file.write_bytes(saved(store, name, layout=layout))
    skopeo("copy", ARCHIVES[layout](file), f"oci:{tmp_path}/theirs:{name}")
    assert content(Store(tmp_path / "theirs"), name)[1] == content(store, name)[1]


@pytest.mark.needs("root", "skopeo")
def test_skopeo_reads_the_new_docker_layout_as_oci_too(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "image.tar"
    file.write_bytes(saved(store, ONE, TWO))
    skopeo("copy", f"oci-archive:{file}:{TWO}", f"oci:{tmp_path}/theirs:{TWO}")
    assert Store(tmp_path / "theirs").resolve(TWO).digest == store.resolve(TWO).digest


@pytest.mark.needs("skopeo")
@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive", "oci"])
@pytest.mark.parametrize("name", [ONE, THREE])
def test_the_kit_loads_what_skopeo_wrote(
    store: Store, other: Store, tmp_path: Path, kind: str, name: str
) -> None:
    arch = Platform.here().architecture
    shared = layer(store, shared=b"x")
    image(store, THREE, shared, layer(store, compressed=False, plain=b"y"), shared, architecture=arch)
    there = tmp_path / "theirs"
    skopeo("copy", f"oci:{store.directory}:{name}", f"{kind}:{there}:{name}")
    assert list(load(other, there)) == [name]
    assert content(other, name)[1] == content(store, name)[1]
