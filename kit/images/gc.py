"""Making room in a store: what no name leads to goes. See the OCI image-spec, manifest.md, image-index.md.

Untagging an image removes nothing, since others may share its layers. A collector follows every name to all
that it leads to and removes the rest: mark and sweep, as languages do with memory. What is in use stays: a
snapshot that is mounted is held, and nothing is removed while a program writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from kit.images import documents
from kit.images.descriptor import INDEXES, MANIFESTS, Descriptor
from kit.images.errors import BadReference, ImageError, StoreBusy
from kit.images.find import images, name_of, names
from kit.images.image import Image
from kit.images.reference import Reference
from kit.images.snapshots import Snapshots
from kit.images.store import Store


@dataclass(frozen=True)
class Collected:
    """What was removed, or would be: the blobs' digests, and the bytes of these and of unfinished ones."""

    digests: tuple[str, ...]
    size: int


def collect(store: Store, dry_run: bool = False, among: Collection[str] | None = None) -> Collected:
    """Remove every blob that no name leads to, and what killed writers left.

    ``among`` are the digests to look at, by default all. Raises :class:`StoreBusy`, and removes nothing,
    while a program holds :meth:`Store.writing` (other tools than the kit hold nothing: don't collect while
    skopeo writes); :class:`BlobCorrupt`, :class:`BadManifest` where an image is damaged, since nobody knows
    what it leads to.
    """
    try:
        with store.collecting():
            return sweep(store, dry_run, among)
    except BlockingIOError:
        remedy = "Collect again when its pull or build has ended."
        raise StoreBusy("a program is writing images", store.directory, remedy) from None


def sweep(store: Store, dry_run: bool = False, among: Collection[str] | None = None) -> Collected:
    """As :func:`collect`, for one who holds :meth:`Store.collecting` already."""
    named = [documents.descriptor(entry, store.directory) for entry in store.entries()]
    live = reachable(store, named)
    blobs = store.digests()
    garbage = [one for one in blobs if one not in live and (among is None or one in among)]
    files = [blobs[digest] for digest in garbage]
    if among is None and store.unfinished.exists():
        files += store.unfinished.iterdir()
    size = sum(file.stat().st_size for file in files)
    for file in () if dry_run else files:
        file.unlink()
    return Collected(tuple(garbage), size)


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
                waiting += documents.descriptors(document, key, found.digest)
            if "config" in document:
                waiting.append(documents.descriptor(document["config"], found.digest))
    return live


@dataclass(frozen=True)
class Pruned:
    """What was removed, or would be: digests of blobs, chain ids of snapshots, names of files of the build
    cache, and the bytes of all of them.
    """

    blobs: tuple[str, ...] = ()
    snapshots: tuple[str, ...] = ()
    cached: tuple[str, ...] = ()
    size: int = 0


def prune(
    store: Store,
    dry_run: bool = False,
    blobs: Collection[str] | None = None,
    chain: Collection[str] | None = None,
) -> Pruned:
    """Remove blobs and snapshots that belong to no named image, and what the build cache knows of them.

    Where ``blobs`` (digests) and ``chain`` (ids of snapshots) are given, only among these. Raises as
    :func:`collect`.
    """
    collected = collect(store, dry_run, blobs)
    needed = {chain_id for _, image in images(store) for chain_id in image.chain_ids()}
    snapshots = Snapshots(store)
    unused = snapshots.remove_unused(needed, chain, dry_run=True)
    size = collected.size + sum(_bytes(snapshots.path(chain_id)) for chain_id in unused)
    if not dry_run:
        unused = snapshots.remove_unused(needed, chain)
    stale = [
        file
        for file in sorted((store.directory / "cache").glob("*"))
        if _is_stale(store, file, collected.digests)
    ]
    for file in stale:
        size += file.stat().st_size
        if not dry_run:
            file.unlink(missing_ok=True)
    return Pruned(collected.digests, tuple(unused), tuple(file.name for file in stale), size)


def _is_stale(store: Store, file: Path, gone: Collection[str]) -> bool:
    """Whether a step of a build that the cache knows has lost its layer; some never had one."""
    try:
        layer = json.loads(file.read_bytes())["layer"]
        return layer is not None and (layer["digest"] in gone or not store.has(layer["digest"]))
    except (ValueError, LookupError, TypeError):  # cut short by a power cut: of no use
        return True


def _bytes(top: Path) -> int:
    """What a directory takes up on the disk."""
    return sum(
        os.lstat(os.path.join(directory, name)).st_blocks * 512
        for directory, _, files in os.walk(top)
        for name in files
    )


def untag(store: Store, text: str, force: bool = False) -> tuple[list[str], Pruned]:
    """Take away a name, or with an image's id all its names; and what of the image nobody else needs.

    Returns the names that went, and what went with the last of them: nothing while a program writes to the
    store, or where the image is damaged; :func:`prune` does it later. Raises :class:`UnknownImage`,
    :class:`BadReference`; ImageError for an id with several names, unless it is ``force``d.
    """
    name = name_of(store, text)
    try:
        image = Image.of(store, store.resolve(name))
        going = [name] if _is_name(text, name) else names(store, image)
        parts, chain = reachable(store, map(store.resolve, going)), image.chain_ids()
    except ImageError:  # it is damaged, or for other machines; its name can still go
        store.untag(name)
        return [name], Pruned()
    if len(going) > 1 and not force:
        what = f"{text} is an image with {len(going)} names: {', '.join(going)}"
        raise ImageError(what, remedy="Remove them one by one, or force it (-f) to remove all.")
    for one in going:
        store.untag(one)
    try:
        return going, prune(store, blobs=parts, chain=chain)
    except StoreBusy:
        return going, Pruned()


def _is_name(text: str, name: str) -> bool:
    try:
        return name in (text, str(Reference.parse(text)))
    except BadReference:  # 64 digits of an id
        return False
