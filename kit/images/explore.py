"""What each layer of an image holds and changes, and which of its bytes nobody can see any more.

The layers are read as the tar streams that they are (OCI image-spec, layer.md): nothing is unpacked or
mounted, so it takes no privilege. What is kept is one line for each entry, never a file's content.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from kit.images.beneath import split
from kit.images.compression import decompressed
from kit.images.descriptor import Descriptor
from kit.images.entry import Kind
from kit.images.image import Image
from kit.images.tar import LIMITS, Member, Tar
from kit.images.whiteouts import OPAQUE, WHITEOUT

How = Literal["added", "changed", "removed"]


class File(NamedTuple):
    """One path as a layer has it. ``size`` is in bytes, 0 for all but regular files: a hard link's bytes are
    counted at its first name. ``layer`` is the number of the layer that it stands in, lowest 1.
    """

    path: str
    kind: Kind
    size: int
    mode: int
    uid: int
    gid: int
    target: str
    layer: int


class Change(NamedTuple):
    """What a layer does to one path: ``before`` is what the layers below had there, ``after`` what it has.

    A file that is there twice with the same bytes is a change too: the layer holds all of it again. A
    directory counts only where it is new or has another mode or owner.
    """

    before: File | None
    after: File | None

    @property
    def how(self) -> How:
        """In one word."""
        return "added" if self.before is None else "removed" if self.after is None else "changed"

    @property
    def path(self) -> str:
        """Relative to the root, like ``etc/passwd``."""
        file = self.after or self.before
        return file.path if file else ""


class Wasted(NamedTuple):
    """A file whose ``size`` bytes layer number ``layer`` still holds, though ``hidden_by`` hides them."""

    path: str
    size: int
    layer: int
    hidden_by: int
    removed: bool
    """Removed, not replaced."""


@dataclass(frozen=True)
class Explored:
    """One layer: ``number`` counts from 1, the lowest; ``created_by`` is its line of the history.

    ``size`` is that of the blob, as kept and sent; ``unpacked`` that of its files. Both in bytes.
    """

    number: int
    created_by: str
    descriptor: Descriptor
    unpacked: int
    changes: list[Change]

    @property
    def size(self) -> int:
        """Bytes of the blob."""
        return self.descriptor.size

    def count(self, how: How) -> int:
        """How many paths it added, changed or removed."""
        return self._counts[how]

    @cached_property
    def _counts(self) -> Counter[How]:
        return Counter(change.how for change in self.changes)


@dataclass(frozen=True)
class Exploration:
    """An image layer by layer, lowest first; made by :func:`explore`."""

    image: Image
    layers: list[Explored]

    def tree(self, number: int) -> dict[str, File]:
        """What a container would see that had only the layers up to ``number``, by path."""
        files: dict[str, File] = {}
        for layer in self.layers[:number]:
            apply(layer.changes, files)
        return files

    @property
    def unpacked(self) -> int:
        """Bytes of the files in all layers."""
        return sum(layer.unpacked for layer in self.layers)

    @cached_property
    def wasted(self) -> list[Wasted]:
        """What a later layer hides, largest first; a file that was replaced twice is there twice."""
        hidden = [
            Wasted(before.path, before.size, before.layer, layer.number, after is None)
            for layer in self.layers
            for before, after in layer.changes
            if before is not None and before.size
        ]
        return sorted(hidden, key=lambda one: (-one.size, one.path, one.layer))

    @property
    def wasted_bytes(self) -> int:
        """Bytes of :attr:`wasted`. The tool ``dive`` adds the version that stays."""
        return sum(one.size for one in self.wasted)

    @property
    def efficiency(self) -> float:
        """The share of the layers' bytes that can be seen in the end, 0 to 1."""
        return 1 - self.wasted_bytes / self.unpacked if self.unpacked else 1.0


def explore(image: Image) -> Exploration:
    """Read every layer of an image once. About 0.4 KB of memory for each entry.

    Raises BlobMissing, BlobCorrupt, LayerCorrupt, HostileLayer, BadManifest.
    """
    layers, below = [], dict[str, File]()
    for number, (descriptor, line) in enumerate(zip(image.layers, created_by(image), strict=True), 1):
        contents = _read(image, descriptor, number)
        changes = contents.changes(below)
        layers.append(Explored(number, line, descriptor, contents.size, changes))
        apply(changes, below)
    return Exploration(image, layers)


def created_by(image: Image) -> list[str]:
    """For each layer its line of the history, lowest first; "" where there is none."""
    lines = [str(one.get("created_by", "")) for one in image.history if not one.get("empty_layer")]
    if len(lines) != len(image.layers):  # the history is optional, and may be anything
        return [""] * len(image.layers)
    return lines


def apply(changes: list[Change], files: dict[str, File]) -> None:
    """Let a layer's changes have their effect on the merged tree ``files``."""
    for before, after in changes:
        if after is not None:
            files[after.path] = after
        elif before is not None:
            del files[before.path]


class _Contents:
    """One layer's own entries, and what it takes away of those below: ``gone`` itself, ``emptied`` inside."""

    def __init__(self, number: int) -> None:
        self.number, self.size = number, 0
        self.files: dict[str, File] = {}
        self.gone: set[str] = set()
        self.emptied: set[str] = set()

    def add(self, member: Member) -> None:
        *parent, name = split(member.name, "the name") or [""]
        if name == OPAQUE:
            self.emptied.add("/".join(parent))
        elif name.startswith(WHITEOUT):
            self.gone.add("/".join([*parent, name.removeprefix(WHITEOUT)]))
        elif name:  # the root itself has none
            path = "/".join([*parent, name])
            self.size += member.size
            self.files[path] = File(path, member.kind, member.size, member.mode, member.uid, member.gid,
                                    member.target, self.number)  # fmt: skip

    def changes(self, below: dict[str, File]) -> list[Change]:
        """What it does to the merged tree of the layers below, in the order of the paths."""
        self._add_parents(below)
        found = [
            Change(before, after)
            for path, after in self.files.items()
            if (before := below.get(path)) is None or not _same_directory(before, after)
        ]
        removed = {path for path in self.gone if path in below}
        hiding = self.gone | {path for path, file in self.files.items() if file.kind != "directory"}
        emptied = self.emptied | {p for p in hiding if p in below and below[p].kind == "directory"}
        if emptied:
            removed |= {path for path in below if _inside(path, emptied)}
        found += [Change(below[path], None) for path in removed - self.files.keys()]
        return sorted(found, key=lambda change: change.path)

    def _add_parents(self, below: dict[str, File]) -> None:
        """Directories that have no entry of their own get made when the layer is unpacked."""
        for path in list(self.files):
            while path := path.rpartition("/")[0]:
                if path in self.files or (path in below and path not in self.gone):
                    break
                self.files[path] = File(path, "directory", 0, 0o755, 0, 0, "", self.number)


def _same_directory(before: File, after: File) -> bool:
    return before.kind == after.kind == "directory" and before[3:6] == after[3:6]  # mode, uid, gid


def _inside(path: str, directories: set[str]) -> bool:
    while path:
        path = path.rpartition("/")[0]
        if path in directories:
            return True
    return False


def _read(image: Image, descriptor: Descriptor, number: int) -> _Contents:
    contents = _Contents(number)
    with image.store.open(descriptor) as stream:
        for member in Tar(decompressed(stream), LIMITS).members():
            contents.add(member)
    return contents
