"""What the kernel knows about namespaces and networks, as plain data.

Nothing here asks the kernel anything: `tree.py` and `network.py` fill these in, the laboratory draws them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kit.namespaces.shown import Shown
from kit.show import Table


@dataclass(frozen=True)
class Namespace:
    """One namespace, as the inode number in /proc/PID/ns names it (namespaces(7))."""

    kind: str
    """One of the eight names: mount, uts, ipc, pid, network, user, cgroup, time."""
    inode: int
    """The number in `uts:[4026531838]`: the same number is the same namespace."""
    owner: int | None
    """Inode of the user namespace that owns it; None where the kernel would not say."""
    parent: int | None
    """Inode of the parent (only pid and user namespaces have one); None for the first, or where hidden."""
    pids: tuple[int, ...]
    """Its members as numbered in our /proc, lowest first; empty when only a child or a file holds it."""
    command: str = ""
    """The command line of the lowest member."""
    owner_uid: int | None = None
    """Only for user namespaces: the user that made it, as our user namespace numbers users."""

    def __str__(self) -> str:
        return f"{self.kind}:[{self.inode}]"


@dataclass(frozen=True)
class NamespaceTree(Shown):
    """Every namespace found through /proc at one moment."""

    namespaces: tuple[Namespace, ...]
    here: dict[str, int]
    """The namespaces of the process that looked: kind -> inode."""
    unreadable: int = 0
    """How many processes would not show their namespaces (they belong to other users)."""

    def __iter__(self) -> Iterator[Namespace]:
        return iter(self.namespaces)

    def __len__(self) -> int:
        return len(self.namespaces)

    def get(self, inode: int) -> Namespace | None:
        """The namespace with this inode number, or None."""
        return next((ns for ns in self.namespaces if ns.inode == inode), None)

    def children(self, inode: int) -> tuple[Namespace, ...]:
        """The pid or user namespaces whose parent is this one."""
        return tuple(ns for ns in self.namespaces if ns.parent == inode)

    def owned_by(self, inode: int) -> tuple[Namespace, ...]:
        """The namespaces that this user namespace owns."""
        return tuple(ns for ns in self.namespaces if ns.owner == inode and ns.kind != "user")

    def kind(self, *kinds: str) -> NamespaceTree:
        """Only the namespaces of these kinds."""
        return self._keep(lambda ns: ns.kind in kinds)

    def of(self, *pids: int) -> NamespaceTree:
        """Only the namespaces that these processes are members of, and our own beside them."""
        return self._keep(lambda ns: bool(set(pids) & set(ns.pids)) or self.here.get(ns.kind) == ns.inode)

    def new(self) -> NamespaceTree:
        """Only the namespaces that we ourselves are not in."""
        return self._keep(lambda ns: self.here.get(ns.kind) != ns.inode)

    def _keep(self, wanted: Callable[[Namespace], bool]) -> NamespaceTree:
        return NamespaceTree(tuple(ns for ns in self.namespaces if wanted(ns)), self.here, self.unreadable)

    def table(self) -> Table:
        """One row for each namespace."""
        rows = [
            (
                f"{ns.kind}:[{ns.inode}]" + (" (ours)" if self.here.get(ns.kind) == ns.inode else ""),
                len(ns.pids),
                ns.pids[0] if ns.pids else "-",
                ns.command[:40],
                ns.owner or "-",
                ns.parent or "-",
            )
            for ns in self.namespaces
        ]
        hidden = (
            f"{self.unreadable} processes would not show theirs: they belong to others, or hold more rights."
        )
        note = hidden if self.unreadable else ""
        columns = ("namespace", "processes", "lowest pid", "its command", "owner (user ns)", "parent")
        return Table("namespaces of this machine", columns, rows, note)


@dataclass(frozen=True)
class Interface:
    """One network interface inside one network namespace."""

    name: str
    kind: str
    """loopback, veth or bridge."""
    index: int
    mac: str
    addresses: tuple[str, ...]
    """With the prefix length: 10.0.0.1/24."""
    up: bool
    """Switched on, with somebody at the other end (the carrier)."""


@dataclass(frozen=True)
class Node:
    """One network namespace of a drawing: a host, or a bridge that stands in one of its own."""

    name: str
    kind: str
    """host or bridge."""
    namespace: int
    """Inode of the network namespace."""
    pid: int
    """The process that holds the namespace open."""
    interfaces: tuple[Interface, ...]


@dataclass(frozen=True)
class Link:
    """One veth pair: a cable with an interface at each end."""

    a: str
    a_interface: str
    b: str
    b_interface: str


@dataclass(frozen=True)
class Topology(Shown):
    """Hosts and bridges, and the cables between them, read back from the kernel."""

    hosts: tuple[Node, ...]
    links: tuple[Link, ...]

    def table(self) -> Table:
        """One row for each interface, with the other end of its cable."""
        other = {(link.a, link.a_interface): f"{link.b} {link.b_interface}" for link in self.links}
        other |= {(link.b, link.b_interface): f"{link.a} {link.a_interface}" for link in self.links}
        rows = [
            (
                node.name,
                one.name,
                one.kind,
                ", ".join(one.addresses),
                "up" if one.up else "down",
                one.mac,
                other.get((node.name, one.name), ""),
            )
            for node in self.hosts
            for one in node.interfaces
        ]
        return Table("network", ("where", "interface", "kind", "address", "state", "mac", "cable to"), rows)
