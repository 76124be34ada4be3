"""A process and all below it: numbers outside and inside, and which namespaces are its own."""

from __future__ import annotations

from typing import Any

from kit.lab.picture import Picture
from kit.lab.tree import Node, draw_tree, short
from kit.linux import proc
from kit.linux.errors import KernelError


def process_tree(pid: Any, title: str = "process tree") -> Picture:
    """Draw a process (a pid, or something with ``.pid``) and its descendants.

    Each row gives the pid here, the pid inside its own pid namespace, its state, and the namespaces in which
    it differs from its parent. Sources: proc_pid_status(5) (NSpid), namespaces(7). Raises KernelError (ESRCH)
    when it has ended.
    """
    import psutil

    number = int(getattr(pid, "pid", pid))
    try:
        top = psutil.Process(number)
        family = [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        raise KernelError(
            f"draw the tree of process {number}", 3, "No process has that number (any more)."
        ) from None
    nodes: dict[int, Node] = {}
    inside: dict[int, str] = {}
    for process in family:
        node = _node(process.pid)
        if node is None:
            continue
        nodes[process.pid] = node
        inside[process.pid] = node.cells[1]
        if process.pid != number:
            above = nodes.get(proc_parent(process.pid) or number, nodes[number])
            above.children.append(node)
    count = len(nodes)
    alt = f"Process {number} ({nodes[number].name}) and {count - 1} below it. " + " ".join(
        f"{node.name}: pid {number} here, {inside[number] or number} inside; "
        f"own namespaces: {node.cells[3] or 'none'}."
        for number, node in nodes.items()
    )
    columns = ("pid here", "pid inside", "state", "own namespaces")
    return draw_tree([nodes[number]], columns, title=title, alt=alt, marked="in namespaces of its own")


STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "waiting for a device",
    "T": "stopped",
    "Z": "zombie",
    "I": "idle",
}


def proc_parent(pid: int) -> int | None:
    """The parent's pid, or None when the process has ended meanwhile."""
    try:
        return proc.parent(pid)
    except KernelError:
        return None


def _node(pid: int) -> Node | None:
    try:
        status = proc.status(pid)
        own = _own(pid)
    except KernelError:
        return None  # it ended while we looked
    inner = status.get("NSpid", "").split()
    command = called(proc.command(pid)) or status.get("Name", "?")
    state = STATES.get(status.get("State", "?")[0], status.get("State", "?"))
    return Node(
        command,
        (str(pid), inner[-1] if len(inner) > 1 else "", state, ", ".join(own)),
        marked=bool(own),
    )


def called(words: list[str]) -> str:
    """A command line for a narrow column."""
    if any("kit.linux.helper" in word for word in words):
        return "python (the kit's helper, which makes processes)"
    return short(words)


def _own(pid: int) -> list[str]:
    try:
        mine, above = proc.namespaces(pid), proc.namespaces(proc.parent(pid))
    except KernelError:
        return []  # a zombie has none, and other users' stay closed
    return [name for name, inode in mine.items() if above.get(name) != inode]
