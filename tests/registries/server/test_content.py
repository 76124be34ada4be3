"""All kinds of content that the conformance suite of the OCI distribution-spec 1.1 knows: each is pushed,
listed, asked for, pulled, found by what it refers to, and deleted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest

from kit.images.descriptor import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_LAYER_GZIP, OCI_MANIFEST
from tests.registries.servers import Reply, ask, created, descriptor, push_blob, put

BLOB, EMPTY, OCI_EMPTY = b"a layer", b"{}", "application/vnd.oci.empty.v1+json"
TYPE_A, TYPE_B = "application/vnd.example.a", "application/vnd.example.b"


def get(address: str, path: str, method: str = "GET") -> Reply:
    return ask(address, method, f"/v2/a/b/{path}")


@dataclass
class Content:
    """Blobs, manifests in the order in which they are pushed, and tags; all by digest."""

    algorithm: str = "sha256"
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def blob(self, media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
        found = descriptor(media_type, data, self.algorithm, **more)
        self.blobs[found["digest"]] = data
        return found

    def manifest(self, tag: str = "", **fields: Any) -> dict[str, Any]:
        """An image or an index, as its fields are; its descriptor."""
        if "manifests" not in fields:
            layers = [self.blob(OCI_LAYER_GZIP, b"%d" % number + BLOB) for number in range(2)]
            fields = {"config": self.blob(OCI_CONFIG, BLOB), "layers": layers, **fields}
        media_type = OCI_INDEX if "manifests" in fields else OCI_MANIFEST
        data = json.dumps({"schemaVersion": 2, "mediaType": media_type, **fields}).encode()
        found = descriptor(media_type, data, self.algorithm)
        self.manifests[found["digest"]] = data
        if tag:
            self.tags[tag] = found["digest"]
        return found

    def index(self, tag: str = "", **fields: Any) -> dict[str, Any]:
        """An index of two images."""
        entries = [
            {
                **self.manifest(annotations={"n": machine}),
                "platform": {"os": "linux", "architecture": machine},
            }
            for machine in ("amd64", "arm64")
        ]
        return self.manifest(tag, **{"manifests": entries, **fields})

    def artifact(self, tag: str = "", **fields: Any) -> dict[str, Any]:
        """A manifest that is no image's."""
        own = {"config": self.blob(OCI_EMPTY, EMPTY), "layers": [self.blob(TYPE_A, BLOB)]}
        own["artifactType"] = TYPE_A
        return self.manifest(tag, **{**own, **fields})


NOWHERE = descriptor(OCI_MANIFEST, b"missing content")
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
KINDS: dict[str, Callable[[Content], object]] = {
    "image": lambda new: new.manifest("image"),
    "uncompressed image": lambda new: new.manifest("plain", layers=[new.blob(OCI_LAYER, BLOB)]),
    "large manifest": lambda new: new.manifest("large", annotations={"n": "A" * 3_900_000}),
    "index": lambda new: new.index("index"),
    "nested index": lambda new: new.manifest("nested", manifests=[new.index(), new.index(x="2")]),
    "empty index": lambda new: new.manifest("index", manifests=[]),
    "artifact": lambda new: new.artifact("artifact"),
    "artifact index": lambda new: new.index("artifacts", manifests=[new.artifact()], artifactType=TYPE_A),
    "artifact without layers": lambda new: new.artifact("artifact", layers=[new.blob(OCI_EMPTY, EMPTY)]),
    "artifacts with a subject": lambda new: [
        new.manifest(subject=(subject := new.manifest("image"))),
        new.artifact("a", subject=subject, annotations={"org.example": "a"}),
        new.artifact("b", subject=subject, artifactType=TYPE_B, annotations={"org.example": "b"}),
    ],
    "index with a subject": lambda new: new.index("a", subject=new.index("index"), artifactType=TYPE_A),
    "missing subject": lambda new: new.artifact("a", subject=NOWHERE, annotations={"org.example": "a"}),
    "data in descriptors": lambda new: new.manifest(
        "data", config=new.blob(OCI_CONFIG, EMPTY) | {"data": "e30="}
    ),
    "layers from elsewhere": lambda new: new.manifest(
        "foreign", layers=[descriptor(FOREIGN, b"x", urls=["https://store.example.com/x"])]
    ),
    "fields of one's own": lambda new: new.index("own", org_example="x"),
    "no layers": lambda new: new.manifest("empty", layers=[]),
}  # fmt: skip


def content(kind: str, algorithm: str) -> Content:
    made = Content(algorithm)
    KINDS[kind](made)
    return made


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("kind", KINDS)
def test_content(address: str, kind: str, algorithm: str) -> None:
    """Tags of a manifest with the longer digest go into the request by digest, as parameters."""
    made = content(kind, algorithm)
    for data in made.blobs.values():
        push_blob(address, "a/b", data, algorithm)
    for digest, data in made.manifests.items():
        tags = [tag for tag, one in made.tags.items() if one == digest]
        media_type, subject = json.loads(data)["mediaType"], json.loads(data).get("subject")
        by_tag = [put(address, "a/b", tag, data, media_type) for tag in tags if algorithm == "sha256"]
        parameters = "?" + "&".join(f"tag={tag}" for tag in tags) if algorithm == "sha512" and tags else ""
        reply = put(address, "a/b", digest + parameters, data, media_type)
        for one in (*by_tag, reply):
            created(address, one, data)
            assert one.headers.get("OCI-Subject") == (subject["digest"] if subject else None)
        assert not parameters or set(reply.headers["OCI-Tag"].split(", ")) == set(tags)

    listed = get(address, "tags/list").json()["tags"]
    assert listed == sorted(made.tags)
    assert get(address, f"tags/list?last={listed[0]}").json()["tags"] == listed[1:]

    known = {**made.manifests, **{tag: made.manifests[digest] for tag, digest in made.tags.items()}}
    for method in ("HEAD", "GET"):
        for reference, data in known.items():
            reply = get(address, f"manifests/{reference}", method)
            assert (reply.status, reply.body) == (200, data if method == "GET" else b"")
            assert reply.headers["Content-Type"] == json.loads(data)["mediaType"]
            assert reply.headers["Docker-Content-Digest"] == made.tags.get(reference, reference)
        for digest, data in made.blobs.items():
            reply = get(address, f"blobs/{digest}", method)
            assert (reply.status, reply.body) == (200, data if method == "GET" else b"")
    refers(address, made)

    paths = [f"manifests/{one}" for one in (*made.tags, *reversed(made.manifests))]
    for path in (*paths, *(f"blobs/{one}" for one in made.blobs)):
        assert get(address, path, "DELETE").status == 202
        assert get(address, path, "HEAD").status == 404


def refers(address: str, made: Content) -> None:
    """Each manifest with a subject is among its referrers, alone and with others of its type."""
    for digest, data in made.manifests.items():
        document = json.loads(data)
        if "subject" not in document:
            continue
        entry = descriptor(document["mediaType"], data, made.algorithm)
        kind = document.get("artifactType") or document["config"]["mediaType"]
        entry |= {"artifactType": kind, "annotations": document.get("annotations")}
        entry = {key: value for key, value in entry.items() if value}
        for query, applied in (("", None), (f"?artifactType={quote(kind)}", "artifactType")):
            reply = get(address, f"referrers/{document['subject']['digest']}{query}")
            assert (reply.status, reply.headers["Content-Type"]) == (200, OCI_INDEX)
            assert reply.headers.get("OCI-Filters-Applied") == applied
            found = reply.json()["manifests"]
            assert entry in found
            assert digest in {one["digest"] for one in found}
            assert not query or {one["artifactType"] for one in found} == {kind}
