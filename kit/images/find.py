"""Finding an image by what a person types: a name, the beginning of an id, or a name with a digest.

As `docker` has it, an image's id is the digest of its configuration; the digest of its manifest, which
registries use, is taken as well. A name comes before an id that begins like it.
"""

from __future__ import annotations

import re

from kit.images.descriptor import Platform
from kit.images.errors import BadReference, ImageError
from kit.images.image import Image
from kit.images.reference import Reference
from kit.images.store import Store

_ID = re.compile(r"(sha256:)?([0-9a-f]{4,64})")


def find(store: Store, text: str, platform: Platform | None = None) -> tuple[str, Image]:
    """An image, and the whole name that leads to it; raises as :func:`name_of` and :meth:`Image.of`."""
    name = name_of(store, text, platform)
    return name, Image.of(store, store.resolve(name), platform)


def name_of(store: Store, text: str, platform: Platform | None = None) -> str:
    """The whole name of what a person calls so: for an id the first one.

    Raises :class:`UnknownImage`, :class:`BadReference` (no name, or the beginning of several ids).
    """
    tags = store.tags()
    if text in tags:  # as it stands, such as other tools' names in a layout
        return text
    is_id = _ID.fullmatch(text)
    if is_id and (is_id[1] or len(text) == 64):
        return _by_id(store, f"sha256:{is_id[2]}", text, platform)
    reference = Reference.parse(text)
    if (name := str(reference)) in tags:
        return name
    if reference.digest:
        within = f"{reference.registry}/{reference.repository}:"
        return _by_id(store, reference.digest, text, platform, within)
    if is_id:
        return _by_id(store, f"sha256:{text}", text, platform)
    raise store.unknown(name)


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
        except ImageError:  # it must not hide the rest
            continue
        found.append((name, image))
    return found


def _by_id(store: Store, beginning: str, text: str, platform: Platform | None, within: str = "") -> str:
    """The name, beginning with ``within``, of the image whose id, or manifest's digest, begins so."""
    found: dict[str, str] = {}
    tags = store.tags()
    for name, image in images(store, platform):
        digests = (image.id, image.descriptor.digest, tags[name].digest)
        if name.startswith(within) and any(digest.startswith(beginning) for digest in digests):
            found.setdefault(image.id, name)
    if not found:
        raise store.unknown(text)
    if len(found) > 1:
        these = ", ".join(f"{name} ({image_id[7:19]})" for image_id, name in found.items())
        raise BadReference(f"{text!r} begins the ids of {len(found)} images", these, "Type more digits.")
    return next(iter(found.values()))
