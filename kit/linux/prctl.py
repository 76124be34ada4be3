"""Settings that a process makes for itself. See prctl(2)."""

from __future__ import annotations

from kit.linux.libc import call, libc

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4


def prctl(option: int, arg2: int = 0, arg3: int = 0) -> int:
    """The raw call, with unused arguments zero. Raises OSError."""
    return call(libc.prctl, option, arg2, arg3, 0, 0)


def die_with_parent(signal: int) -> None:
    """Ask for ``signal`` when the parent ends.

    Cleared by a change of credentials. See PR_SET_PDEATHSIG(2const).
    """
    prctl(PR_SET_PDEATHSIG, signal)


def no_new_privileges() -> None:
    """From now on no exec gains privileges.

    Set-user-ID bits and file capabilities are ignored. Can't be undone.
    """
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def become_subreaper() -> None:
    """Adopt orphaned descendants, as PID 1 does for its namespace. See PR_SET_CHILD_SUBREAPER(2const)."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
