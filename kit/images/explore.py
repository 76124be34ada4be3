"""What each layer of an image holds and changes, and which of its bytes nobody can see any more.

The layers are read as the tar streams that they are (OCI image-spec, layer.md): nothing is unpacked or
mounted, so it takes no privilege. What is kept is one line for each entry, never a file's content.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from kit.images.beneath import split
from kit.images.compression import decompressed
from kit.images.descriptor import Descriptor
from kit.images.entry import Kind
from kit.images.image import Image
from kit.images.tar import Tar
from kit.images.whiteouts import OPAQUE, WHITEOUT

How = Literal["added", "changed", "removed"]


class File(NamedTuple):
    """One path as layer number ``layer`` has it. ``size`` is in bytes, 0 for all but regular files: a hard
    link's bytes are counted at its first name.
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

    path: str
    before: File | None
    after: File | None

    @property
    def how(self) -> How:
        """In one word."""
        return "added" if self.before is None else "removed" if self.after is None else "changed"


class Wasted(NamedTuple):
    """A path whose ``size`` bytes layer number ``layer`` still holds, though ``hidden_by`` hides them:
    removed, or else replaced.
    """

    path: str
    size: int
    layer: int
    hidden_by: int
    removed: bool

    def __str__(self) -> str:
        how = "removed" if self.removed else "replaced"
        return f"layer {self.layer}, {how} by layer {self.hidden_by}"


@dataclass(frozen=True)
class Explored:
    """One layer: ``number`` counts from 1, the lowest; ``created_by`` is its line of the history. ``size`` is
    that of the blob, as kept and sent, ``unpacked`` that of its files, in bytes.
    """

    number: int
    created_by: str
    size: int
    unpacked: int
    changes: list[Change]

    def count(self, how: How) -> int:
        """How many paths it added, changed or removed."""
        return sum(change.how == how for change in self.changes)


@dataclass(frozen=True)
class Exploration:
    """An image layer by layer, lowest first; made by :func:`explore`."""

    image: Image
    layers: list[Explored]

    def tree(self, number: int) -> dict[str, File]:
        """What a container would see that had only the layers up to ``number``, by path."""
        files: dict[str, File] = {}
        for layer in self.layers[:number]:
            for path, _, after in layer.changes:
                if after is None:
                    del files[path]
                else:
                    files[path] = after
        return files

    @property
    def unpacked(self) -> int:
        """Bytes of the files in all layers."""
        return sum(layer.unpacked for layer in self.layers)

    @cached_property
    def wasted(self) -> list[Wasted]:
        """What a later layer hides, largest first; a file that was replaced twice is there twice."""
        hidden = [
            Wasted(path, before.size, before.layer, layer.number, after is None)
            for layer in self.layers
            for path, before, after in layer.changes
            if before is not None and before.size
        ]
        return sorted(hidden, key=lambda one: (-one.size, one.path, one.layer))

    @property
    def wasted_bytes(self) -> int:
        """Bytes of :attr:`wasted`. The tool ``dive`` adds the version that stays."""
        return sum(one.size for one in self.wasted)

    def wasted_in(self, number: int) -> int:
        """Bytes of one layer that later ones hide."""
        return sum(one.size for one in self.wasted if one.layer == number)

    @property
    def efficiency(self) -> float:
        """The share of the layers' bytes that can be seen in the end, 0 to 1."""
        return 1 - self.wasted_bytes / self.unpacked if self.unpacked else 1.0


def explore(image: Image) -> Exploration:
    """Read every layer of an image once. About 0.4 KB of memory for each entry.

    Raises BlobMissing, BlobCorrupt, LayerCorrupt, HostileLayer, BadManifest.
    """
    found = Exploration(image, [])
    for number, (descriptor, line) in enumerate(zip(image.layers, created_by(image), strict=True), 1):
        files, gone, emptied = _read(image, descriptor, number)
        unpacked = sum(file.size for file in files.values())
        changes = _changes(files, gone, emptied, found.tree(number - 1))
        found.layers.append(Explored(number, line, descriptor.size, unpacked, changes))
    return found


def created_by(image: Image) -> list[str]:
    """For each layer its line of the history, lowest first; "" where there is none."""
    lines = [str(one.get("created_by", "")) for one in image.history if not one.get("empty_layer")]
    # The history is optional, and may be anything.
    return lines if len(lines) == len(image.layers) else [""] * len(image.layers)


def parents(path: str) -> Iterator[str]:
    """The directories that a path lies in, the nearest first; the last is the root, ""."""
    while path:
        path = path.rpartition("/")[0]
        yield path


def _read(image: Image, descriptor: Descriptor, number: int) -> tuple[dict[str, File], set[str], set[str]]:
    """A layer's own files by path, and what it takes away from below: these paths, and all in these."""
    files, gone, emptied = dict[str, File](), set[str](), set[str]()
    with image.store.open(descriptor) as stream:
        for one in Tar(decompressed(stream)).members():
            *above, name = split(one.name, "the name") or [""]
            if name == OPAQUE:
                emptied.add("/".join(above))
            elif name.startswith(WHITEOUT):
                gone.add("/".join([*above, name.removeprefix(WHITEOUT)]))
            elif name:  # the root itself has none
                path = "/".join([*above, name])
                files[path] = File(path, one.kind, one.size, one.mode, one.uid, one.gid, one.target, number)
    return files, gone, emptied


def _changes(
    files: dict[str, File], gone: set[str], emptied: set[str], below: dict[str, File]
) -> list[Change]:
    """What a layer does to the merged tree of those ``below``, in the order of the paths."""
    for path, file in list(files.items()):
        for parent in parents(path):
            if not parent or parent in files or (parent in below and parent not in gone):
                break
            # A directory that has no entry of its own is made when the layer is unpacked.
            files[parent] = File(parent, "directory", 0, 0o755, 0, 0, "", file.layer)
    found = [
        Change(path, before, after)
        for path, after in files.items()
        if (before := below.get(path)) is None or after.kind != "directory" or before[1:6] != after[1:6]
    ]
    removed = gone & below.keys()
    hiding = gone | {path for path, file in files.items() if file.kind != "directory"}
    emptied |= {path for path in hiding & below.keys() if below[path].kind == "directory"}
    if emptied:
        removed |= {path for path in below if not emptied.isdisjoint(parents(path))}
    found += [Change(path, below[path], None) for path in removed - files.keys()]
    return sorted(found)
