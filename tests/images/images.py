"""Small images for the tests of the store and of what is above it."""

import gzip
import io
import tarfile
from typing import Any

from kit.images.descriptor import OCI_LAYER, OCI_LAYER_GZIP, Descriptor, digest_of
from kit.images.image import write_image
from kit.images.store import Store


def tar(**files: bytes) -> bytes:
    """A layer's tar with these files at the top."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def layer(store: Store, compressed: bool = True, **files: bytes) -> tuple[Descriptor, str]:
    """A layer in the store, and its diff id."""
    data = tar(**files)
    if not compressed:
        return store.put(data, OCI_LAYER), digest_of(data)
    return store.put(gzip.compress(data, mtime=0), OCI_LAYER_GZIP), digest_of(data)


def image(store: Store, name: str = "", *layers: tuple[Descriptor, str], **config: Any) -> Descriptor:
    """An image of ``layers``, by default one with a file that holds the name, and tagged where it has one."""
    own = layers or (layer(store, greeting=f"hello from {name}".encode()),)
    descriptor = write_image(store, own, {"os": "linux", "architecture": "amd64", **config})
    if name:
        store.tag(name, descriptor)
    return descriptor
