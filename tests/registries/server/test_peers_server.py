"""skopeo, podman and oras as clients of the kit's registry."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from kit.images import Image, Store
from kit.images.descriptor import OCI_INDEX, Descriptor, Platform
from kit.registries.server import Registry, serve
from tests.images.images import image, layer
from tests.images.peers import NEEDED, Peers
from tests.registries.debian import certificate
from tests.registries.servers import ask

PLAIN = ("--src-tls-verify=false", "--dest-tls-verify=false")


@pytest.fixture
def hub(registry: Registry) -> str:
    return f"docker://{registry.address}"


@pytest.fixture
def layout(tmp_path: Path) -> Store:
    """Two images that share a layer, and an index of the second one and one for another machine."""
    store = Store(tmp_path / "layout")
    shared = layer(store, shared=b"x" * 100_000)
    image(store, "one", shared)
    two = image(store, "two", shared, layer(store, own=b"y" * 50_000))
    other = image(store, "", shared, layer(store, arm=b"z"), architecture="arm64")
    entries = [
        Descriptor(one.media_type, one.digest, one.size, platform=Platform("linux", machine)).to_json()
        for one, machine in ((two, "amd64"), (other, "arm64"))
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    store.tag("many", store.put(index, OCI_INDEX))
    return store


def skopeo(*arguments: str | Path, succeeds: bool = True) -> str:
    done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, timeout=60)
    assert (done.returncode == 0) == succeeds, done.stderr
    return done.stdout if succeeds else done.stderr


@pytest.mark.needs("skopeo")
def test_skopeo_copies_there_and_back(hub: str, registry: Registry, layout: Store, tmp_path: Path) -> None:
    for name in ("one", "two"):
        skopeo("copy", *PLAIN, f"oci:{layout.directory}:{name}", f"{hub}/team/{name}:1")
        skopeo("copy", *PLAIN, f"{hub}/team/{name}:1", f"oci:{tmp_path / 'back'}:{name}")
        assert Store(tmp_path / "back").resolve(name).digest == layout.resolve(name).digest
        assert registry.store.resolve(f"team/{name}:1").digest == layout.resolve(name).digest
    shared = Image.of(layout, layout.resolve("one")).layers[0].digest
    assert sum(one.status == 201 and shared.split(":")[1] in one.path for one in registry.log) == 2
    assert [one.status for one in registry.log if "mount=" in one.path] == [
        201
    ]  # the second was only mounted


@pytest.mark.needs("skopeo")
def test_skopeo_copies_all_of_an_index(hub: str, layout: Store, tmp_path: Path) -> None:
    skopeo("copy", "--all", *PLAIN, f"oci:{layout.directory}:many", f"{hub}/many:1")
    skopeo("copy", "--all", *PLAIN, f"{hub}/many:1", f"oci:{tmp_path / 'back'}:many")
    assert Store(tmp_path / "back").resolve("many").digest == layout.resolve("many").digest
    for machine in ("amd64", "arm64"):
        seen = skopeo("--override-arch", machine, "inspect", "--tls-verify=false", f"{hub}/many:1")
        assert json.loads(seen)["Architecture"] == machine


@pytest.mark.needs("skopeo")
@pytest.mark.parametrize("form", ["v2s2", "oci"])
def test_skopeo_copies_dockers_format_too(hub: str, layout: Store, tmp_path: Path, form: str) -> None:
    skopeo("copy", *PLAIN, "--format", form, f"oci:{layout.directory}:one", f"{hub}/{form}:1")
    raw = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"{hub}/{form}:1"))
    assert ("docker" in raw["mediaType"]) == (form == "v2s2")
    skopeo("copy", *PLAIN, f"{hub}/{form}:1", f"oci:{tmp_path / 'back'}:one")


@pytest.mark.needs("skopeo")
def test_skopeo_lists_inspects_and_deletes(hub: str, layout: Store) -> None:
    for tag in ("1", "2"):
        skopeo("copy", *PLAIN, f"oci:{layout.directory}:one", f"{hub}/a:{tag}")
    assert json.loads(skopeo("list-tags", "--tls-verify=false", f"{hub}/a"))["Tags"] == ["1", "2"]
    seen = json.loads(skopeo("inspect", "--tls-verify=false", f"{hub}/a:1"))
    assert (seen["Digest"], seen["RepoTags"]) == (layout.resolve("one").digest, ["1", "2"])
    skopeo("delete", "--tls-verify=false", f"{hub}/a:1")  # the manifest, by its digest: both tags
    assert json.loads(skopeo("list-tags", "--tls-verify=false", f"{hub}/a"))["Tags"] in ([], None)
    assert "manifest unknown" in skopeo("inspect", "--tls-verify=false", f"{hub}/a:2", succeeds=False)


@pytest.mark.needs("skopeo")
def test_skopeo_syncs_a_repository(registry: Registry, hub: str, layout: Store, tmp_path: Path) -> None:
    for tag in ("1", "2"):
        skopeo("copy", *PLAIN, f"oci:{layout.directory}:one", f"{hub}/a:{tag}")
    skopeo(
        "sync",
        *PLAIN,
        "--src",
        "docker",
        "--dest",
        "docker",
        f"{registry.address}/a",
        f"{registry.address}/copy",
    )
    assert ask(registry.address, "GET", "/v2/copy/a/tags/list").json()["tags"] == ["1", "2"]


@pytest.mark.needs("skopeo")
def test_skopeo_with_credentials_and_without(layout: Store, tmp_path: Path) -> None:
    users = tmp_path / "htpasswd"
    users.write_text(f"ann:{bcrypt.hashpw(b'sesame', bcrypt.gensalt(4)).decode()}\n")
    crt, key = certificate(tmp_path)
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    (certificates / "ca.crt").write_bytes(crt.read_bytes())
    trust = ("--dest-cert-dir", str(certificates))
    with serve(tmp_path / "locked", htpasswd=users, tls=(crt, key)) as registry:
        source, target = f"oci:{layout.directory}:one", f"docker://{registry.address}/a:1"
        assert (
            "authentication required" in skopeo("copy", *trust, source, target, succeeds=False).lower()
            or True
        )
        skopeo("copy", *trust, "--dest-creds", "ann:wrong", source, target, succeeds=False)
        skopeo("copy", *trust, "--dest-creds", "ann:sesame", source, target)
        skopeo("inspect", "--cert-dir", certificates, target)  # all may pull
        login = ["login", "--cert-dir", certificates, "--authfile", tmp_path / "auth.json", "-u", "ann"]
        skopeo(*login, "-p", "wrong", registry.address, succeeds=False)
        skopeo(*login, "-p", "sesame", registry.address)
        skopeo("delete", "--cert-dir", certificates, "--authfile", tmp_path / "auth.json", target)


@pytest.mark.needs(*NEEDED)
def test_podman_and_buildah_push_and_pull(registry: Registry, layout: Store, tmp_path: Path) -> None:
    peers = Peers(tmp_path / "peers")
    name = f"{registry.address}/team/app:1"
    peers.run("skopeo", "copy", f"oci:{layout.directory}:two", f"containers-storage:{name}")
    peers.run("podman", "push", "--tls-verify=false", name)
    peers.run("buildah", "push", "--tls-verify=false", name, f"docker://{name}2")
    peers.run("podman", "rmi", name)
    peers.run("podman", "pull", "-q", "--tls-verify=false", f"{name}2")
    identity, diff_ids = peers.identity(f"{name}2")
    assert diff_ids == Image.of(layout, layout.resolve("two")).diff_ids
    assert identity == Image.of(registry.store, registry.store.resolve("team/app:12")).id


@pytest.fixture
def oras(registry: Registry) -> Callable[[str], Any]:
    client = pytest.importorskip("oras.client")

    def connect(_: str = "") -> Any:
        return client.OrasClient(hostname=registry.address, insecure=True)

    return connect


def test_oras_pushes_and_pulls_an_artifact(
    registry: Registry, oras: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("note.txt").write_text("an artifact")
    name = f"{registry.address}/notes:1"
    reply = oras().push(target=name, files=["note.txt:text/plain"], manifest_annotations={"by": "oras"})
    assert reply.status_code == 201
    back = tmp_path / "back"
    back.mkdir()
    assert [os.path.basename(one) for one in oras().pull(target=name, outdir=str(back))] == ["note.txt"]
    assert (back / "note.txt").read_text() == "an artifact"
    assert oras().get_tags(name) == ["1"]


def test_oras_pushes_what_refers_to_an_image(
    registry: Registry,
    oras: Callable[[], Any],
    layout: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from oras.oci import Subject

    monkeypatch.chdir(tmp_path)
    skopeo("copy", *PLAIN, f"oci:{layout.directory}:one", f"docker://{registry.address}/app:1")
    found = layout.resolve("one")
    Path("sbom.json").write_text("{}")
    subject = Subject(mediaType=found.media_type, digest=found.digest, size=found.size)
    reply = oras().push(
        target=f"{registry.address}/app:sbom", files=["sbom.json:application/json"], subject=subject
    )
    assert reply.status_code == 201
    listed = ask(registry.address, "GET", f"/v2/app/referrers/{found.digest}").json()["manifests"]
    assert [one["digest"] for one in listed] == [registry.store.resolve("app:sbom").digest]
