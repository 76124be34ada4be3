"""What refers to an image is found: by the registry's own list, or by the one under a tag."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from kit.images import documents
from kit.images.descriptor import OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor
from kit.images.store import Store
from kit.registries import Client, push
from kit.registries.refusals import RegistryError
from tests.images.images import image
from tests.registries.debian import docker_registry
from tests.registries.scripted import Asked, Say, Scripted
from tests.registries.test_pull_push import REAL, kit_registry

Registry = Callable[[Path], AbstractContextManager[str]]
SIGNATURE = "application/vnd.example.signature"
EMPTY = "application/vnd.oci.empty.v1+json"


def artifact(store: Store, name: str, subject: Descriptor, text: bytes, **more: Any) -> Descriptor:
    """A manifest that refers to another: see the OCI image-spec, "Guidelines for Artifact Usage"."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": store.put(b"{}", EMPTY).to_json(),
        "layers": [store.put(text, OCI_LAYER).to_json()],
        "subject": subject.to_json(),
        **more,
    }
    descriptor = store.put(documents.encode(document), OCI_MANIFEST)
    store.tag(name, descriptor)
    return descriptor


@REAL
def test_an_artifact_is_found_from_its_subject(tmp_path: Path, registry: Registry) -> None:
    store = Store(tmp_path / "store")
    with registry(tmp_path / "r") as address:
        subject = image(store, f"{address}/x:1")
        push(store, f"{address}/x:1")
        notes = {"made.by": "a test"}
        signed = artifact(
            store, f"{address}/x:signed", subject, b"s", artifactType=SIGNATURE, annotations=notes
        )
        plain = artifact(store, f"{address}/x:plain", subject, b"p")
        for tag in ("signed", "plain", "signed"):  # the last is on the list already
            push(store, f"{address}/x:{tag}")
        tag = subject.digest.replace(":", "-")
        with Client(address) as client:
            own = client.get(f"/v2/x/referrers/{subject.digest}")
            other = client.get(f"/v2/x/manifests/{tag}", {"Accept": OCI_INDEX})
        assert {own.status, other.status} == {200, 404}  # one list, and not two
        found = (own if own.status == 200 else other).json()
        assert found["mediaType"] == OCI_INDEX
        entries = {one["digest"]: one for one in found["manifests"]}
        assert len(found["manifests"]) == 2 and entries.keys() == {signed.digest, plain.digest}
        assert entries[signed.digest] == {**signed.to_json(), "artifactType": SIGNATURE, "annotations": notes}
        assert entries[plain.digest] == {**plain.to_json(), "artifactType": EMPTY}


@pytest.mark.needs("docker-registry")
def test_a_subject_may_have_a_long_digest(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with docker_registry(tmp_path / "r") as address:
        subject = Descriptor(OCI_MANIFEST, f"sha512:{'ab' * 64}", 7)  # which need not be there
        artifact(store, f"{address}/x:1", subject, b"s")
        push(store, f"{address}/x:1")
        with Client(address) as client:
            assert client.get(f"/v2/x/manifests/sha512-{'ab' * 32}", {"Accept": OCI_INDEX}).status == 200


@pytest.mark.parametrize("kind", [OCI_MANIFEST, OCI_INDEX])
def test_a_tag_for_something_else_is_left_alone(tmp_path: Path, kind: str) -> None:
    store, body = Store(tmp_path / "store"), b"{}" if kind == OCI_MANIFEST else b'{"manifests": 7}'

    def answer(asked: Asked) -> Say:
        if "/manifests/sha256-" in asked.path:
            return Say(200, body, {"Content-Type": kind})
        return Say(201 if asked.method == "PUT" else 200)

    with Scripted(answer) as server:
        artifact(store, f"{server.address}/x:1", image(store, "y:1"), b"s")
        with pytest.raises((RegistryError, documents.BadManifest), match=r"something else|list of objects"):
            push(store, f"{server.address}/x:1")
        assert [one.path for one in server.asked if one.method == "PUT"] == ["/v2/x/manifests/1"]


def test_the_kits_registry_lists_by_type(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with kit_registry(tmp_path / "r") as address:
        subject = image(store, f"{address}/x:1")
        signed = artifact(store, f"{address}/x:1", subject, b"s", artifactType=SIGNATURE)
        push(store, f"{address}/x:1")
        with Client(address) as client:
            found = client.get(f"/v2/x/referrers/{subject.digest}?artifactType={SIGNATURE}")
            assert [one["digest"] for one in json.loads(found.body)["manifests"]] == [signed.digest]
            assert client.get(f"/v2/x/referrers/{subject.digest}?artifactType=a/b").json()["manifests"] == []
