"""Garbage collection: what no name leads to is removed. See the OCI image-spec, manifest.md, image-index.md.

Untagging an image removes nothing, since others may share its layers. A collector follows every name to all
that it leads to and removes the rest: mark and sweep, as languages do with memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from kit.images.descriptor import INDEXES, MANIFESTS, Descriptor
from kit.images.errors import StoreBusy
from kit.images.image import descriptor_of, parts
from kit.images.store import Store


@dataclass(frozen=True)
class Collected:
    """What was removed, or would be: the blobs' digests, and the bytes of these and of unfinished ones."""

    digests: tuple[str, ...]
    size: int


def collect(
    store: Store,
    in_use: Iterable[Descriptor] = (),
    dry_run: bool = False,
    among: Collection[str] | None = None,
) -> Collected:
    """Remove every blob that neither a name nor one of ``in_use`` leads to, and what killed writers left.

    ``among`` are the digests to look at, by default all. Raises :class:`StoreBusy`, and removes nothing,
    while a program holds :meth:`Store.writing` (other tools than the kit hold nothing: don't collect while
    skopeo writes); :class:`BlobCorrupt`, :class:`BadManifest` where an image is damaged, since nobody knows
    what it leads to.
    """
    try:
        with store.collecting():
            return sweep(store, in_use, dry_run, among)
    except BlockingIOError:
        remedy = "Collect again when its pull or build has ended."
        raise StoreBusy("a program is writing images", store.directory, remedy) from None


def sweep(
    store: Store,
    in_use: Iterable[Descriptor] = (),
    dry_run: bool = False,
    among: Collection[str] | None = None,
) -> Collected:
    """As :func:`collect`, for one who holds :meth:`Store.collecting` already."""
    live = reachable(store, [*in_use, *named(store)])
    blobs = store.digests()
    garbage = [one for one in blobs if one not in live and (among is None or one in among)]
    files = [blobs[digest] for digest in garbage]
    if among is None and store.unfinished.exists():
        files += store.unfinished.iterdir()
    size = sum(file.stat().st_size for file in files)
    for file in () if dry_run else files:
        file.unlink()
    return Collected(tuple(garbage), size)


def named(store: Store) -> list[Descriptor]:
    """What index.json lists; raises :class:`BadManifest`."""
    return [descriptor_of(entry, store.directory) for entry in store.entries()]


def reachable(store: Store, starts: Iterable[Descriptor]) -> set[str]:
    """The digests of all blobs that these descriptors lead to, and their own; raises as :func:`collect`.

    A part that is not there is passed over: an index lists images for machines that nobody has pulled.
    """
    waiting = list(starts)
    live: set[str] = set()
    while waiting:
        found = waiting.pop()
        if found.digest in live or not store.has(found.digest):
            continue
        live.add(found.digest)
        if found.media_type in INDEXES | MANIFESTS:
            document = store.document(found)
            for key in ("manifests", "layers"):
                waiting += parts(document, key, found.digest)
            if "config" in document:
                waiting.append(descriptor_of(document["config"], found.digest))
    return live
