"""Finding an image by what a person types: a name, the beginning of an id, or a name with a digest.

As `docker` has it, an image's id is the digest of its configuration; the digest of its manifest, which
registries use, is taken as well. A name comes before an id that begins like it.
"""

from __future__ import annotations

import re

from kit.images.descriptor import Platform
from kit.images.errors import BadReference, ImageError, UnknownImage
from kit.images.image import Image
from kit.images.reference import Reference
from kit.images.store import Store

_ID = re.compile(r"(sha256:)?([0-9a-f]{4,64})")


def find(store: Store, text: str, platform: Platform | None = None) -> tuple[str, Image]:
    """An image, and the whole name that leads to it: for an id the first one.

    Raises :class:`UnknownImage`, :class:`BadReference` (no name, or the beginning of several ids), and as
    :meth:`Image.of`.
    """
    if (tag := store.tags().get(text)) is not None:  # as it stands, such as other tools' names in a layout
        return text, Image.of(store, tag, platform)
    is_id = _ID.fullmatch(text)
    if is_id and (is_id[1] or len(text) == 64):
        return _by_id(store, f"sha256:{is_id[2]}", text, platform)
    reference = Reference.parse(text)
    try:
        return str(reference), Image.of(store, store.resolve(str(reference)), platform)
    except UnknownImage:
        if reference.digest:
            return _by_id(store, reference.digest, text, platform, reference)
        if not is_id:
            raise
    return _by_id(store, f"sha256:{text}", text, platform)


def names(store: Store, image: Image) -> list[str]:
    """Every name that leads to an image, on this machine's platform."""
    return [name for name, one in images(store) if one.descriptor.digest == image.descriptor.digest]


def images(store: Store, platform: Platform | None = None) -> list[tuple[str, Image]]:
    """Every name and its image, without those that are damaged or for other machines."""
    found = []
    for name, descriptor in store.tags().items():
        try:
            image = Image.of(store, descriptor, platform)
            _ = image.id
        except ImageError:  # one that is damaged, or for other machines, must not hide the rest
            continue
        found.append((name, image))
    return found


def _by_id(
    store: Store, beginning: str, text: str, platform: Platform | None, within: Reference | None = None
) -> tuple[str, Image]:
    """The image whose id, or manifest's or index's digest, begins so; ``within`` names its repository."""
    found: dict[str, tuple[str, Image]] = {}
    tags = store.tags()
    for name, image in images(store, platform):
        if within and not name.startswith(f"{within.registry}/{within.repository}:"):
            continue
        digests = (image.id, image.descriptor.digest, tags[name].digest)
        if any(digest.startswith(beginning) for digest in digests):
            found.setdefault(image.id, (name, image))
    if not found:
        raise UnknownImage(
            f"the store {store.directory} has no image {text!r}", remedy="kit images lists what there is."
        )
    if len(found) > 1:
        these = ", ".join(
            f"{Reference.parse(name).familiar()} ({image.id[7:19]})" for name, image in found.values()
        )
        raise BadReference(f"{text!r} begins the ids of {len(found)} images", these, "Type more digits.")
    return next(iter(found.values()))
