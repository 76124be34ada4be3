"""Images into the store, from other tools: the archives of `docker save`, old and new, OCI archives, layouts.

The archive is read once, as a stream; each file in it becomes a blob, and no name in it ever becomes a path
on this machine. What the images don't need of it is garbage (:mod:`kit.images.gc`).
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from kit.images import documents
from kit.images.blob import Writer, measure
from kit.images.compression import CHUNK, compression_of, decompressed
from kit.images.descriptor import OCI_CONFIG, Descriptor, check_digest
from kit.images.errors import AGAIN, BadArchive, BlobCorrupt, LayerCorrupt
from kit.images.image import diff_ids, write_manifest
from kit.images.layer import MEDIA_TYPES
from kit.images.reference import Reference
from kit.images.save import CONTAINERD_NAME, check
from kit.images.store import NAME, UNNAMED, Store
from kit.images.tar import Limits, Tar

_LIMITS = Limits(entries=100_000)  # an image has about a hundred layers at most
_LINKS = 8  # symbolic links to follow from one name
_BLOB = re.compile(r"blobs/(sha256|sha512)/(.*)")
_HOSTILE = "It was made to do harm, or by a tool with a fault: don't use it."


def load(
    store: Store, source: Path | BinaryIO, name: str = "", unnamed: bool = False
) -> dict[str, Descriptor]:
    """Load every image of an archive, or of an OCI layout in a directory; the names and what they stand for.

    A ``name`` is given to the only image, in place of its own; ``unnamed`` ones are refused, or kept so.
    Nothing is named unless all is well. Raises
    :class:`BadArchive` for other content and for hostile members, :class:`BlobCorrupt`,
    :class:`LayerCorrupt`, :class:`BadManifest`, and OSError where ``source`` can't be read.
    """
    if isinstance(source, Path) and not source.is_dir():
        with source.open("rb") as file:
            return load(store, file, name, unnamed)
    with store.writing():
        files = _Files(store)
        if isinstance(source, Path):
            files.add_directory(source)
        else:
            files.add_tar(source)
        if "index.json" in files.content:
            found = list(_from_index(files))
        elif "manifest.json" in files.content:
            found = list(_from_manifest_json(files))
        else:
            raise BadArchive("neither index.json nor manifest.json is in it", remedy="It holds no image.")
        if unnamed:
            found = [(own or UNNAMED + one.digest, one) for own, one in found]
        named = _named(found, name)
        for descriptor in named.values():
            check(store, descriptor)
        for one, descriptor in named.items():
            store.tag(one, descriptor)
    return named


def _named(found: list[tuple[str, Descriptor]], name: str) -> dict[str, Descriptor]:
    if name:
        if (count := len({descriptor.digest for _, descriptor in found})) != 1:
            raise BadArchive(f"one name, and {count} images", name, "Load them by their own names.")
        return {str(Reference.parse(name)): found[0][1]}
    if not found or not all(own for own, _ in found):
        raise BadArchive("an image in it has no name of its own", remedy="Load it with a name.")
    return {
        own if own.startswith(UNNAMED) else str(Reference.parse(own)): descriptor for own, descriptor in found
    }


class _Files:
    """What the archive holds: names to the digests of blobs, and links to names."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.content: dict[str, str] = {}
        self.links: dict[str, str] = {}

    def add_tar(self, stream: BinaryIO) -> None:
        """Keep every file of an archive, compressed or not; refuse members that reach out of it."""
        archive = Tar(decompressed(stream), _LIMITS)
        for member in archive.members():
            if member.name.startswith("/") or ".." in member.name.split("/"):
                raise BadArchive("a name that leads out of the archive", member.name, _HOSTILE)
            name = posixpath.normpath(member.name)
            if member.kind == "file":
                with self.store.writer(_algorithm(name)) as writer:
                    for data in archive.content():
                        writer.write(data)
                    self._keep(name, writer)
            elif member.kind == "symlink":  # as skopeo and older versions of Docker name a layer again
                self.links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.target))
                if self.links[name].startswith(("/", "..")):
                    raise BadArchive("a link that leads out of the archive", member.name, _HOSTILE)
            elif member.kind != "directory":
                raise BadArchive(f"a {member.kind} has no place in an archive of images", name, _HOSTILE)

    def add_directory(self, directory: Path) -> None:
        """Keep the index and every blob of an OCI layout; symbolic links are refused."""
        places = [directory / "blobs" / algorithm for algorithm in ("sha256", "sha512")]
        blobs = [path for place in places if place.is_dir() for path in sorted(place.iterdir())]
        for path in (directory / "index.json", *blobs):
            name = str(path.relative_to(directory))
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                remedy = "It has index.json and blobs/sha256."
                raise BadArchive(f"no OCI layout: {error.strerror}", path, remedy) from None
            with open(fd, "rb") as file, self.store.writer(_algorithm(name)) as writer:
                shutil.copyfileobj(file, writer, CHUNK)
                self._keep(name, writer)

    def _keep(self, name: str, writer: Writer) -> None:
        """End a blob; one whose name is a digest must have it."""
        digest, _ = writer.commit()
        if (blob := _BLOB.fullmatch(name)) and check_digest(f"{blob[1]}:{blob[2]}") != digest:
            raise BlobCorrupt(f"it has the digest {digest}", name, AGAIN)
        self.content[name] = digest

    def find(self, name: object) -> str:
        """The blob that manifest.json calls ``name``; raises :class:`BadArchive`."""
        found = posixpath.normpath(name) if isinstance(name, str) else ""
        for _ in range(_LINKS):
            found = self.links.get(found, found)
        if found not in self.content:
            raise BadArchive(f"manifest.json names {name!r:.200}, which is not in the archive", "", AGAIN)
        return self.content[found]


def _algorithm(name: str) -> str:
    return blob[1] if (blob := _BLOB.fullmatch(name)) else "sha256"


def _from_index(files: _Files) -> Iterator[tuple[str, Descriptor]]:
    """The images of an OCI layout, each with its name, "" where it has none."""
    index = files.store.document(files.content["index.json"])
    for found in documents.descriptors(index, "manifests", "index.json"):
        name = found.annotations.get(CONTAINERD_NAME) or found.annotations.get(NAME, "")
        is_tag = ":" not in name and "/" not in name  # alone, as umoci writes it
        yield "" if is_tag else name, replace(found, annotations={})


def _from_manifest_json(files: _Files) -> Iterator[tuple[str, Descriptor]]:
    """The images that Docker's list names, for each of their names."""
    where = "manifest.json"
    images = documents.parse_any(files.store.read(files.find(where)), where)
    for entry in documents.objects({"images": images}, "images", where):
        config = files.find(entry.get("Config"))
        expected = diff_ids(files.store.document(config), where)
        names, tags = entry.get("Layers") or [], entry.get("RepoTags") or [""]
        if not isinstance(names, list) or not isinstance(tags, list) or len(names) != len(expected):
            raise BadArchive("Layers, RepoTags and the configuration don't fit together", where, AGAIN)
        layers = [_layer(files, name, diff_id) for name, diff_id in zip(names, expected, strict=True)]
        size = files.store.path(config).stat().st_size
        image = write_manifest(files.store, layers, Descriptor(OCI_CONFIG, config, size))
        for tag in tags:
            yield str(tag), image


def _layer(files: _Files, name: object, diff_id: str) -> Descriptor:
    """A layer with the type that its first bytes tell; raises :class:`LayerCorrupt` for a wrong diff id."""
    digest = files.find(name)
    with files.store.open(digest) as file:
        compression = compression_of(file.peek(4))
        found, _ = measure(decompressed(file))
    if found != diff_id:
        raise LayerCorrupt(f"its diff id is {found}, and should be {diff_id}", name, AGAIN)
    return Descriptor(MEDIA_TYPES[compression], digest, file.size)
