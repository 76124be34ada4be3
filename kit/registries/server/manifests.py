"""Manifests taken, given and forgotten: end-3, end-7, end-9 and end-12 of the OCI distribution-spec.

What a registry asks of a manifest is in "Pushing Manifests", and in the OCI image-spec, manifest.md and
image-index.md.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from kit.images import documents
from kit.images.descriptor import INDEXES, MANIFESTS, OCI_INDEX, OCI_MANIFEST, Descriptor, digest_of
from kit.images.documents import Document
from kit.images.errors import BadManifest
from kit.images.store import Store
from kit.registries.referrers import entry
from kit.registries.server.bodies import pieces
from kit.registries.server.errors import ErrorAnswer
from kit.registries.server.log import FETCHED
from kit.registries.server.mirror import MIRROR
from kit.registries.server.repositories import Repository, checked_digest, is_tag, repository_of


async def get(request: web.Request) -> web.StreamResponse:
    """end-3: a manifest, byte for byte as it was pushed."""
    repository, reference = repository_of(request), _reference(request)
    if mirror := request.app[MIRROR]:
        request[FETCHED] = await asyncio.to_thread(mirror.manifest, repository, reference)
    found = repository.find(reference)
    data = await asyncio.to_thread(repository.store.read, found)
    headers = {"Content-Type": found.media_type, "Docker-Content-Digest": found.digest}
    return web.Response(body=data, headers={**headers, "ETag": f'"{found.digest}"'})


async def put(request: web.Request) -> web.StreamResponse:
    """end-7: a manifest whose parts are there, by a tag, or by its digest with any number of tags."""
    repository, reference = repository_of(request), _reference(request)
    tags = request.query.getall("tag", []) if ":" in reference else [reference]
    for tag in tags:
        if not is_tag(tag):
            form = "it has up to 128 letters, digits, '_', '.', '-', and begins with none of the last two"
            raise ErrorAnswer(400, "MANIFEST_INVALID", f"{tag[:150]!r} is no tag: {form}")
    content_type = request.headers.get("Content-Type", "").partition(";")[0].strip()
    data = bytearray()
    async for piece in pieces(request):
        data += piece
        if len(data) > documents.LIMIT:
            raise ErrorAnswer(413, "SIZE_INVALID", f"a manifest has at most {documents.LIMIT:,} bytes")
    headers = await asyncio.to_thread(_keep, repository, reference, tags, bytes(data), content_type)
    return web.Response(status=201, headers=headers)


def _keep(
    repository: Repository, reference: str, tags: Sequence[str], data: bytes, content_type: str
) -> dict[str, str]:
    """Keep a manifest, and say so in headers; raises DIGEST_INVALID, and as :func:`check`."""
    algorithm = reference.partition(":")[0] if ":" in reference else "sha256"
    digest = digest_of(data, algorithm)
    if ":" in reference and digest != reference:
        what = f"the digest of the {len(data)} bytes that came is {digest}"
        raise ErrorAnswer(400, "DIGEST_INVALID", what)
    with repository.store.writing():
        media_type, subject = check(repository, data, content_type)
        repository.put(repository.store.put(data, media_type, algorithm), tags)
    headers = {"Location": f"/v2/{repository.name}/manifests/{digest}", "Docker-Content-Digest": digest}
    if subject:
        headers["OCI-Subject"] = subject
    if ":" in reference and tags:
        headers["OCI-Tag"] = ", ".join(tags)
    return headers


async def delete(request: web.Request) -> web.StreamResponse:
    """end-9: a tag, or by digest a manifest with all its tags."""
    await asyncio.to_thread(repository_of(request).delete, _reference(request))
    return web.Response(status=202)


def _reference(request: web.Request) -> str:
    """A tag, or what begins like a digest and is one, else DIGEST_INVALID."""
    reference = request.match_info["reference"]
    return checked_digest(reference) if ":" in reference else reference


def check(repository: Repository, data: bytes, content_type: str) -> tuple[str, str]:
    """A manifest's media type, and the digest of its subject or ""; for one that can't be taken ErrorAnswer.

    MANIFEST_INVALID says what is malformed; MANIFEST_BLOB_UNKNOWN names everything that has to be pushed to
    the repository first: configuration, layers, the manifests of an index, but not the subject.
    """
    try:
        manifest = documents.parse(data, "the manifest")
        media_type = _media_type(manifest, content_type)
        if media_type in INDEXES:
            needed = documents.descriptors(manifest, "manifests", "the manifest")
            missing = [one.digest for one in needed if one.digest not in repository.references()]
        else:
            needed = documents.descriptors(manifest, "layers", "the manifest")
            needed.append(documents.descriptor(manifest.get("config"), "config"))
            missing = [one.digest for one in needed if not repository.has(one.digest) and not _elsewhere(one)]
        subject = manifest.get("subject")
        subject_digest = documents.descriptor(subject, "subject").digest if subject else ""
    except BadManifest as error:
        raise ErrorAnswer(400, "MANIFEST_INVALID", str(error)) from None
    if missing:
        what = f"{repository.name} lacks {len(missing)} that the manifest names: {', '.join(missing[:5])}"
        raise ErrorAnswer(404, "MANIFEST_BLOB_UNKNOWN", what, detail={"digests": missing})
    return media_type, subject_digest


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


def referrers(repository: Repository, subject: str) -> list[dict[str, Any]]:
    """Descriptors of the manifests whose subject has this digest, as end-12 tells of them."""
    manifests = {one.digest: one for one in repository.references().values()}
    found = [_referrer(repository.store, one) for one in manifests.values()]
    return [one for points_to, one in found if points_to == subject]


@functools.lru_cache(maxsize=100_000)
def _referrer(store: Store, descriptor: Descriptor) -> tuple[str, dict[str, Any]]:
    """The digest of a manifest's subject, or "", and its entry: read once, since a digest does not move."""
    manifest = store.document(descriptor)
    if not manifest.get("subject"):
        return "", {}
    return documents.descriptor(manifest["subject"], descriptor.digest).digest, entry(descriptor, manifest)
