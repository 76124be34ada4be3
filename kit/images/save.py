"""Images out of the store, for other tools: an archive as `docker save` writes it, an OCI archive or layout.

See the OCI image-spec, image-layout.md, and for Docker's own files the Moby "Image Specification v1.2". The
same images give the same archive, byte for byte.
"""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Literal

from kit.images import documents
from kit.images.blob import measure
from kit.images.compression import CHUNK, decompressed
from kit.images.descriptor import OCI_INDEX, Descriptor, algorithm_of
from kit.images.errors import AGAIN, LayerCorrupt, NoSuchPlatform
from kit.images.find import find, name_of
from kit.images.gc import reachable
from kit.images.image import Image
from kit.images.reference import Reference
from kit.images.store import LAYOUT, NAME, UNNAMED, Store

CONTAINERD_NAME = "io.containerd.image.name"  # under this key Docker, from version 25 on, keeps the name
Layout = Literal["docker", "docker-old", "oci"]


def save(store: Store, names: Iterable[str], out: BinaryIO, layout: Layout = "docker") -> None:
    """Write the images of these names as a tar archive to ``out``.

    "oci" is an OCI layout, which holds an image for several platforms whole, as far as the store has it.
    "docker" is what Docker writes from version 25 on, such a layout of the images for this machine with the
    older manifest.json beside it; "docker-old" is what it wrote before, with the layers uncompressed. Nothing
    is written where a name is unknown; raises as :meth:`Image.find` and :meth:`Store.open`.
    """
    if layout == "oci":
        whole, images = _whole(store, names), {}
    else:
        images = dict(find(store, name) for name in names)
        for image in images.values():
            image.check()
        whole = {name: image.descriptor for name, image in images.items()}
    with tarfile.open(fileobj=out, mode="w|") as archive:
        if layout == "docker-old":
            _add_old(archive, images.values())
        else:
            _add_layout(archive, store, whole)
        if images:
            _add_manifest_json(archive, images, layout)


def save_directory(store: Store, names: Iterable[str], directory: Path) -> None:
    """Copy the images of these names, for all platforms that the store has, into an OCI layout.

    It is made where there is none; what it holds already stays. Raises as :func:`save` and :class:`Store`.
    """
    whole = _whole(store, names)
    other = Store(directory)
    with other.writing():
        for digest in reachable(store, whole.values()):
            with store.open(digest) as file, other.writer(algorithm_of(digest)) as writer:
                shutil.copyfileobj(file, writer, CHUNK)
                writer.commit()
        for name, descriptor in whole.items():
            other.tag(name, descriptor)


def _whole(store: Store, names: Iterable[str]) -> dict[str, Descriptor]:
    """What each name stands for, be it for this machine or not."""
    whole = {}
    for text in names:
        name = name_of(store, text)
        whole[name] = store.resolve(name)
        check(store, whole[name])
    return whole


def check(store: Store, descriptor: Descriptor) -> None:
    """Raise what reading the image for this machine would; one for others alone is well.

    So is one of which only the images for others are in the store.
    """
    try:
        image = Image.of(store, descriptor)
    except NoSuchPlatform:
        return
    if store.has(image.descriptor.digest) or reachable(store, [descriptor]) == {descriptor.digest}:
        image.check()


def _add(archive: tarfile.TarFile, name: str, stream: BinaryIO, size: int) -> None:
    member = tarfile.TarInfo(name)  # no time, owner 0:0, mode 0644
    member.size = size
    archive.addfile(member, stream)


def _add_document(archive: tarfile.TarFile, name: str, document: object) -> None:
    data = documents.encode(document)
    _add(archive, name, io.BytesIO(data), len(data))


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add_layout(archive: tarfile.TarFile, store: Store, whole: dict[str, Descriptor]) -> None:
    _add_document(archive, "oci-layout", LAYOUT)
    for digest in sorted(reachable(store, whole.values())):
        with store.open(digest) as file:
            _add(archive, _blob(digest), file, file.size)
    entries = []
    for name, descriptor in whole.items():
        named = {} if name.startswith(UNNAMED) else {"annotations": {NAME: name, CONTAINERD_NAME: name}}
        entries.append({**descriptor.to_json(), **named})
    _add_document(archive, "index.json", {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})


def _add_old(archive: tarfile.TarFile, images: Iterable[Image]) -> None:
    """The layout before version 25: a directory for each layer, and the configurations beside them."""
    there: set[str] = set()
    for image in images:
        config, layers = _files(image, "docker-old")
        if config not in there:
            with image.store.open(image.config_descriptor) as file:
                _add(archive, config, file, file.size)
        for name, layer, diff_id in zip(layers, image.layers, image.diff_ids, strict=True):
            if name in there:
                continue
            with image.store.open(layer) as file:
                found, size = measure(decompressed(file))
            if found != diff_id:
                what = f"the layer {layer.digest} has the diff id {found}, and should have {diff_id}"
                raise LayerCorrupt(what, remedy=AGAIN)
            with image.store.open(layer) as file:
                _add(archive, name, decompressed(file), size)
        there |= {config, *layers}


def _files(image: Image, layout: Layout) -> tuple[str, list[str]]:
    """What manifest.json calls the configuration and the layers."""
    if layout == "docker":
        return _blob(image.id), [_blob(layer.digest) for layer in image.layers]
    config, *layers = (one.partition(":")[2] for one in (image.id, *image.chain_ids()))
    return f"{config}.json", [f"{layer}/layer.tar" for layer in layers]


def _add_manifest_json(archive: tarfile.TarFile, images: dict[str, Image], layout: Layout) -> None:
    manifest: dict[str, documents.Document] = {}
    for name, image in images.items():
        config, layers = _files(image, layout)
        entry = manifest.setdefault(config, {"Config": config, "RepoTags": [], "Layers": layers})
        if not name.startswith(UNNAMED):
            entry["RepoTags"].append(Reference.parse(name).familiar())
    _add_document(archive, "manifest.json", list(manifest.values()))
