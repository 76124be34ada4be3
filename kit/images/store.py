"""The content store: blobs by digest, and names for them. See the OCI image-spec, image-layout.md.

    oci-layout                 says that the directory is one
    index.json                 the names, each with the descriptor that it stands for
    blobs/sha256/<hex>         every manifest, configuration and layer, named by the digest of its bytes
    blobs/sha512/<hex>         those whose descriptors have the longer digest
    .writing/                  what is not whole yet

So skopeo, umoci, buildah and the kit read the same directory. A file is written to a temporary name, brought
to the disk and renamed: after a power cut it is there whole or not at all. Several programs may use a store
at once: see :meth:`Store.writing`.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from kit.images import documents
from kit.images.blob import Reader, Writer, as_kernel_error, keep, new_file, write_all
from kit.images.descriptor import OCI_INDEX, Descriptor, check_digest
from kit.images.documents import Document
from kit.images.errors import AGAIN, BadArchive, BadReference, BlobCorrupt, BlobMissing, UnknownImage

NAME = "org.opencontainers.image.ref.name"  # annotations.md: the key under which index.json keeps a name
UNNAMED = "NONE@"  # before its digest: what keeps an image that has no name; no Reference begins so
LAYOUT = {"imageLayoutVersion": "1.0.0"}  # what the file oci-layout says
_NAME = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9._:@+/\[\]-]{0,511}")  # wide enough for every reference


@contextmanager
def _locked(directory: Path, how: int) -> Iterator[None]:
    """Hold flock(2) on a directory; the kernel lets go of it when the program dies, whatever the cause."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, how)
        yield
    finally:
        os.close(fd)


class Store:
    """The store in the directory ``path``, made where there is nothing yet.

    Raises :class:`BadArchive` where the directory holds something else, :class:`KernelError` where it can't
    be made.
    """

    def __init__(self, path: str | Path) -> None:
        self.directory = Path(path).absolute()
        self.blobs = self.directory / "blobs" / "sha256"
        self._index = self.directory / "index.json"
        self.unfinished = self.directory / ".writing"
        with as_kernel_error("keep images in", self.directory):
            self._begin()

    def _begin(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        marker = self.directory / "oci-layout"
        others = [name for name in os.listdir(self.directory) if not name.startswith(".")]
        if not marker.exists():  # now: another program may begin the same store
            if others:
                what = "the directory holds something that is no image layout"
                raise BadArchive(what, self.directory, "Name an empty one.")
            self._replace(marker, LAYOUT)
        version = documents.parse(marker.read_bytes(), marker).get("imageLayoutVersion")
        if version != LAYOUT["imageLayoutVersion"]:
            raise BadArchive(f"image layout {version!r} is not known, 1.0.0 is", marker)
        self.blobs.mkdir(parents=True, exist_ok=True)
        if not self._index.exists():
            with self._changing():
                pass

    def __repr__(self) -> str:
        return f"Store({str(self.directory)!r})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit.images.shown import images

        return images(self)._repr_mimebundle_()

    # Content

    def path(self, digest: str) -> Path:
        """Where the blob ``digest`` lies, or would; raises :class:`BadDescriptor` for what is no digest."""
        algorithm, _, name = check_digest(digest).partition(":")
        return self.blobs.with_name(algorithm) / name

    def has(self, digest: str) -> bool:
        """Whether the blob is there; its bytes are verified when it is read."""
        return self.path(digest).exists()

    def writing(self) -> AbstractContextManager[None]:
        """Hold garbage collection off, from the first blob to the name: until then it is garbage.

        Any number of writers, in any number of programs, may hold this; each waits for a collector's end.
        """
        return _locked(self.blobs, fcntl.LOCK_SH)

    def collecting(self) -> AbstractContextManager[None]:
        """Hold every writer off; raises BlockingIOError at once where one is at work."""
        return _locked(self.blobs, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @contextmanager
    def writer(self, algorithm: str = "sha256") -> Iterator[Writer]:
        """A file to write a new blob to; without its ``commit`` nothing stays."""
        with self.writing(), new_file(self.unfinished) as (fd, path):
            blobs = self.blobs.with_name(algorithm)
            blobs.mkdir(exist_ok=True)
            yield Writer(fd, path, blobs, algorithm)

    def digests(self) -> dict[str, Path]:
        """Every blob's digest and file, in order, whether a name leads to it or not."""
        return {
            f"{directory.name}:{file.name}": file
            for directory in sorted(self.blobs.parent.iterdir())
            for file in sorted(directory.iterdir())
        }

    def put(self, data: bytes, media_type: str, algorithm: str = "sha256") -> Descriptor:
        """Keep ``data``; a blob that is there already is written again, which heals a damaged one."""
        with self.writer(algorithm) as writer:
            writer.write(data)
            digest, size = writer.commit()
        return Descriptor(media_type, digest, size)

    def open(self, content: Descriptor | str) -> Reader:
        """The blob as a file. Raises :class:`BlobMissing`, :class:`BlobCorrupt` for another size.

        Reading raises BlobCorrupt in place of the last bytes where the digest is not that of all of them.
        """
        digest = content if isinstance(content, str) else content.digest
        try:
            file = self.path(digest).open("rb", buffering=0)
        except FileNotFoundError:
            raise BlobMissing(f"the store {self.directory} has no blob {digest}", remedy=AGAIN) from None
        size = os.fstat(file.fileno()).st_size
        if isinstance(content, Descriptor) and size != content.size:
            file.close()
            what = f"the blob {digest} has {size:,} bytes and should have {content.size:,}"
            raise BlobCorrupt(what, self.path(digest), AGAIN)
        return Reader(file, digest, size)

    def document(self, content: Descriptor | str) -> Document:
        """The blob as a parsed JSON object; raises as :meth:`open`, and :class:`BadManifest`."""
        digest = content if isinstance(content, str) else content.digest
        return documents.parse(self.read(content), digest)

    def read(self, content: Descriptor | str) -> bytes:
        """All of a blob that is short enough for a document; raises as :meth:`document`."""
        with self.open(content) as file:
            documents.check_size(file.size, file.digest)
            return file.read()

    # Names

    def _replace(self, file: Path, document: Document) -> None:
        """Give ``file`` new content, all of it or, after a power cut, none."""
        data = documents.encode(document)
        documents.check_size(len(data), file)
        with as_kernel_error("write", file), new_file(self.unfinished) as (fd, temporary):
            write_all(fd, data)
            keep(fd, temporary, file)

    def entries(self) -> list[Document]:
        """The descriptors in index.json as JSON objects; some, written by other tools, may have no name."""
        try:
            with self._index.open("rb") as file:
                data = file.read(documents.LIMIT + 1)
        except FileNotFoundError:
            return []
        return documents.objects(documents.parse(data, self._index), "manifests", self._index)

    @contextmanager
    def _changing(self) -> Iterator[list[Document]]:
        """The entries of index.json, to be changed by one program at a time."""
        with _locked(self.directory, fcntl.LOCK_EX):
            entries = self.entries()
            yield entries
            self._replace(self._index, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})

    def tag(self, name: str, descriptor: Descriptor) -> None:
        """Let ``name`` stand for ``descriptor``, whatever it stood for before.

        Raises :class:`BadReference` for a name that no layout may hold, :class:`BlobMissing`.
        """
        self.change({name: descriptor})

    def change(self, names: Mapping[str, Descriptor | None]) -> None:
        """Let each name stand for its descriptor, or for nothing any more (None): all of them or none.

        Raises as :meth:`tag`.
        """
        new = []
        with self.writing():
            for name, descriptor in names.items():
                if not _NAME.fullmatch(name):
                    raise BadReference(f"{name!r} can't be a name in an image layout", self.directory)
                if descriptor is not None:
                    self.open(descriptor).close()
                    annotations = {**descriptor.annotations, NAME: name}
                    new.append(replace(descriptor, annotations=annotations).to_json())
            with self._changing() as entries:
                entries[:] = [*(one for one in entries if _name(one) not in names), *new]

    def untag(self, name: str) -> None:
        """Take the name away, and nothing else. Raises :class:`UnknownImage`."""
        with self._changing() as entries:
            rest = [one for one in entries if _name(one) != name]
            if len(rest) == len(entries):
                raise self.unknown(name)
            entries[:] = rest

    def resolve(self, name: str) -> Descriptor:
        """What the name stands for; raises :class:`UnknownImage`, :class:`BadManifest`."""
        tags = self.tags()
        if name not in tags:
            raise self.unknown(name)
        return tags[name]

    def tags(self) -> dict[str, Descriptor]:
        """Every name and what it stands for, in the order of the names."""
        entries = {_name(one): one for one in reversed(self.entries())}
        return {name: _nameless(entries[name], self._index) for name in sorted(entries) if name}

    def unknown(self, name: str) -> UnknownImage:
        """The error for a name that the store doesn't have, with those that are like it."""
        close = difflib.get_close_matches(name, [_name(one) for one in self.entries()], n=3)
        hint = f"Did you mean {' or '.join(close)}?" if close else "`kit images` lists what there is."
        return UnknownImage(f"the store {self.directory} has no image {name!r}", remedy=hint)


def _name(entry: Document) -> str:
    annotations = entry.get("annotations")
    name = annotations.get(NAME, "") if isinstance(annotations, dict) else ""
    return name if isinstance(name, str) else ""


def _nameless(entry: Document, where: Path) -> Descriptor:
    """An entry of index.json without the name, which is not the image's but the store's."""
    found = documents.descriptor(entry, where)
    return replace(found, annotations={key: one for key, one in found.annotations.items() if key != NAME})
