import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kit.images import documents
from kit.images.descriptor import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Platform,
    digest_of,
)
from kit.images.errors import BadManifest, BlobCorrupt, BlobMissing, NoSuchPlatform, UnknownImage
from kit.images.image import Image, choose, write_image
from kit.images.store import Store
from tests.images.images import image, layer

AMD64 = Platform("linux", "amd64")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def put(store: Store, document: Any, media_type: str = OCI_MANIFEST) -> Descriptor:
    return store.put(documents.encode(document), media_type)


def index_of(*found: Descriptor) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [one.to_json() for one in found]}


def on(platform: str, number: int = 0) -> Descriptor:
    return Descriptor(
        OCI_MANIFEST, digest_of(f"{platform}{number}".encode()), 1, platform=Platform.parse(platform)
    )


def test_an_image_and_its_parts(store: Store) -> None:
    layers = [layer(store, a=b"1"), layer(store, b=b"2"), layer(store, c=b"3")]
    history = [{"created_by": "one"}, {"created_by": "two"}, {"empty_layer": True}, {"created_by": "three"}]
    descriptor = image(store, "docker.io/library/a:latest", *layers, config={"Cmd": ["/a"]}, history=history)
    found = Image.find(store, "a")
    found.check()
    assert found.descriptor == Descriptor(OCI_MANIFEST, descriptor.digest, descriptor.size, platform=AMD64)
    assert found.layers == [one for one, _ in layers]
    assert found.diff_ids == [diff_id for _, diff_id in layers]
    assert found.config["config"] == {"Cmd": ["/a"]}
    assert found.history == history
    assert found.platform == AMD64
    assert found.size == sum(one.size for one, _ in layers)
    assert found.id == digest_of(documents.encode(found.config))


def test_chain_ids_as_the_specification_defines_them(store: Store) -> None:
    layers = [layer(store, a=b"1"), layer(store, b=b"2"), layer(store, c=b"3")]
    one, two, three = (diff_id for _, diff_id in layers)
    second = digest_of(f"{one} {two}".encode())
    chain = Image(store, image(store, "", *layers)).chain_ids()
    assert chain == [one, second, digest_of(f"{second} {three}".encode())]


def test_the_same_image_has_the_same_digest(store: Store, tmp_path: Path) -> None:
    assert image(store, "a", created="2020-01-01T00:00:00Z") == image(
        Store(tmp_path / "other"), "a", created="2020-01-01T00:00:00Z"
    )


def test_what_cannot_be_written(store: Store) -> None:
    one = layer(store, a=b"1")
    with pytest.raises(BadManifest, match="history of 2 layers for 1"):
        write_image(store, [one], {"history": [{}, {}]})
    with pytest.raises(BadManifest, match="no type of a layer"):
        write_image(store, [(put(store, {}), one[1])], {})
    with pytest.raises(BlobMissing):
        write_image(store, [(Descriptor(OCI_LAYER, digest_of(b"x"), 1), one[1])], {})


def test_docker_schema_2(store: Store) -> None:
    (gz, diff_id) = layer(store, a=b"1")
    config = put(store, {"os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}, DOCKER_CONFIG)
    manifest = put(
        store,
        {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": config.to_json(),
            "layers": [gz.to_json() | {"mediaType": DOCKER_LAYER_GZIP}],
        },
        DOCKER_MANIFEST,
    )
    whole = Descriptor(DOCKER_MANIFEST, manifest.digest, manifest.size, platform=AMD64)
    index = put(store, index_of(whole) | {"mediaType": DOCKER_INDEX}, DOCKER_INDEX)
    found = Image.of(store, index, AMD64)
    found.check()
    assert (found.id, found.diff_ids) == (config.digest, [diff_id])


def test_choose() -> None:
    v6, v7, arm64 = on("linux/arm/v6"), on("linux/arm/v7"), on("linux/arm64/v8")
    plain, v3, attestation = on("linux/amd64"), on("linux/amd64/v3"), on("unknown/unknown")
    index = index_of(attestation, v3, plain, v6, v7, arm64)
    for wanted, found in [
        ("linux/amd64", plain),
        ("linux/amd64/v3", v3),
        ("linux/arm/v7", v7),
        ("linux/arm", v6),
        ("linux/arm64", arm64),
        ("linux/arm64/v8", arm64),
    ]:
        assert choose(index, Platform.parse(wanted)) == found
    with pytest.raises(NoSuchPlatform, match=r"There is one for: linux/amd64, .*linux/arm/v6"):
        choose(index, Platform.parse("linux/s390x"))
    assert choose(index_of(on(f"linux/{Platform.here().architecture}"))).platform is not None


def test_an_entry_without_a_platform_comes_last() -> None:
    nameless = Descriptor(OCI_MANIFEST, digest_of(b"x"), 1)
    assert choose(index_of(nameless), AMD64) == nameless
    assert choose(index_of(nameless, on("linux/amd64")), AMD64) == on("linux/amd64")


def test_an_index_within_an_index(store: Store) -> None:
    descriptor = image(store, "a")
    inner = put(store, index_of(descriptor), OCI_INDEX)
    assert Image.of(store, put(store, index_of(inner), OCI_INDEX), AMD64).descriptor == descriptor


def test_indexes_without_an_end_are_refused(store: Store) -> None:
    descriptor = image(store, "a")
    for _ in range(50):
        descriptor = put(store, index_of(descriptor), OCI_INDEX)
    with pytest.raises(BadManifest, match="points to itself"):
        Image.of(store, descriptor, AMD64)


def test_an_index_that_points_to_itself(store: Store) -> None:
    # No bytes hold their own digest, so such a file has a name that is not its digest, which is seen first.
    claimed = Descriptor(OCI_INDEX, digest_of(b"x"), len(documents.encode(index_of(on("linux/amd64")))))
    data = documents.encode(index_of(claimed))
    claimed = Descriptor(OCI_INDEX, claimed.digest, len(data))
    data = documents.encode(index_of(claimed))
    store.path(claimed.digest).write_bytes(data)
    with pytest.raises(BlobCorrupt):
        Image.of(store, Descriptor(OCI_INDEX, claimed.digest, len(data)), AMD64)


def test_a_manifest_of_10_mb_is_refused(store: Store) -> None:
    with pytest.raises(BadManifest, match="are too many for a manifest"):
        _ = Image(store, put(store, {"a": "x" * 10_000_000})).manifest


def broken(store: Store, manifest: dict[str, Any] | None = None, config: Any = None) -> Image:
    """A good image but for the keys given; None takes one away."""
    good = Image(store, image(store, ""))
    config_file = good.config_descriptor if config is None else put(store, good.config | config, OCI_CONFIG)
    document = {**good.manifest, "config": config_file.to_json(), **(manifest or {})}
    return Image(store, put(store, {key: value for key, value in document.items() if value is not None}))


@pytest.mark.parametrize(
    "manifest, reason",
    [
        ({"schemaVersion": 1}, "of schema 2"),
        ({"mediaType": DOCKER_MANIFEST}, "not what its descriptor says"),
        ({"manifests": []}, "an index as well"),
        ({"config": None}, "must be an object"),
        ({"config": {"mediaType": "a/b"}}, "without digest, size"),
        (
            {"config": Descriptor("application/vnd.oci.empty.v1+json", digest_of(b"{}"), 2).to_json()},
            "artifact",
        ),
        ({"layers": {}}, "list of objects"),
        ({"layers": ["x"]}, "list of objects"),
        ({"layers": [{}]}, "without mediaType"),
        ({"layers": None}, "0 layers and 1 diff ids"),
        ({"layers": [Descriptor("text/plain", digest_of(b""), 0).to_json()]}, "text/plain, which the kit"),
    ],
)
def test_a_bad_manifest(store: Store, manifest: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadManifest, match=reason):
        broken(store, manifest).check()


@pytest.mark.parametrize(
    "config, reason",
    [
        ({"rootfs": None}, "without rootfs"),
        ({"rootfs": {"type": "layers"}}, "without rootfs"),
        ({"rootfs": {"type": "x", "diff_ids": []}}, "without rootfs"),
        ({"rootfs": {"type": "layers", "diff_ids": ["x"]}}, r"in rootfs\.diff_ids"),
        ({"rootfs": {"type": "layers", "diff_ids": []}}, "1 layers and 0 diff ids"),
        ({"history": "x"}, "list of objects"),
    ],
)
def test_a_bad_configuration(store: Store, config: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadManifest, match=reason):
        broken(store, config=config).check()


def test_other_things_than_images(store: Store) -> None:
    with pytest.raises(UnknownImage):
        Image.find(store, "a")
    for media_type in ("a/b", "application/vnd.docker.distribution.manifest.v1+prettyjws"):
        with pytest.raises(BadManifest, match="no image manifest but"):
            _ = Image.of(store, put(store, {}, media_type)).manifest
    with pytest.raises(BadManifest, match="a manifest as well"):
        Image.of(store, put(store, {**index_of(), "layers": []}, OCI_INDEX))


@pytest.mark.needs("skopeo")
def test_skopeo_reads_the_store_as_it_is(store: Store) -> None:
    name = "docker.io/library/a:latest"
    descriptor = image(store, name, config={"Labels": {"who": "me"}})
    skopeo = ["skopeo", "inspect", f"oci:{store.directory}:{name}"]
    told = json.loads(subprocess.run(skopeo, capture_output=True, check=True, timeout=60).stdout)
    assert told["Digest"] == descriptor.digest
    assert told["Labels"] == {"who": "me"}
    assert told["Layers"] == [one.digest for one in Image(store, descriptor).layers]
