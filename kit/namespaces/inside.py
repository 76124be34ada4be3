"""Going where another process already is. See setns(2), nsenter(1).

A namespace is entered through a member's link, /proc/PID/ns/KIND. The process that enters is a new one:
nobody is moved who did not ask, and a notebook kernel, with its many threads, could not enter a user
namespace itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kit.linux import proc, spawn
from kit.linux.spawn import PIPE, Process, Result
from kit.namespaces.members import HasPid, of, pid_of
from kit.namespaces.names import known, words
from kit.namespaces.process import ENVIRONMENT


class Inside:
    """The place where a process is: the namespaces in which it differs from us, or only those of the kinds
    in ``only``.
    """

    def __init__(self, target: int | HasPid, only: str | Iterable[str] | None = None) -> None:
        self._target = target
        self._only = None if only is None else known(only)
        pid_of(target)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of namespace that will be entered."""
        own = of(self._target).own
        return own if self._only is None else tuple(kind for kind in own if kind in self._only)

    def start(self, argv: str | Sequence[str], **how: Any) -> Process:
        """Start a program there; ``how`` is handed to :func:`kit.linux.spawn.start`.

        In a user namespace that has a root, it runs as that root. Raises KernelError: ESRCH when the
        process has gone; EPERM without CAP_SYS_ADMIN in the user namespace that owns what is to be entered.
        """
        return spawn.start(words(argv), **{"stdout": PIPE, "stderr": PIPE, **self._joined(how)})

    def run(self, argv: str | Sequence[str], *, timeout: float | None = 30, **how: Any) -> Result:
        """Run a program there to its end, at most ``timeout`` seconds, and hand back what it said."""
        return spawn.run(words(argv), timeout=timeout, **self._joined(how))

    def _joined(self, how: dict[str, Any]) -> dict[str, Any]:
        pid, kinds = pid_of(self._target), self.kinds
        if "user" in kinds and _maps_root(pid):
            how = {"user": (0, 0), **how}
        if "mount" in kinds:
            how = {"env": ENVIRONMENT, **how}
        return {**how, "join": dict.fromkeys(kinds, pid)}


def _maps_root(pid: int) -> bool:
    return all(any(first == 0 for first, _, _ in ranges) for ranges in (proc.uid_map(pid), proc.gid_map(pid)))


def inside(target: int | HasPid, only: str | Iterable[str] | None = None) -> Inside:
    """``inside(process).run("hostname")`` asks where the process is, ``inside(process, only="network")``
    enters that one alone.

    Raises KernelError ESRCH when the process has gone, ValueError for a namespace that doesn't exist.
    """
    return Inside(target, only)
