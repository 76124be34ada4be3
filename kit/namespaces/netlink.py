"""Talking to the kernel about links and addresses inside a network namespace.

See rtnetlink(7), netlink(7), setns(2).

pyroute2 speaks the protocol. It runs in a thread of its own, for two reasons: a notebook kernel's main
thread already runs an event loop, and setns(2) moves only the thread that calls it into the network
namespace, and the thread ends right after.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from kit.linux.clone import CLONE_NEWNET, setns
from kit.linux.errors import KernelError

T = TypeVar("T")

_REMEDIES = {
    "EPERM": "Needs CAP_SYS_ADMIN and CAP_NET_ADMIN where the network namespace was made: be root.",
    "EEXIST": "There is one already: choose another name or address.",
    "EOPNOTSUPP": "This kernel has no such kind of link: see `kit doctor`.",
    "ENODEV": "No such interface there.",
    "ENOENT": "The host has been closed meanwhile.",
    "ESRCH": "The host has been closed meanwhile.",
}


def in_network(pid: int, what: str, work: Callable[[Any], T]) -> T:
    """``work(ip)`` with a pyroute2 ``IPRoute`` in the network namespace of a process; its answer.

    Raises KernelError, beginning with ``what``, where the kernel refuses: EPERM without privilege, ESRCH or
    ENOENT when the process has gone.
    """
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    answers: list[T] = []
    errors: list[BaseException] = []

    def visit() -> None:
        try:
            fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                setns(fd, CLONE_NEWNET)
            finally:
                os.close(fd)
            with IPRoute() as ip:
                answers.append(work(ip))
        except BaseException as error:  # whatever it is, it is raised again below, in the thread that asked
            errors.append(error)

    thread = threading.Thread(target=visit, name=f"netlink-{pid}")
    thread.start()
    thread.join()
    if not errors:
        return answers[0]
    error = errors[0]
    if isinstance(error, KernelError) or not isinstance(error, (OSError, NetlinkError)):
        raise error
    number = (error.code if isinstance(error, NetlinkError) else error.errno) or 0
    refused = KernelError(what, number)
    refused.remedy = _REMEDIES.get(refused.errno_name, "")
    raise refused from None
