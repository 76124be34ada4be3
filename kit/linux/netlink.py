"""Asking the kernel about links, routes and packet rules. See netlink(7), rtnetlink(7), setns(2).

pyroute2 speaks the protocol. It runs in a thread of its own, for two reasons: the caller's may run an event
loop already, and setns(2) moves only the thread that calls it, which ends right after.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from kit.linux.clone import CLONE_NEWNET, setns
from kit.linux.errors import KernelError

T = TypeVar("T")

_REMEDIES = {
    "EPERM": "Needs CAP_NET_ADMIN, and CAP_SYS_ADMIN to enter another network namespace: be root.",
    "EEXIST": "There is one already: choose another name or address.",
    "EOPNOTSUPP": "This kernel has no such kind of link or rule: see `kit doctor`.",
    "EINVAL": "The kernel takes no such value: is the path a network namespace's?",
    "ERANGE": "The name of a link has 15 bytes at most.",
    "ENOENT": "What it is about has ended meanwhile, or this kernel has no such rule.",
}


def visit(what: str, work: Callable[[], T], netns: str | None = None) -> T:
    """``work()`` in a thread that has entered the network namespace at the path ``netns`` (default: ours).

    Raises KernelError, beginning with ``what``, where the kernel refuses.
    """
    from pyroute2.netlink.exceptions import NetlinkError

    done: Future[T] = Future()

    def run() -> None:
        try:
            if netns is not None:
                fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    setns(fd, CLONE_NEWNET)
                finally:
                    os.close(fd)
            done.set_result(work())
        except BaseException as error:  # whatever it is, the thread that asked raises it again
            done.set_exception(error)

    thread = threading.Thread(target=run, name="netlink")
    try:
        thread.start()
    except RuntimeError:  # at the program's end, from Python 3.12 on: no loop runs then
        run()
    try:
        return done.result()
    except (OSError, NetlinkError) as error:
        refused = KernelError(what, (error.code if isinstance(error, NetlinkError) else error.errno) or 0)
        refused.remedy = _REMEDIES.get(refused.errno_name, "")
        raise refused from None


def link_exists(name: str) -> bool:
    """Whether a link of this name is in our network namespace."""
    return name in (link for _, link in socket.if_nameindex())


def remove_link(name: str) -> None:
    """Remove a link by its exact name, with its other end; gone already is fine. Raises KernelError EPERM."""
    from pyroute2 import IPRoute

    def remove() -> None:
        with IPRoute() as ip:
            ip.link("del", ifname=name)

    with suppress(KernelError):
        visit(f"remove the link {name}", remove)
    if link_exists(name):
        raise KernelError(f"remove the link {name}", errno.EPERM, _REMEDIES["EPERM"])
