"""What the kit pushes, skopeo, podman and buildah pull; what they and oras push, the kit pulls."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.images.descriptor import Platform, digest_of
from kit.images.errors import BadManifest
from kit.images.image import Image
from kit.images.rootfs import mount
from kit.images.seed import seed
from kit.images.store import Store
from kit.registries import Client, pull, push, tags
from tests.images.peers import NEEDED, Peers
from tests.registries.debian import docker_registry
from tests.registries.test_pull_push import multi

pytestmark = pytest.mark.needs(*NEEDED, "docker-registry")

BUSYBOX = "docker.io/library/busybox:latest"
PLAIN = "--tls-verify=false"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("seeded") / "store")
    seed(store, ["busybox"])
    return store


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[Peers]:
    peers = Peers(tmp_path / "peers")
    yield peers
    shutil.rmtree(peers.directory)  # whose files are not all ours


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with docker_registry(tmp_path / "registry") as address:
        yield address


def pushed(store: Store, name: str) -> Image:
    store.tag(name, store.resolve(BUSYBOX))
    push(store, name)
    return Image.find(store, name)


def test_skopeo_reads_what_the_kit_pushes(store: Store, registry: str, peers: Peers, tmp_path: Path) -> None:
    image = pushed(store, f"{registry}/a/busybox:1")
    remote = f"docker://{registry}/a/busybox"
    told = json.loads(peers.run("skopeo", "inspect", PLAIN, f"{remote}:1"))
    assert told["Digest"] == image.descriptor.digest and told["Layers"] == [x.digest for x in image.layers]
    assert json.loads(peers.run("skopeo", "list-tags", PLAIN, remote))["Tags"] == ["1"]
    peers.run("skopeo", "copy", "--src-tls-verify=false", f"{remote}:1", f"oci:{tmp_path}/oci:1")
    for one in (image.descriptor, image.config_descriptor, *image.layers):
        assert digest_of((tmp_path / "oci/blobs/sha256" / one.digest[7:]).read_bytes()) == one.digest


def test_podman_runs_what_the_kit_pushes(store: Store, registry: str, peers: Peers) -> None:
    image = pushed(store, f"{registry}/a/busybox:1")
    peers.run("podman", "pull", "-q", PLAIN, f"{registry}/a/busybox:1")
    assert peers.identity(f"{registry}/a/busybox:1") == (image.id, image.diff_ids)
    echo = (
        "podman",
        "run",
        "--rm",
        "--network=host",
        "--pull=never",
        f"{registry}/a/busybox:1",
        "echo",
        "hello",
    )
    assert peers.run(*echo) == "hello\n"


def test_the_kit_reads_what_podman_pushes(store: Store, registry: str, peers: Peers, tmp_path: Path) -> None:
    pushed(store, f"{registry}/a/busybox:1")
    (tmp_path / "Dockerfile").write_text(f"FROM {registry}/a/busybox:1\nRUN echo made > /made\nENV A=b\n")
    build = ("buildah", "bud", "--isolation", "chroot", PLAIN, "-q", "-t", f"{registry}/b/made:1", tmp_path)
    peers.run(*build)
    other = Store(tmp_path / "other")
    for layout in ("oci", "v2s2"):
        name = f"{registry}/b/made:{layout}"
        peers.run(
            "podman", "push", "-q", PLAIN, "--format", layout, f"{registry}/b/made:1", f"docker://{name}"
        )
        image = pull(other, name)
        assert ("docker" in image.descriptor.media_type) == (layout == "v2s2")
        assert image.config["config"]["Env"][-1] == "A=b"
        with mount(other, image) as tree:
            assert (tree.path / "made").read_text() == "made\n"
    assert sorted(tags(f"{registry}/b/made")) == ["oci", "v2s2"]


def test_multi_platform_images_go_round(registry: str, peers: Peers, tmp_path: Path) -> None:
    store, other = Store(tmp_path / "store"), Store(tmp_path / "other")
    index = multi(store, f"{registry}/multi:1", "linux/amd64", "linux/arm64", "linux/arm/v7")
    push(store, f"{registry}/multi:1")
    both = ("--src-tls-verify=false", "--dest-tls-verify=false")
    for name, how in (("same", ()), ("docker", ("--format", "v2s2"))):
        copy = ("skopeo", "copy", "--all", *how, *both, f"docker://{registry}/multi:1")
        peers.run(*copy, f"docker://{registry}/{name}:1")
        image = pull(other, f"{registry}/{name}:1", platform=Platform("linux", "arm64"))
        assert image.platform == Platform("linux", "arm64")
    pull(other, f"{registry}/same:1")
    assert other.resolve(f"{registry}/same:1").digest == index.digest
    assert (
        "list"
        in json.loads(peers.run("skopeo", "inspect", "--raw", PLAIN, f"docker://{registry}/docker:1"))[
            "mediaType"
        ]
    )


def test_an_artifact_of_oras_is_shown_and_not_pulled(registry: str, tmp_path: Path) -> None:
    oras = pytest.importorskip("oras.client")
    (tmp_path / "notes.txt").write_text("no image")
    client = oras.OrasClient(insecure=True, tls_verify=False)
    client.push(
        target=f"{registry}/notes:1", files=[str(tmp_path / "notes.txt")], disable_path_validation=True
    )
    with Client(registry) as ours:
        found = ours.get("/v2/notes/manifests/1", {"Accept": "application/vnd.oci.image.manifest.v1+json"})
        (layer,) = found.json()["layers"]
        assert ours.get(f"/v2/notes/blobs/{layer['digest']}").body == b"no image"
    with pytest.raises(BadManifest, match="artifact"):
        pull(Store(tmp_path / "store"), f"{registry}/notes:1")
