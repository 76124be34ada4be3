"""Chapter 05: container images, whose parts are the files here and whose formats are the OCI image-spec's.

A ``Store`` (``open_store``, ``scratch_store``) keeps them; ``seed`` and ``from_host`` make some from what is
on this machine; ``pack`` makes a layer of entries, ``unpack`` files of a layer; ``mount`` gives an image's
tree, ``commit`` a new image with what was changed there; ``save`` and ``load`` exchange images with other
tools, ``prune`` makes room. A Dockerfile is built by :mod:`kit.images.build`, which stands on chapters 03 and
04 as well. Each name's file holds one idea and is meant to be opened.
"""

from kit.images.commit import commit
from kit.images.descriptor import Descriptor, Platform
from kit.images.directory import diff, from_directory
from kit.images.entry import Entry
from kit.images.errors import ImageError
from kit.images.gc import collect, prune
from kit.images.image import Image
from kit.images.layer import Layer, pack
from kit.images.load import load
from kit.images.reference import Reference
from kit.images.rootfs import Rootfs, mount
from kit.images.save import save, save_directory
from kit.images.seed import from_host, open_store, scratch_store, seed
from kit.images.snapshots import Snapshots
from kit.images.store import Store
from kit.images.unpack import unpack

__all__ = [
    "Descriptor", "Entry", "Image", "ImageError", "Layer", "Platform", "Reference", "Rootfs", "Snapshots",
    "Store", "collect", "commit", "diff", "from_directory", "from_host", "load", "mount", "open_store",
    "pack", "prune", "save", "save_directory", "scratch_store", "seed", "unpack",
]  # fmt: skip
