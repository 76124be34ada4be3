"""Pulling an image: its manifest by name, all else by digest. See the OCI distribution-spec, "Pull".

    index ──► manifest for the platform ──► configuration, layers

Every byte is hashed on its way, so it matters little who sent it; only what a tag stands for is a matter of
trust. The image gets its name in the store last, when all of it is there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kit.images import documents
from kit.images.descriptor import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEXES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Platform,
    algorithm_of,
    digest_of,
)
from kit.images.errors import BadManifest, BlobCorrupt, ImageError
from kit.images.image import Image, choose
from kit.images.reference import HUB, Reference
from kit.images.store import Store
from kit.registries.client import Client
from kit.registries.credentials import Credentials
from kit.registries.progress import Progress
from kit.registries.refusals import RegistryError, check
from kit.registries.transfer import Transfer

ACCEPT = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST))
_DEPTH = 4  # indexes within indexes, as in kit.images.image


def pull(
    store: Store,
    name: str,
    *,
    platform: Platform | None = None,
    progress: Progress | None = None,
    mirrors: Sequence[str] = (),
    insecure: Collection[str] = (),
    credentials: Credentials | None = None,
) -> Image:
    """Have the image ``name`` in the store, under its whole name; what is there already is not fetched.

    Of a multi-platform image, the one for ``platform`` is fetched, by default this machine's. ``mirrors`` are
    asked before the Hub, as `docker` does it; ``insecure`` are hosts that may do without TLS.
    ``credentials`` are by default what `kit login` has kept. Raises
    :class:`BadReference`, :class:`NotInRegistry`, :class:`Unauthorized`, :class:`Unreachable`,
    :class:`NoSuchPlatform`, :class:`BadManifest`, :class:`BlobCorrupt`, :class:`KernelError`.
    """
    reference = Reference.parse(name)
    mirrors = [mirrors] if isinstance(mirrors, str) else mirrors
    places = [*(mirrors if reference.registry == HUB else ()), reference.registry]
    failed: list[str] = []
    while True:
        place = places.pop(0)
        try:
            known = credentials if place == reference.registry else None
            with Client(place, insecure=insecure, credentials=known) as client, store.writing():
                return _pull(Transfer(client, reference.repository, store, progress), reference, platform)
        except ImageError as error:
            if not places:
                for one in failed:
                    error.add_note(one)
                raise
            failed.append(f"The mirror {place} did not help: {error}")


def _pull(transfer: Transfer, reference: Reference, platform: Platform | None) -> Image:
    store = transfer.store
    top = found = manifest(transfer, reference.digest or reference.tag)
    for _ in range(_DEPTH):
        if found.media_type in INDEXES:
            chosen = choose(store.document(found), platform, found.digest)
            found = chosen if transfer.intact(chosen) else manifest(transfer, chosen.digest, chosen)
    image = Image.of(store, top, platform)
    transfer.each(transfer.fetch, [image.config_descriptor])  # small, and it says whether this is an image
    transfer.each(transfer.fetch, image.layers)
    image.check()
    # Without being told, others will look for this machine's platform in the index; so a different one is
    # named by itself.
    store.tag(str(reference), top if platform in (None, Platform.here()) else image.descriptor)
    return image


def manifest(transfer: Transfer, which: str, expected: Descriptor | None = None) -> Descriptor:
    """Have a manifest or an index, by tag or digest, in the store; raises as :func:`pull`."""
    client, path = transfer.client, f"/v2/{transfer.repository}/manifests/{which}"
    exchange = client.get(path, {"Accept": ACCEPT})
    check(exchange, f"pull {transfer.repository}, {which}", client.registry, 200)
    if not exchange.whole:
        documents.check_size(documents.LIMIT + 1, exchange.url)
    data, media_type = exchange.body, exchange.headers.get_content_type()
    for digest in (exchange.headers.get("Docker-Content-Digest"), which):
        if digest and ":" in digest and digest != digest_of(data, algorithm_of(digest)):
            what = f"a manifest of the digest {digest_of(data)} arrives for {digest}"
            raise BlobCorrupt(what, exchange.url, "Don't trust this registry.")
    if expected is not None and (expected.size, expected.media_type) != (len(data), media_type):
        raise BadManifest("a manifest of another size or type than its index says", exchange.url)
    own = documents.parse(data, exchange.url).get("mediaType", media_type)
    if own != media_type:  # two readers would see two different images
        what = f"the answer's type is {media_type} and the manifest's own is {own!r:.100}"
        raise BadManifest(what, exchange.url)
    return transfer.store.put(data, media_type, algorithm_of(which) if ":" in which else "sha256")


def tags(name: str, *, insecure: Collection[str] = ()) -> list[str]:
    """The tags of the repository ``name``, in the registry's order, of all pages; raises as :func:`pull`."""
    reference = Reference.parse(name)
    found: list[str] = []
    with Client(reference.registry, insecure=insecure) as client:
        path = f"/v2/{reference.repository}/tags/list?n=1000"
        for _ in range(1000):
            exchange = check(client.get(path), f"list the tags of {name}", client.registry, 200)
            page = documents.parse(exchange.body, exchange.url).get("tags") or []
            if not isinstance(page, list) or not all(isinstance(one, str) for one in page):
                raise BadManifest("'tags' must be a list of strings", exchange.url)
            found += page
            link = exchange.headers.get("Link", "")
            if not page or 'rel="next"' not in link:
                return found
            path = link.partition("<")[2].partition(">")[0]
    raise RegistryError("a list of tags without an end", client.registry)
