"""An image: a manifest that points to a configuration and to layers. See the OCI image-spec, manifest.md,
image-index.md and config.md, and Docker's "Image Manifest V 2, Schema 2", which has the same keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kit.images import documents
from kit.images.descriptor import (
    CONFIGS,
    INDEXES,
    LAYERS,
    MANIFESTS,
    OCI_CONFIG,
    OCI_MANIFEST,
    Descriptor,
    Platform,
    check_digest,
    digest_of,
)
from kit.images.documents import Document
from kit.images.errors import AGAIN, BadManifest, BlobMissing, NoSuchPlatform
from kit.images.store import Store

_DEPTH = 4  # indexes within indexes: tools write one, the specification allows more
_OTHER = 4  # how far from the wanted platform one is that can't do


def choose(index: Document, platform: Platform | None = None, where: object = "index") -> Descriptor:
    """The entry of an image index for ``platform``, by default this machine's.

    Among those that fit, one with the very variant comes first, then one with none, then the order of the
    index. Raises :class:`NoSuchPlatform` with what there is, :class:`BadManifest`.
    """
    wanted = platform or Platform.here()
    entries = [
        one
        for one in documents.descriptors(index, "manifests", where)
        if one.media_type in MANIFESTS | INDEXES
    ]
    best = min(entries, key=lambda one: _distance(one.platform, wanted), default=None)
    if best is None or _distance(best.platform, wanted) == _OTHER:
        there = ", ".join(sorted({str(one.platform) for one in entries if one.platform}))
        raise NoSuchPlatform(f"no image for {wanted}", where, f"There is one for: {there or 'none'}.")
    return best


def _distance(platform: Platform | None, wanted: Platform) -> int:
    if platform is None:  # the index does not say
        return 3
    if (platform.os, platform.architecture) != (wanted.os, wanted.architecture):
        return _OTHER
    if _variant(platform) == _variant(wanted):
        return 0
    if not _variant(platform):
        return 1
    return _OTHER if wanted.variant else 2


def _variant(platform: Platform) -> str:
    """The variant, without the one that is meant anyway."""
    usual = {"arm64": "v8", "amd64": "v1"}.get(platform.architecture)
    return "" if platform.variant == usual else platform.variant


@dataclass(frozen=True, eq=False)
class Image:
    """An image in a store; its parts are read, and verified, when they are first asked for.

    ``descriptor`` is that of the manifest.
    """

    store: Store
    descriptor: Descriptor

    @classmethod
    def find(cls, store: Store, text: str, platform: Platform | None = None) -> Image:
        """The image that a person calls so: ``busybox``, ``python:latest``, or the beginning of its id.

        Raises as :func:`kit.images.find.find`, which gives the whole name too.
        """
        from kit.images.find import find

        return find(store, text, platform)[1]

    @classmethod
    def of(cls, store: Store, descriptor: Descriptor, platform: Platform | None = None) -> Image:
        """The image that a manifest's or an index's descriptor leads to, for ``platform``.

        Raises :class:`BadManifest`, :class:`NoSuchPlatform`, :class:`BlobMissing`, :class:`BlobCorrupt`.
        """
        for _ in range(_DEPTH):
            if descriptor.media_type not in INDEXES:
                return cls(store, descriptor)
            digest, index = descriptor.digest, store.document(descriptor)
            if "layers" in index or "config" in index:  # two readers would see two different images
                raise BadManifest("an index that is a manifest as well", digest, AGAIN)
            descriptor = choose(index, platform, digest)
        what = f"an index that points to itself, or to indexes more than {_DEPTH} deep"
        raise BadManifest(what, descriptor.digest, AGAIN)

    @cached_property
    def manifest(self) -> Document:
        """The manifest, parsed; the only schema is 2."""
        media_type, digest = self.descriptor.media_type, self.descriptor.digest
        if media_type not in MANIFESTS:
            raise BadManifest(f"no image manifest but {media_type}", digest)
        manifest = self.store.document(self.descriptor)
        if manifest.get("schemaVersion") != 2 or manifest.get("mediaType", media_type) != media_type:
            raise BadManifest(f"not what its descriptor says, {media_type} of schema 2", digest)
        if "manifests" in manifest:
            raise BadManifest("a manifest that is an index as well", digest, AGAIN)
        return manifest

    @cached_property
    def config_descriptor(self) -> Descriptor:
        """Where the configuration is; raises :class:`BadManifest` for an artifact that is no image."""
        found = documents.descriptor(self.manifest.get("config"), self.descriptor.digest)
        if found.media_type not in CONFIGS:
            what = f"no image but an artifact, with a configuration of type {found.media_type}"
            raise BadManifest(what, self.descriptor.digest, "Only images can be run or unpacked.")
        return found

    @cached_property
    def config(self) -> Document:
        """The configuration of config.md: architecture, os, config (Env, Cmd …), rootfs, history."""
        found = self.store.document(self.config_descriptor)
        if not isinstance(found.get("config") or {}, dict):
            raise BadManifest("'config' must be an object", self.id)
        return found

    @cached_property
    def layers(self) -> list[Descriptor]:
        """The layers, lowest first; each has its diff id at the same place in :attr:`diff_ids`."""
        found = documents.descriptors(self.manifest, "layers", self.descriptor.digest)
        for layer in found:
            if layer.media_type not in LAYERS:
                what = f"a layer of type {layer.media_type}, which the kit does not read"
                raise BadManifest(what, self.descriptor.digest, f"It reads {', '.join(LAYERS)}.")
        if len(found) != len(self.diff_ids):
            what = f"{len(found)} layers and {len(self.diff_ids)} diff ids"
            raise BadManifest(what, self.descriptor.digest, AGAIN)
        return found

    @property
    def id(self) -> str:
        """What Docker calls the image id: the configuration's digest."""
        return self.config_descriptor.digest

    @cached_property
    def diff_ids(self) -> list[str]:
        """The digest of each layer's tar, without compression."""
        return diff_ids(self.config, self.id)

    def chain_ids(self) -> list[str]:
        """For each layer, what stands for it and all below it: two images that share one share the files."""
        chain: list[str] = []
        for diff_id in self.diff_ids:
            chain.append(digest_of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
        return chain

    @property
    def history(self) -> list[Document]:
        """How each layer came about, oldest first; entries with ``empty_layer`` made none."""
        return documents.objects(self.config, "history", self.id)

    @property
    def platform(self) -> Platform:
        """What the image runs on, as its configuration says."""
        return Platform.from_json(self.config)

    @property
    def size(self) -> int:
        """Bytes of all layers, as they are kept."""
        return sum(layer.size for layer in self.layers)

    def check(self) -> None:
        """Raise what reading any of its parts would, short of reading the layers, which must be there."""
        _ = self.platform, self.history
        for layer in self.layers:
            self.store.open(layer).close()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit.images.shown import card

        return card(self)._repr_mimebundle_()


def diff_ids(config: Document, where: object) -> list[str]:
    """The diff ids that a configuration lists, lowest first; raises :class:`BadManifest`."""
    rootfs = config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) and rootfs.get("type") == "layers" else None
    if not isinstance(found, list):
        raise BadManifest("a configuration without rootfs of the type 'layers'", where)
    try:
        checked = [check_digest(one) for one in found]
    except ValueError as error:
        raise BadManifest(f"in rootfs.diff_ids: {error}", where) from None
    if not all(one.startswith("sha256:") for one in checked):
        raise BadManifest("diff ids of another algorithm than sha256, which the kit doesn't unpack", where)
    return checked


def write_image(store: Store, layers: Sequence[tuple[Descriptor, str]], config: Document) -> Descriptor:
    """Write a configuration and a manifest for ``layers``, lowest first, each with its diff id.

    ``config`` is that of config.md; ``rootfs`` is filled in, and this machine's ``os`` and ``architecture``
    where they are missing. The same arguments give the same digest. Hold :meth:`Store.writing` from the first
    layer to the tag. Raises :class:`BlobMissing`, and :class:`BadManifest` where a layer or the history does
    not fit.
    """
    for layer, _ in layers:
        if layer.media_type not in LAYERS:
            raise BadManifest(f"{layer.media_type} is no type of a layer", layer.digest)
        if not store.has(layer.digest):
            raise BlobMissing(f"the layer {layer.digest} is not in the store", store.directory)
    history = documents.objects(config, "history", "the configuration")
    made = sum(not one.get("empty_layer") for one in history)
    if history and made != len(layers):
        raise BadManifest(f"a history of {made} layers for {len(layers)}", "the configuration")
    rootfs = {"type": "layers", "diff_ids": [check_digest(diff_id) for _, diff_id in layers]}
    whole = {**Platform.here().to_json(), **config, "rootfs": rootfs}
    with store.writing():
        written = store.put(documents.encode(whole), OCI_CONFIG)
        found = write_manifest(store, [layer for layer, _ in layers], written)
    return Descriptor(found.media_type, found.digest, found.size, platform=Platform.from_json(whole))


def write_manifest(store: Store, layers: Sequence[Descriptor], config: Descriptor) -> Descriptor:
    """Write the manifest of an image whose parts are in the store, with OCI's media types."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor(OCI_CONFIG, config.digest, config.size).to_json(),
        "layers": [Descriptor(LAYERS[one.media_type], one.digest, one.size).to_json() for one in layers],
    }
    return store.put(documents.encode(manifest), OCI_MANIFEST)
