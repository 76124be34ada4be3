"""The files of a layer as a tree whose directories sum up what is below them: what both views of an image
show, the live one (explorer.py) and the still one (layers.py).
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from kit.images.explore import Change, Exploration, File, How, Wasted, parents
from kit.show import size

MARKS: dict[How, str] = {"added": "+", "changed": "~", "removed": "−"}
_LETTERS = {"directory": "d", "symlink": "l", "char": "c", "block": "b", "fifo": "p"}  # of ls(1)


@dataclass(eq=False, slots=True)
class Node:
    """One path, with all that is below it: ``size`` in bytes, ``hidden`` bytes of lower layers that the layer
    replaced or removed, and ``counts`` of the paths that it added, changed and removed.
    """

    path: str
    how: How | None = None
    file: File | None = None
    before: File | None = None
    below: dict[str, Node] = field(default_factory=dict)
    counts: Counter[How] = field(default_factory=Counter)
    size: int = 0
    hidden: int = 0

    def way(self, path: str) -> list[Node]:
        """The nodes from this one, the root, to a path, made where missing."""
        nodes = [self]
        for name in path.split("/"):
            above = nodes[-1]
            if name not in above.below:
                above.below[name] = Node(f"{above.path}/{name}".lstrip("/"))
            nodes.append(above.below[name])
        return nodes


def tree(changes: Iterable[Change], files: Iterable[File] = ()) -> Node:
    """The changes of a layer as a tree, and with ``files``, what can be seen at that layer, all the rest."""
    root = Node("")
    for change in changes:
        path, before, after = change
        way = root.way(printable(path))
        way[-1].how, way[-1].before, way[-1].file = change.how, before, after or before
        for node in way:
            node.counts[change.how] += 1
            node.size += after.size if after else 0
            node.hidden += before.size if before else 0
    for file in files:
        way = root.way(printable(file.path))
        if way[-1].file is None:
            way[-1].file = file
            for node in way:
                node.size += file.size
    return root


def unfold(root: Node, rows: int) -> tuple[list[Node], list[Node]]:
    """The directories to open, ``root`` first, so that about so many rows show where the bytes went, and
    these rows, by path.
    """
    opened, shown = [root], list(root.below.values())
    while fit := [
        one
        for one in shown
        if one.counts and one.below and one.how != "removed" and len(shown) + len(one.below) <= rows + 1
    ]:
        best = max(fit, key=lambda one: one.size + one.hidden)
        shown.remove(best)
        shown += best.below.values()
        opened.append(best)
    return opened, sorted(shown, key=lambda one: one.path.split("/"))


def printable(text: str) -> str:
    """Text from a layer as a page may hold it: what can't be printed, or is no UTF-8, becomes a sign."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def lost(found: Exploration) -> list[Wasted]:
    """What is wasted, largest first; of a directory that was removed as a whole, each layer's part in one."""
    removed = {(one.number, path) for one in found.layers for path, _, after in one.changes if after is None}
    sums = Counter[Wasted]()
    for one in found.wasted:
        whole = [path for path in parents(one.path) if (one.hidden_by, path) in removed]
        path = printable(f"{whole[-1]}/" if whole else one.path)
        sums[one._replace(path=path, size=0)] += one.size
    return [one._replace(size=total) for one, total in sums.most_common()]


def attributes(file: File) -> str:
    """Kind, mode and owner as ls(1) prints them: ``-rw-r--r-- 0:0``."""
    return f"{_LETTERS.get(file.kind, '-')}{stat.filemode(file.mode)[1:]} {file.uid}:{file.gid}"


def size_of(node: Node) -> str:
    """A node's size as text; what is gone has a minus, and what has no bytes nothing."""
    if node.how == "removed":
        return f"−{size(node.hidden)}" if node.hidden else ""
    return size(node.size) if node.size or (node.file and node.file.kind == "file") else ""


def note(node: Node) -> str:
    """What else is to be said: where a link points, what a change has changed, how much is below."""
    file, before, said = node.file, node.before, []
    if file and file.target:
        said.append(f"{'→' if file.kind == 'symlink' else '='} {printable(file.target)}")
    if file and before and node.how == "changed":
        pairs = [
            ("", before.kind, file.kind),
            ("", size(before.size), size(file.size)),
            ("mode ", f"{before.mode:o}", f"{file.mode:o}"),
            ("owner ", f"{before.uid}:{before.gid}", f"{file.uid}:{file.gid}"),
        ]
        said += [f"{what}{old} → {new}" for what, old, new in pairs if old != new]
    if node.counts and (node.below or not node.how):
        said.append(
            " ".join(f"{mark}{node.counts[how]:,}" for how, mark in MARKS.items() if node.counts[how])
        )
    return ", ".join(said)
