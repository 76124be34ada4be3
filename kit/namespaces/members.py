"""One process's namespaces, and the processes that share its PID namespace.

See namespaces(7), pid_namespaces(7).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from kit.linux import proc
from kit.linux.errors import KernelError
from kit.namespaces.shown import Shown
from kit.namespaces.tree import command
from kit.show import Table


class HasPid(Protocol):
    """Anything that stands for a process: one that `start` made, a network host."""

    @property
    def pid(self) -> int: ...


def pid_of(target: int | HasPid) -> int:
    """The number of a living process, as our PID namespace counts.

    Raises KernelError ESRCH when there is none; TypeError for what stands for no process.
    """
    if not isinstance(target, int) and not isinstance(getattr(target, "pid", None), int):
        raise TypeError(f"a process, or the number of one, is wanted here, and not {target!r}")
    pid = target if isinstance(target, int) else target.pid
    ended = getattr(target, "poll", None)  # after its end the number may be another process's
    try:
        state = proc.state(pid) if ended is None or ended() is None else "gone"
    except KernelError:
        state = "gone"
    if state in ("gone", "Z", "X"):
        remedy = "It has ended, or never was: `lsns` and `ps` list those that live. Start a new one."
        raise KernelError(f"look at process {pid}", errno.ESRCH, remedy)
    return pid


@dataclass(frozen=True)
class Membership(Shown):
    """The namespaces that one process is in, beside our own."""

    pid: int
    inodes: dict[str, int]
    ours: dict[str, int]

    def __getitem__(self, kind: str) -> int:
        return self.inodes[kind]

    @property
    def shared(self) -> tuple[str, ...]:
        """The kinds in which it is where we are."""
        return tuple(kind for kind, inode in self.inodes.items() if self.ours.get(kind) == inode)

    @property
    def own(self) -> tuple[str, ...]:
        """The kinds in which it is somewhere else than we are."""
        return tuple(kind for kind in self.inodes if kind not in self.shared)

    def table(self) -> Table:
        rows = [
            (kind, inode, self.ours.get(kind, "-"), "shared" if kind in self.shared else "its own")
            for kind, inode in self.inodes.items()
        ]
        columns = ("namespace", "the process's", "ours", "")
        return Table("the namespaces of one process", columns, rows, f"The process is number {self.pid}.")


def of(target: int | HasPid) -> Membership:
    """The namespaces of a process.

    Raises KernelError: ESRCH when it has gone, EACCES when it is another user's.
    """
    pid = pid_of(target)
    return Membership(pid, proc.namespaces(pid), proc.namespaces("self"))


@dataclass(frozen=True)
class Member:
    """A process in a PID namespace, with a number for each side."""

    pid: int
    """Outside: in our own PID namespace."""
    inside: int
    """Inside: in the innermost PID namespace that it is in (the last number of NSpid in /proc/PID/status)."""
    parent: int
    """Its parent's number outside."""
    state: str
    """S sleeping, R running, Z zombie ..., see proc_pid_stat(5)."""
    command: str


@dataclass(frozen=True)
class Members(Shown):
    """The processes of a PID namespace, lowest inside number first."""

    processes: tuple[Member, ...]

    def __iter__(self) -> Iterator[Member]:
        return iter(self.processes)

    def __len__(self) -> int:
        return len(self.processes)

    def table(self) -> Table:
        rows = [(one.inside, one.pid, one.parent, one.state, one.command[:70]) for one in self]
        columns = ("pid inside", "pid outside", "parent outside", "state", "command")
        return Table("the processes of one PID namespace", columns, rows)


def members(target: int | HasPid) -> Members:
    """The processes in the same PID namespace as this one, zombies included; not those in nested ones.

    Raises KernelError ESRCH when the process itself has gone.
    """
    namespace = proc.namespaces(pid_of(target))["pid"]
    found = [member for pid in proc.pids() if (member := _member(pid, namespace))]
    return Members(tuple(sorted(found, key=lambda one: one.inside)))


def _member(pid: int, namespace: int) -> Member | None:
    try:
        if proc.namespaces(pid).get("pid") != namespace:
            return None
        status = proc.status(pid)
        inside = int(status["NSpid"].split()[-1])
        return Member(pid, inside, int(status["PPid"]), status["State"][:1], command(pid))
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM):
            return None  # it ended meanwhile, or is not ours to see
        raise
