"""The eight names, and a helping hand for a mistyped one. See namespaces(7)."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from kit.linux.clone import NAMESPACES, NS_LINKS

HOSTNAME_MAX = 64
"""Bytes; the kernel's __NEW_UTS_LEN, see sethostname(2)."""


def known(names: str | Iterable[str]) -> tuple[str, ...]:
    """The names as a tuple, each one of the eight, none twice; "all" stands for all of them.

    A single string may hold several names: "uts pid". Raises ValueError, with the nearest name, for one
    that doesn't exist.
    """
    wanted = names.replace(",", " ").split() if isinstance(names, str) else list(names)
    if wanted == ["all"]:
        return tuple(NAMESPACES)
    for name in wanted:
        if name not in NAMESPACES:
            raise ValueError(
                f"there is no namespace {name!r}: {_nearest(name)}The eight are {', '.join(NAMESPACES)}."
            )
    return tuple(dict.fromkeys(wanted))


def _nearest(name: str) -> str:
    by_link = {link: kind for kind, link in NS_LINKS.items()}
    near = (
        [by_link[name]] if name in by_link else get_close_matches(name.lower(), NAMESPACES, n=1, cutoff=0.5)
    )
    return f"did you mean {near[0]!r}? " if near else ""


def host_name(name: str) -> str:
    """The name, if the kernel will take it as a host name.

    Raises ValueError otherwise, before anything is made.
    """
    size = len(name.encode())
    if not 0 < size <= HOSTNAME_MAX:
        raise ValueError(f"a host name has 1 to {HOSTNAME_MAX} bytes, this one has {size}: {name[:80]!r}")
    return name


def words(argv: str | Sequence[str]) -> list[str]:
    """A command as the list that execve(2) wants: a string is split as a shell would split it, without
    running a shell.
    """
    return shlex.split(argv) if isinstance(argv, str) else [str(word) for word in argv]
