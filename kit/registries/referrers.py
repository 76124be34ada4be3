"""Artifacts that refer to an image, such as its signature, in a registry that keeps no list of them itself.

See the OCI distribution-spec, "Pushing Manifests with Subject" and "Referrers Tag Schema": the list is an
index under a tag made of the subject's digest, and whoever pushes an artifact brings it up to date.
"""

from __future__ import annotations

from typing import Any

from kit.images import documents
from kit.images.descriptor import MANIFESTS, OCI_INDEX, Descriptor
from kit.images.documents import Document
from kit.registries.client import Client
from kit.registries.refusals import RegistryError, check


def entry(found: Descriptor, manifest: Document) -> dict[str, Any]:
    """How a list of referrers tells of one."""
    kind = manifest.get("artifactType")
    if not kind and found.media_type in MANIFESTS:
        kind = documents.descriptor(manifest.get("config"), found.digest).media_type
    more = {"artifactType": kind, "annotations": manifest.get("annotations")}
    return found.to_json() | {key: value for key, value in more.items() if value}


def announce(client: Client, repository: str, found: Descriptor, manifest: Document) -> None:
    """Put a manifest that has just been pushed on the list of its subject; raises RegistryError."""
    subject = documents.descriptor(manifest["subject"], found.digest).digest
    algorithm, _, hexadecimal = subject.partition(":")
    path = f"/v2/{repository}/manifests/{algorithm}-{hexadecimal[:64]}"  # as long as a tag may well be
    what = f"list what refers to {subject}"
    exchange = check(client.get(path, {"Accept": OCI_INDEX}), what, client.registry, 200, 404)
    index: Document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    if exchange.status == 200:
        index = documents.parse(exchange.body, exchange.url)
        if exchange.headers.get_content_type() != OCI_INDEX:
            raise RegistryError("a tag for a list of referrers stands for something else", exchange.url)
    others = documents.objects(index, "manifests", exchange.url)
    if found.digest not in [one.get("digest") for one in others]:
        index["manifests"] = [*others, entry(found, manifest)]
        sent = client.put(path, documents.encode(index), {"Content-Type": OCI_INDEX})
        check(sent, what, client.registry, 201)
