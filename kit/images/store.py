"""The content store: blobs by digest, and names for them. See the OCI image-spec, image-layout.md.

    oci-layout                 says that the directory is one
    index.json                 the names, each with the descriptor that it stands for
    blobs/sha256/<hex>         every manifest, configuration and layer, named by the digest of its bytes
    blobs/sha512/<hex>         those whose descriptors have the longer digest
    .writing/                  what is not whole yet

So skopeo, umoci, buildah and the kit read the same directory. A blob is written to a temporary name, brought
to the disk (fsync) and renamed, so that after a power cut it is there whole or not at all. Several programs
may use a store at once: see :meth:`Store.writing`.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kit.images import documents
from kit.images.blob import Reader, Writer, as_kernel_error, keep, new_file, write_all
from kit.images.descriptor import OCI_INDEX, Descriptor, check_digest
from kit.images.documents import Document
from kit.images.errors import BadArchive, BadManifest, BadReference, BlobCorrupt, BlobMissing, UnknownImage

NAME = "org.opencontainers.image.ref.name"  # annotations.md: the key under which index.json keeps a name
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
            self._replace(marker, documents.encode({"imageLayoutVersion": "1.0.0"}))
        version = documents.parse(marker.read_bytes(), marker).get("imageLayoutVersion")
        if version != "1.0.0":
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

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold garbage collection off while the block runs: hold it from the first blob to the name.

        A blob that no name leads to yet is garbage to a collector. Any number of writers may hold this at
        once, in any number of programs; each waits while a collector is at work.
        """
        with _locked(self.blobs, fcntl.LOCK_SH):
            yield

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Hold every writer off; raises BlockingIOError at once where one is at work."""
        with _locked(self.blobs, fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield

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
        """The blob as a file whose bytes are verified as they are read.

        Raises :class:`BlobMissing`, or :class:`BlobCorrupt` where its size is not the descriptor's; reading
        raises BlobCorrupt in place of the last bytes where the digest is not that of all of them.
        """
        digest = content if isinstance(content, str) else content.digest
        again = "Load, pull or build the image again."
        try:
            file = self.path(digest).open("rb", buffering=0)
        except FileNotFoundError:
            raise BlobMissing(f"the store {self.directory} has no blob {digest}", remedy=again) from None
        size = os.fstat(file.fileno()).st_size
        if isinstance(content, Descriptor) and size != content.size:
            file.close()
            what = f"the blob {digest} has {size:,} bytes and should have {content.size:,}"
            raise BlobCorrupt(what, self.path(digest), again)
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

    def _replace(self, file: Path, data: bytes) -> None:
        """Give ``file`` new content, all of it or, after a power cut, none."""
        with as_kernel_error("write", file), new_file(self.unfinished) as (fd, temporary):
            write_all(fd, data)
            keep(fd, temporary, file)

    def entries(self) -> list[Document]:
        """The descriptors in index.json as JSON objects; some, written by other tools, may have no name."""
        try:
            with self._index.open("rb") as file:
                documents.check_size(os.fstat(file.fileno()).st_size, self._index)
                return documents.objects(documents.parse(file.read(), self._index), "manifests", self._index)
        except FileNotFoundError:
            return []

    @contextmanager
    def _changing(self) -> Iterator[list[Document]]:
        """The entries of index.json, to be changed by one program at a time."""
        with _locked(self.directory, fcntl.LOCK_EX):
            entries = self.entries()
            yield entries
            index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
            data = documents.encode(index)
            documents.check_size(len(data), self._index)
            self._replace(self._index, data)

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
                    new.append({**descriptor.to_json(), "annotations": annotations})
            with self._changing() as entries:
                entries[:] = [*(one for one in entries if _name(one) not in names), *new]

    def untag(self, name: str) -> None:
        """Take the name away; what it stood for stays until it is collected. Raises :class:`UnknownImage`."""
        with self._changing() as entries:
            rest = [one for one in entries if _name(one) != name]
            if len(rest) == len(entries):
                raise self._unknown(name, entries)
            entries[:] = rest

    def resolve(self, name: str) -> Descriptor:
        """What the name stands for; raises :class:`UnknownImage`, :class:`BadManifest`."""
        entries = self.entries()
        for entry in entries:
            if _name(entry) == name:
                return _descriptor(entry, self._index)
        raise self._unknown(name, entries)

    def tags(self) -> dict[str, Descriptor]:
        """Every name and what it stands for, in the order of the names."""
        entries = {_name(one): one for one in reversed(self.entries())}
        return {name: _descriptor(entries[name], self._index) for name in sorted(entries) if name}

    def _unknown(self, name: str, entries: list[Document]) -> UnknownImage:
        close = difflib.get_close_matches(name, [_name(one) for one in entries if _name(one)], n=3)
        hint = f"Did you mean {' or '.join(close)}?" if close else "tags() lists what there is."
        return UnknownImage(f"the store {self.directory} has no image {name!r}", remedy=hint)


def _name(entry: Document) -> str:
    annotations = entry.get("annotations")
    name = annotations.get(NAME, "") if isinstance(annotations, dict) else ""
    return name if isinstance(name, str) else ""


def _descriptor(entry: Document, where: Path) -> Descriptor:
    """An entry of index.json without the name, which is not the image's but the store's."""
    try:
        found = Descriptor.from_json(entry)
    except ValueError as error:
        raise BadManifest(str(error), where) from None
    rest = {key: value for key, value in found.annotations.items() if key != NAME}
    return Descriptor(found.media_type, found.digest, found.size, rest, found.platform)
