"""A control group and those below it: how many processes, which limits, how full."""

from __future__ import annotations

from typing import Any

from kit.lab.picture import Picture
from kit.lab.tree import Bar, Node, count, draw_tree

MIB = 1 << 20


def cgroup_tree(group: Any, title: str = "cgroup tree") -> Picture:
    """Draw a group of ``kit.cgroups`` and the groups below it, with their limits and what they use now.

    A memory bar is full at the group's own ``memory.max``, and turns vermillion above nine tenths. Values
    that this machine or group doesn't have stay empty. Raises KernelError when the group has been removed.
    """
    root = _node(group)
    said = []
    for _, node in root.walk():
        said.append(
            f"{node.name}: {count(int(node.cells[0]))}, CPU limit {node.cells[1] or 'unknown'}, weight "
            f"{node.cells[2] or 'unknown'}, memory {node.bar.said if node.bar else 'unknown'}."
        )
    columns = ("processes", "CPU limit", "CPU weight", "memory")
    return draw_tree(
        [root], columns, title=title, alt=f"Tree of {count(len(said), 'control group')}. {' '.join(said)}"
    )


def _node(group: Any) -> Node:
    processes = len(group.pids(below=True))
    limit = _read(group, "cpu.max")
    cpu = (
        ""
        if limit is None
        else "none"
        if limit[0] == "max"
        else f"{100 * limit[0] / limit[1]:g} % of one CPU"
    )
    weight = _read(group, "cpu.weight")
    cells = (str(processes), cpu, "" if weight is None else str(weight))
    return Node(group.name, cells, [_node(child) for child in group.children], bar=_memory(group))


def _memory(group: Any) -> Bar | None:
    used, most = _read(group, "memory.current"), _read(group, "memory.max")
    if used is None:
        return None
    if most in (None, "max"):
        return Bar(0.0, f"{used / MIB:.1f} MiB, no limit")
    return Bar(used / most if most else 1.0, f"{used / MIB:.1f} of {most / MIB:g} MiB", full_is_trouble=True)


def _read(group: Any, name: str) -> Any:
    try:
        return group[name]
    except OSError:  # no such controller here, or v1 has no such file
        return None
