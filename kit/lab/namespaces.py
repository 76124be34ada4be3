"""The machine's namespaces as a tree: user namespaces own the others, pid and user namespaces stand in one
another.
"""

from __future__ import annotations

from typing import Any

from kit.lab.picture import Picture
from kit.lab.tree import Node, count, draw_tree, short

ORDER = ("mount", "uts", "ipc", "pid", "network", "cgroup", "time", "user")


def namespace_tree(tree: Any, title: str = "namespace tree") -> Picture:
    """Draw what ``kit.namespaces.tree()`` found (or a part of it: ``tree.kind("pid")``, ``tree.new()``).

    Below each user namespace stand the namespaces that it owns; a pid or user namespace stands below its
    parent. Source: namespaces(7), ioctl_ns(2). Raises ValueError when there is nothing to draw.
    """
    found = list(tree)
    if not found:
        raise ValueError("namespace_tree: no namespaces to draw")
    known = {one.inode for one in found}
    nodes = {one.inode: _node(one, tree.here) for one in found}
    roots = []
    for one in sorted(
        found, key=lambda one: (ORDER.index(one.kind), tree.here.get(one.kind) != one.inode, one.inode)
    ):
        above = one.parent if one.parent in known else one.owner if one.owner in known else None
        if above is None or above == one.inode:
            roots.append(nodes[one.inode])
        else:
            nodes[above].children.append(nodes[one.inode])
    roots.sort(key=lambda node: not node.children)
    others = [one for one in found if tree.here.get(one.kind) != one.inode]
    counts = ", ".join(
        f"{sum(one.kind == kind for one in found)} {kind}"
        for kind in ORDER
        if any(o.kind == kind for o in found)
    )
    alt = f"{count(len(found), 'namespace')} ({counts}); {len(others)} of them not ours. " + " ".join(
        f"{one} with {count(len(one.pids))}, the first {short(one.command.split()) or 'unknown'}."
        for one in others[:12]
    )
    columns = ("processes", "lowest pid", "its command")
    return draw_tree(
        roots, columns, title=title, alt=alt, marked="not the namespace that this notebook is in"
    )


def _node(one: Any, here: dict[str, int]) -> Node:
    first = str(one.pids[0]) if one.pids else ""
    cells = (str(len(one.pids)) if one.pids else "none", first, short(one.command.split()))
    return Node(str(one), cells, marked=here.get(one.kind) != one.inode)
