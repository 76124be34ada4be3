"""Pushing an image: its blobs, then the manifests that name them. See the OCI distribution-spec, "Push".

The order is the reverse of a pull's, since a registry refuses a manifest whose parts it does not have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from kit.images import documents, gc
from kit.images.descriptor import INDEXES, Descriptor, Platform
from kit.images.errors import BadReference, ImageError
from kit.images.image import Image
from kit.images.reference import Reference
from kit.images.store import Store
from kit.registries.client import Client
from kit.registries.credentials import Credentials
from kit.registries.progress import Progress
from kit.registries.refusals import RegistryError, check
from kit.registries.transfer import Transfer


def push(
    store: Store,
    name: str,
    *,
    platform: Platform | None = None,
    progress: Progress | None = None,
    insecure: Collection[str] = (),
    credentials: Credentials | None = None,
) -> Descriptor:
    """Send the store's image ``name`` to the registry in its name; what the name stands for there now.

    A multi-platform image is sent whole if all of it is in the store, and else only what is for ``platform``,
    by default this machine's. Blobs that the registry has are not sent; those that an image of the store has
    from another repository of this registry are mounted. ``credentials`` are by default what `kit login` has
    kept. Raises :class:`UnknownImage`,
    :class:`BadReference`, :class:`BlobMissing`, :class:`BlobCorrupt`, :class:`Unauthorized`,
    :class:`RegistryRefused`, :class:`Unreachable`.
    """
    reference = Reference.parse(name)
    if reference.digest:
        raise BadReference("an image is pushed by a tag", name, "Give it one: kit tag.")
    with Client(reference.registry, insecure=insecure, credentials=credentials) as client, store.writing():
        transfer = Transfer(client, reference.repository, store, progress)
        top = store.resolve(str(reference))
        if platform is not None or not _whole(store, top):
            top = Image.of(store, top, platform).descriptor
        manifests = list(_manifests(store, top))
        blobs = [blob for one in manifests for blob in _blobs(store, one)]
        sources = _sources(store, reference)
        transfer.each(lambda blob: transfer.send(blob, sources), blobs)
        for one in manifests:
            _put(transfer, one, reference.tag if one == top else one.digest)
    return top


def _manifests(store: Store, found: Descriptor) -> Iterator[Descriptor]:
    """Manifests and indexes, each after those that it points to."""
    if found.media_type in INDEXES:
        for one in documents.descriptors(store.document(found), "manifests", found.digest):
            yield from _manifests(store, one)
    yield found


def _whole(store: Store, found: Descriptor) -> bool:
    """Whether all images of an index are there."""
    if not store.has(found.digest):
        return False
    if found.media_type not in INDEXES:
        return all(store.has(blob.digest) for blob in _blobs(store, found))
    return all(
        _whole(store, one) for one in documents.descriptors(store.document(found), "manifests", found.digest)
    )


def _blobs(store: Store, found: Descriptor) -> list[Descriptor]:
    """What a manifest points to, the configuration first."""
    if found.media_type in INDEXES:
        return []
    document = store.document(found)
    config = [documents.descriptor(document["config"], found.digest)] if "config" in document else []
    return config + documents.descriptors(document, "layers", found.digest)


def _sources(store: Store, reference: Reference) -> dict[str, str]:
    """Digest -> a repository of the same registry that should have it, since an image here is from there."""
    sources: dict[str, str] = {}
    for name, descriptor in store.tags().items():
        try:
            other = Reference.parse(name)
            if other.registry == reference.registry and other.repository != reference.repository:
                for digest in gc.reachable(store, [descriptor]):
                    sources.setdefault(digest, other.repository)
        except (
            ImageError
        ):  # another tool's name, or an image that is damaged: its blobs are sent, not mounted
            continue
    return sources


def _put(transfer: Transfer, found: Descriptor, which: str) -> None:
    path, registry = f"/v2/{transfer.repository}/manifests/{which}", transfer.client.registry
    data = transfer.store.read(found)
    exchange = transfer.client.put(path, data, {"Content-Type": found.media_type})
    check(exchange, f"push the manifest {found.digest}", registry, 201)
    if exchange.headers.get("Docker-Content-Digest", found.digest) != found.digest:
        raise RegistryError("the registry has kept the manifest under another digest", exchange.url)
