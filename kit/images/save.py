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
from kit.images.compression import decompressed
from kit.images.descriptor import OCI_INDEX, Descriptor
from kit.images.errors import LayerCorrupt
from kit.images.find import find
from kit.images.image import Image
from kit.images.reference import Reference
from kit.images.store import NAME, Store

CONTAINERD_NAME = "io.containerd.image.name"  # under this key Docker, from version 25 on, keeps the name
Layout = Literal["docker", "docker-old", "oci"]


def save(store: Store, names: Iterable[str], out: BinaryIO, layout: Layout = "docker") -> None:
    """Write the images of these names, for this machine's platform, as a tar archive to ``out``.

    "docker" is what Docker writes from version 25 on, an OCI layout with the older manifest.json beside it;
    "docker-old" is what it wrote before, with the layers uncompressed; "oci" is the layout alone. Nothing is
    written where a name is unknown; raises as :meth:`Image.find` and :meth:`Store.open`.
    """
    images = _find(store, names)
    with tarfile.open(fileobj=out, mode="w|") as archive:
        if layout == "docker-old":
            there: set[str] = set()
            for image in _once(images):
                _add_old(archive, image, there)
        else:
            _add(archive, "oci-layout", documents.encode({"imageLayoutVersion": "1.0.0"}))
            blobs = {part.digest: part for image in _once(images) for part in _parts(image)}
            for digest, part in sorted(blobs.items()):
                with store.open(part) as file:
                    _add_stream(archive, _blob(digest), file, part.size)
            _add(archive, "index.json", documents.encode(_index(images)))
        if layout != "oci":
            _add_docker(archive, images, layout)


def save_directory(store: Store, names: Iterable[str], directory: Path) -> None:
    """Copy the images of these names, for this machine's platform, into the OCI layout ``directory``.

    It is made where there is none; what it holds already stays. Raises as :func:`save` and :class:`Store`.
    """
    images = _find(store, names)
    other = Store(directory)
    for name, image in images.items():
        with other.writing():
            for part in _parts(image):
                with store.open(part) as file, other.writer() as writer:
                    shutil.copyfileobj(file, writer, 1 << 20)
                    writer.commit(part)
            other.tag(name, image.descriptor)


def _find(store: Store, names: Iterable[str]) -> dict[str, Image]:
    images = dict(find(store, name) for name in names)
    for image in images.values():
        image.check()
    return images


def _once(images: dict[str, Image]) -> list[Image]:
    """Each image once, whatever the number of its names."""
    return list({image.descriptor.digest: image for image in images.values()}.values())


def _parts(image: Image) -> list[Descriptor]:
    return [*image.layers, image.config_descriptor, image.descriptor]


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    _add_stream(archive, name, io.BytesIO(data), len(data))


def _add_stream(archive: tarfile.TarFile, name: str, stream: BinaryIO, size: int) -> None:
    member = tarfile.TarInfo(name)  # no time, owner 0:0, mode 0644
    member.size = size
    archive.addfile(member, stream)


# The layout before version 25: a directory for each layer, and the configuration beside them.


def _add_old(archive: tarfile.TarFile, image: Image, there: set[str]) -> None:
    _add(archive, _config_name(image, "docker-old"), image.store.read(image.config_descriptor))
    names = _layer_names(image, "docker-old")
    for name, layer, diff_id in zip(names, image.layers, image.diff_ids, strict=True):
        if name in there:
            continue
        there.add(name)
        with image.store.open(layer) as file:
            found, size = measure(decompressed(file))
        if found != diff_id:
            what = f"the layer {layer.digest} has the diff id {found}, and should have {diff_id}"
            raise LayerCorrupt(what, remedy="Load, pull or build the image again.")
        with image.store.open(layer) as file:
            _add_stream(archive, name, decompressed(file), size)


def _config_name(image: Image, layout: Layout) -> str:
    return f"{image.id.removeprefix('sha256:')}.json" if layout == "docker-old" else _blob(image.id)


def _layer_names(image: Image, layout: Layout) -> list[str]:
    if layout == "docker":
        return [_blob(layer.digest) for layer in image.layers]
    return [f"{chain_id.removeprefix('sha256:')}/layer.tar" for chain_id in image.chain_ids()]


def _add_docker(archive: tarfile.TarFile, images: dict[str, Image], layout: Layout) -> None:
    """manifest.json, which names the parts of each image, and repositories, which only names them."""
    manifest = []
    for image in _once(images):
        names = [name for name, one in images.items() if one.descriptor.digest == image.descriptor.digest]
        manifest.append(
            {
                "Config": _config_name(image, layout),
                "RepoTags": [Reference.parse(name).familiar() for name in names],
                "Layers": _layer_names(image, layout),
            }
        )
    _add(archive, "manifest.json", documents.encode(manifest))
    repositories: dict[str, dict[str, str]] = {}
    for name, image in images.items():
        repository, _, tag = Reference.parse(name).familiar().rpartition(":")
        if layers := image.chain_ids():
            repositories.setdefault(repository, {})[tag] = layers[-1].removeprefix("sha256:")
    _add(archive, "repositories", documents.encode(repositories))


def _index(images: dict[str, Image]) -> documents.Document:
    entries = []
    for name, image in images.items():
        annotations = {NAME: name, CONTAINERD_NAME: name}
        entries.append({**image.descriptor.to_json(), "annotations": annotations})
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
