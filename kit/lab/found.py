"""A container found on the host: what it is from outside, and what it sees of that from inside."""

from __future__ import annotations

from typing import Any

from kit.show import Table


def found(container: Any, title: str = "the container, from both sides") -> Table:
    """A table of what a running container is on this host, beside how it looks from inside.

    Its processes with both numbers, its namespaces beside ours, its control groups and their limits, the
    mount that is its root, its interface and the bridge that this is plugged into: all but the name is read
    from the kernel, by the number of its first process. ``container`` is a pid, something with ``.pid``, or
    what inspect tells of it (``client.containers.get("web").attrs``, or one of ``docker inspect``'s list).
    Raises KernelError: ESRCH when it has ended, EPERM without root; ValueError for one that does not run.
    """
    raise NotImplementedError
