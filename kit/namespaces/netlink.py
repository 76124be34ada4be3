"""pyroute2 inside a network namespace. See rtnetlink(7)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from kit.linux.netlink import visit

T = TypeVar("T")


def in_network(pid: int, what: str, work: Callable[[Any], T]) -> T:
    """``work(ip)`` with a pyroute2 ``IPRoute`` in the network namespace of a process; its answer.

    In a thread of its own, as an ``IPRoute`` needs it where an event loop runs, in a notebook kernel. Raises
    KernelError, beginning with ``what``, where the kernel refuses: EPERM without privilege, ESRCH or ENOENT
    when the process has gone.
    """
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    def inside() -> T:
        try:
            with IPRoute() as ip:
                return work(ip)
        except NetlinkError as error:
            raise OSError(error.code, os.strerror(error.code)) from None

    return visit(what, f"/proc/{pid}/ns/net", inside)
