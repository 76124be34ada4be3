"""What a registry asks of a manifest, and whom a manifest refers to. See the OCI distribution-spec, "Pushing
Manifests" and "Listing Referrers"; the OCI image-spec, manifest.md and image-index.md.
"""

from __future__ import annotations

import functools
from typing import Any

from kit.images import documents
from kit.images.descriptor import INDEXES, MANIFESTS, OCI_INDEX, OCI_MANIFEST, Descriptor
from kit.images.documents import Document
from kit.images.errors import BadManifest
from kit.images.store import Store
from kit.registries.server.errors import ErrorAnswer
from kit.registries.server.repositories import Repository


def check(repository: Repository, data: bytes, content_type: str) -> tuple[str, str]:
    """A manifest's media type, and the digest of its subject or ""; for one that can't be taken ErrorAnswer.

    MANIFEST_INVALID says what is malformed; MANIFEST_BLOB_UNKNOWN names everything that has to be pushed to
    the repository first: configuration, layers, the manifests of an index, but not the subject.
    """
    try:
        manifest = documents.parse(data, "the manifest")
        media_type = _media_type(manifest, content_type)
        key = "manifests" if media_type in INDEXES else "layers"
        needed = documents.descriptors(manifest, key, "the manifest")
        if media_type in MANIFESTS:
            needed.append(documents.descriptor(manifest.get("config"), "config"))
        subject = (
            documents.descriptor(manifest["subject"], "subject").digest if manifest.get("subject") else ""
        )
    except BadManifest as error:
        raise ErrorAnswer("MANIFEST_INVALID", str(error)) from None
    there = {one.digest for one in repository.references().values()}
    missing = [
        one.digest
        for one in needed
        if not (one.digest in there if key == "manifests" else repository.has(one.digest) or _elsewhere(one))
    ]
    if missing:
        what = f"{repository.name} lacks {len(missing)} that the manifest names: {', '.join(missing[:5])}"
        raise ErrorAnswer("MANIFEST_BLOB_UNKNOWN", what, detail={"digests": missing})
    return media_type, subject


def _media_type(manifest: Document, content_type: str) -> str:
    own = manifest.get("mediaType")
    media_type = content_type or own or (OCI_INDEX if "manifests" in manifest else OCI_MANIFEST)
    if media_type not in INDEXES | MANIFESTS:
        known = ", ".join(sorted(INDEXES | MANIFESTS))
        raise BadManifest(f"a manifest of type {media_type!r:.100} is not supported; these are: {known}")
    if own is not None and own != media_type:
        raise BadManifest(f"the Content-Type is {media_type}, and the manifest's mediaType is {own!r:.100}")
    if manifest.get("schemaVersion") != 2:
        raise BadManifest(f"the schemaVersion must be 2, and is {manifest.get('schemaVersion')!r:.20}")
    return media_type


def _elsewhere(layer: Descriptor) -> bool:
    """Whether a layer may not be pushed at all, by its licence: clients get it from its URLs."""
    return ".nondistributable." in layer.media_type or ".foreign." in layer.media_type


def referrers(repository: Repository, subject: str, artifact_type: str | None) -> Document:
    """An index of the manifests whose subject has this digest, of one type where it is given."""
    manifests = {one.digest: one for one in repository.references().values()}
    found = [
        _entry(repository.store, one)
        for one in manifests.values()
        if _subject(repository.store, one) == subject
    ]
    if artifact_type is not None:
        found = [one for one in found if one.get("artifactType") == artifact_type]
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}


@functools.lru_cache(maxsize=100_000)
def _subject(store: Store, descriptor: Descriptor) -> str:
    """The digest of a manifest's subject, or "": read once, since a digest does not move."""
    subject = store.document(descriptor).get("subject")
    return documents.descriptor(subject, descriptor.digest).digest if subject else ""


def _entry(store: Store, descriptor: Descriptor) -> dict[str, Any]:
    """How a list of referrers tells of one."""
    manifest = store.document(descriptor)
    entry = descriptor.to_json()
    artifact_type = manifest.get("artifactType")
    if not artifact_type and descriptor.media_type in MANIFESTS:
        artifact_type = manifest["config"]["mediaType"]
    if artifact_type:
        entry["artifactType"] = artifact_type
    if manifest.get("annotations"):
        entry["annotations"] = manifest["annotations"]
    return entry
