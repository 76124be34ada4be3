"""The files of a layer as a tree whose directories sum up what is below them: what both views of an image
show, the live one (explorer.py) and the still one (layers.py).
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from kit.images.explore import Change, Exploration, File, How
from kit.show import size

MARKS: dict[How, str] = {"added": "+", "changed": "~", "removed": "−"}
_TYPES = {
    "file": stat.S_IFREG, "directory": stat.S_IFDIR, "symlink": stat.S_IFLNK, "hardlink": stat.S_IFREG,
    "char": stat.S_IFCHR, "block": stat.S_IFBLK, "fifo": stat.S_IFIFO,
}  # fmt: skip


class Node:
    """One name, with all that is below it: ``size`` in bytes, ``hidden`` bytes of lower layers that the layer
    replaced or removed, and how many paths it ``added``, ``changed`` and ``removed``.
    """

    __slots__ = (
        "added", "before", "changed", "children", "file", "hidden", "how", "name", "parts", "removed", "size"
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.how: How | None = None
        self.file: File | None = None
        self.before: File | None = None
        self.parts: dict[str, Node] | None = None
        self.children: list[Node] = []
        self.size = self.hidden = self.added = self.changed = self.removed = 0

    def walk(self) -> Iterator[Node]:
        """This node and all below."""
        yield self
        for child in self.children:
            yield from child.walk()

    def at(self, path: str) -> Node:
        """The node of a path below this one, made when missing."""
        node = self
        for name in path.split("/"):
            if node.parts is None:
                node.parts = {}
            below = node.parts.get(name)
            if below is None:
                below = node.parts[name] = Node(name)
            node = below
        return node

    def sum(self) -> Node:
        """Put the children in order and sum them up; once, when all are there."""
        if self.file and self.how != "removed":
            self.size = self.file.size
        if self.before:
            self.hidden = self.before.size
        if self.how:
            setattr(self, self.how, 1)
        self.children = [self.parts[name].sum() for name in sorted(self.parts)] if self.parts else []
        self.parts = None
        for child in self.children:
            self.size += child.size
            self.hidden += child.hidden
            self.added += child.added
            self.changed += child.changed
            self.removed += child.removed
        return self


def tree(changes: Iterable[Change], files: Iterable[File] = ()) -> Node:
    """The changes of a layer as a tree, and with ``files``, what can be seen at that layer, all the rest."""
    root = Node("")
    for change in changes:
        node = root.at(change.path)
        node.how, node.before, node.file = change.how, change.before, change.after or change.before
    for file in files:
        node = root.at(file.path)
        node.file = node.file or file
    return root.sum()


def changed(node: Node) -> int:
    """How many paths the layer changed here and below."""
    return node.added + node.changed + node.removed


def telling(root: Node, rows: int) -> list[Node]:
    """The directories to open, ``root`` first, so that about so many rows show where the bytes went."""
    opened, shown = [], [root]
    left = rows + 1
    while fit := [
        one
        for one in shown
        if one is root
        or (changed(one) and one.children and one.how != "removed" and len(one.children) <= left)
    ]:
        best = max(fit, key=lambda one: one.size + one.hidden)
        left -= len(best.children) - 1
        shown.remove(best)
        shown += best.children
        opened.append(best)
    return opened


def printable(name: str) -> str:
    """A name from a layer as text that a page may hold: what is no letter in UTF-8 becomes a sign for it."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


class Lost(NamedTuple):
    """``size`` bytes wasted at ``path``, a file or a directory: ``layers`` hold them, ``by`` hides them."""

    path: str
    size: int
    layers: tuple[int, ...]
    by: int
    removed: bool

    def __str__(self) -> str:
        held = ", ".join(map(str, self.layers))
        return f"layer {held}, {'removed' if self.removed else 'replaced'} by layer {self.by}"


def lost(found: Exploration) -> list[Lost]:
    """What a later layer hides, largest first; a directory that was removed as a whole is one."""
    rows = [one for layer in found.layers for one in _lost(tree(layer.changes), "", layer.number)]
    return sorted(rows, key=lambda one: (-one.size, one.path))


def _lost(node: Node, path: str, by: int) -> Iterator[Lost]:
    if node.hidden and (node.how == "removed" or (node.before and not node.children)):
        held = {one.before.layer for one in node.walk() if one.before and one.before.size}
        yield Lost(path, node.hidden, tuple(sorted(held)), by, node.how == "removed")
        return
    for child in node.children:
        name = printable(child.name) + ("/" if child.children else "")
        yield from _lost(child, path + name, by)


def attributes(file: File) -> str:
    """Kind, mode and owner as ls(1) prints them: ``-rw-r--r-- 0:0``."""
    return f"{stat.filemode(_TYPES[file.kind] | file.mode)} {file.uid}:{file.gid}"


def size_of(node: Node) -> str:
    """A node's size as text; what is gone has a minus, and what has no bytes nothing."""
    if node.how == "removed":
        return f"−{size(node.hidden)}" if node.hidden else ""
    return size(node.size) if node.size or (node.file and node.file.kind == "file") else ""


def note(node: Node) -> str:
    """What else is to be said: where a link points, what a change has changed, how much is below."""
    said: list[str] = []
    file, before = node.file, node.before
    if file and file.target:
        said.append(f"{'→' if file.kind == 'symlink' else '='} {printable(file.target)}")
    if file and before and node.how == "changed":
        said += _differences(before, file)
    if node.children and node.how != "added":
        counts = [f"{mark}{getattr(node, how):,}" for how, mark in MARKS.items() if getattr(node, how)]
        said.append(" ".join(counts))
    elif node.children:
        said.append(f"{node.added:,} paths")
    return ", ".join(filter(None, said))


def _differences(before: File, after: File) -> list[str]:
    if before.kind != after.kind:
        return [f"was a {before.kind}"]
    found: list[tuple[str, Any, Any]] = [
        ("", size(before.size), size(after.size)),
        ("mode ", f"{before.mode:o}", f"{after.mode:o}"),
        ("owner ", f"{before.uid}:{before.gid}", f"{after.uid}:{after.gid}"),
    ]
    return [f"{what}{old} → {new}" for what, old, new in found if old != new]
