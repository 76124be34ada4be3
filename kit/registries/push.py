"""Pushing an image: its blobs, then the manifests that name them. See the OCI distribution-spec, "Push".

The order is the reverse of a pull's, since a registry refuses a manifest whose parts it does not have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from kit.images import documents, gc
from kit.images.descriptor import INDEXES, MANIFESTS, Descriptor, Platform
from kit.images.errors import BadReference, ImageError
from kit.images.image import Image
from kit.images.reference import Reference
from kit.images.store import Store
from kit.registries import referrers
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
        parts = list(_parts(store, top))
        if platform is not None or not all(store.has(one.digest) for one in parts):
            top = Image.of(store, top, platform).descriptor
            parts = list(_parts(store, top))
        manifests = [one for one in parts if one == top or one.media_type in INDEXES | MANIFESTS]
        sources = _sources(store, reference)
        transfer.each(
            lambda blob: transfer.send(blob, sources), [one for one in parts if one not in manifests]
        )
        for one in manifests:
            _put(transfer, one, reference.tag if one == top else one.digest)
    return top


def _parts(store: Store, found: Descriptor) -> Iterator[Descriptor]:
    """All that a manifest or an index leads to, and it itself after that."""
    if found.media_type in INDEXES | MANIFESTS and store.has(found.digest):
        document = store.document(found)
        config = [documents.descriptor(document["config"], found.digest)] if "config" in document else []
        layers = documents.descriptors(document, "layers", found.digest)
        for one in (*documents.descriptors(document, "manifests", found.digest), *config, *layers):
            yield from _parts(store, one)
    yield found


def _sources(store: Store, reference: Reference) -> dict[str, str]:
    """Digest -> a repository of the same registry that should have it, since an image here is from there."""
    sources: dict[str, str] = {}
    for name, descriptor in store.tags().items():
        try:
            other = Reference.parse(name)
            if other.registry == reference.registry and other.repository != reference.repository:
                for digest in gc.reachable(store, [descriptor]):
                    sources.setdefault(digest, other.repository)
        except ImageError:  # another tool's name, or a damaged image: its blobs are sent, not mounted
            continue
    return sources


def _put(transfer: Transfer, found: Descriptor, which: str) -> None:
    client, document = transfer.client, transfer.store.document(found)
    path = f"/v2/{transfer.repository}/manifests/{which}"
    exchange = client.put(path, transfer.store.read(found), {"Content-Type": found.media_type})
    check(exchange, f"push the manifest {found.digest}", client.registry, 201)
    if exchange.headers.get("Docker-Content-Digest", found.digest) != found.digest:
        raise RegistryError("the registry has kept the manifest under another digest", exchange.url)
    if document.get("subject") and "OCI-Subject" not in exchange.headers:
        referrers.announce(client, transfer.repository, found, document)
