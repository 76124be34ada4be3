"""A process in new namespaces: that is all that a container is. See clone(2), namespaces(7).

Thin over :mod:`kit.linux.spawn`: names are checked, and what would change the whole machine is refused
before anything is made.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from kit.linux import spawn
from kit.linux.mount import MountFlags
from kit.linux.spawn import PIPE, Mount, Process, Result
from kit.namespaces.names import host_name, known, words

#: What a process with a root of its own gets as environment, instead of the notebook's.
ENVIRONMENT = {"PATH": "/bin:/sbin:/usr/bin:/usr/sbin", "HOME": "/root", "TERM": "dumb"}

_NEEDS = {
    "hostname": ("uts", "it would rename the whole machine"),
    "mounts": ("mount", "the mounts would appear in the whole machine"),
    "proc": ("mount", "the fresh /proc would cover the whole machine's"),
    "root": ("mount", "pivot_root would change the root of the whole machine"),
    "loopback": ("network", "it would change the machine's own interface"),
    "uid_map": ("user", "users are mapped in a user namespace only"),
    "gid_map": ("user", "groups are mapped in a user namespace only"),
    "time_offsets": ("time", "clocks are shifted in a time namespace only"),
}


def start(
    argv: str | Sequence[str],
    new: str | Iterable[str] = (),
    *,
    hostname: str | None = None,
    proc: bool = False,
    root: str | os.PathLike[str] | None = None,
    mounts: Iterable[Mount] = (),
    **how: Any,
) -> Process:
    """Start a program in new namespaces of the kinds in ``new``: "uts pid", ["uts", "pid"], or "all".

    ``hostname`` is its host name (1 to 64 bytes; needs a new uts namespace). ``proc`` mounts a fresh /proc,
    which shows the new PID namespace; without it the old /proc stays, and shows the old one. ``root`` is the
    directory to pivot_root into, ``mounts`` are made before that. Its output waits in ``stdout`` and
    ``stderr``, which are pipes unless told otherwise. All else (``uid_map``, ``time_offsets``, ``cgroups``,
    ``env``, ``stdin`` ...) is handed to :func:`kit.linux.spawn.start`.

    Raises ValueError for a namespace that doesn't exist or a wish that would hit the whole machine;
    KernelError, naming the step, where the kernel refuses (EPERM without privilege: a new "user" namespace
    beside the others helps). Nothing is left then.
    """
    how |= {"hostname": hostname, "proc": proc, "root": root, "mounts": tuple(mounts)}
    return spawn.start(words(argv), **{"stdout": PIPE, "stderr": PIPE, **_checked(known(new), how)})


def run(
    argv: str | Sequence[str], new: str | Iterable[str] = (), *, timeout: float | None = 30, **how: Any
) -> Result:
    """Start a program as :func:`start` does, wait for its end and hand back what it said: ``print`` that.

    ``timeout`` is in seconds; after it the program is killed and TimeoutError raised.
    """
    return spawn.run(words(argv), timeout=timeout, **_checked(known(new), how))


def _checked(kinds: tuple[str, ...], how: dict[str, Any]) -> dict[str, Any]:
    """The wishes in the words of kit.linux.spawn, once none of them can hit the whole machine."""
    for wish, (kind, otherwise) in _NEEDS.items():
        if how.get(wish) and kind not in kinds and kind not in (how.get("join") or {}):
            raise ValueError(f"{wish}= needs a new {kind} namespace: {otherwise}. Add {kind!r} to new=.")
    if how.get("hostname") is not None:
        host_name(how["hostname"])
    if how.get("root") is not None:
        how = {"env": ENVIRONMENT, **how, "root": os.fspath(how["root"])}
    mounts = tuple(how.get("mounts", ()))
    if how.pop("proc", False):
        mounts += (fresh_proc(how.get("root") or "/"),)
    return {**how, "unshare": kinds, "mounts": mounts}


def fresh_proc(root: str) -> Mount:
    """A new /proc below ``root``, to be mounted before pivot_root(2).

    In a user namespace the kernel allows a new /proc only while an old one can be seen unobstructed, so that
    nothing comes to light that was covered; after the pivot none is left. See mount_too_revealing() in the
    kernel's fs/namespace.c.
    """
    return Mount(
        "proc", os.path.join(root, "proc"), "proc", MountFlags.NOSUID | MountFlags.NODEV | MountFlags.NOEXEC
    )
