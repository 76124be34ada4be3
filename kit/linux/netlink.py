"""Asking the kernel about its network, in its own words. See netlink(7), setns(2).

pyroute2 knows how each message is written, and several go in one datagram. Its sockets stay unused: each
begins an event loop, which takes a thread of its own and longer than what is asked.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pkgutil import resolve_name
from typing import Any, TypeVar

from kit.linux.clone import CLONE_NEWNET, setns, unshare
from kit.linux.errors import KernelError

T = TypeVar("T")
Request = tuple[str, int, int, dict[str, Any]]
"""The class of the message in pyroute2.netlink, its type and flags, its fields and attributes."""

ROUTE, NETFILTER = 0, 12  # whom to ask: links, addresses and routes, or packet rules
DUMP, REPLACE, NEW, APPEND = 0x300, 0x500, 0x600, 0xC00  # NLM_F_: DUMP; CREATE and REPLACE, EXCL, APPEND
NLM_F_REQUEST, NLMSG_ERROR, NLMSG_DONE = 1, 2, 3

_REMEDIES = {
    "EPERM": "Needs CAP_NET_ADMIN, and CAP_SYS_ADMIN to enter another network namespace: be root.",
    "EEXIST": "There is one already: choose another name or address.",
    "EOPNOTSUPP": "This kernel has no such kind of link or rule: see `kit doctor`.",
    "EINVAL": "The kernel takes no such value: is the path a network namespace's?",
    "ERANGE": "The name of a link has 15 bytes at most.",
    "ENODEV": "No such interface there.",
    "ENOENT": "What it is about has ended meanwhile, or this kernel has no such rule.",
    "EROFS": "It takes a /proc/sys that can be written; an internal network does without.",
}


def attributes(prefix: str, **values: Any) -> dict[str, Any]:
    """As pyroute2 wants them: of IFLA and ifname="lo" it is {"attrs": [("IFLA_IFNAME", "lo")]}."""
    return {"attrs": [(f"{prefix}_{name}".upper(), value) for name, value in values.items()]}


def ask(whom: int, *requests: Request) -> list[Any]:
    """Send requests in one go; the messages that the kernel answers with, of the first one's class.

    It does as asked before send(2) returns, and then says only what went wrong: OSError with the first errno.
    """
    forms = [resolve_name(f"pyroute2.netlink.{form}") for form, *_ in requests]
    data, answers = b"", []
    for form, (_, kind, flags, value) in zip(forms, requests, strict=True):
        message = form()
        message.update(value)
        message["header"].update(type=kind, flags=flags | NLM_F_REQUEST)
        message.encode()
        data += message.data
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, whom) as sock, suppress(BlockingIOError):
        sock.send(data)
        while said := sock.recv(1 << 16, socket.MSG_DONTWAIT):
            while said:
                size, kind = struct.unpack_from("=IH", said)
                if kind == NLMSG_ERROR:
                    number = -struct.unpack_from("=i", said, 16)[0]
                    raise OSError(number, os.strerror(number))
                if kind != NLMSG_DONE:
                    answers.append(forms[0](said[:size]))
                    answers[-1].decode()
                said = said[size + 3 & ~3 :]
    return answers


@contextmanager
def trying(what: str) -> Iterator[None]:
    """The kernel's refusal of what is tried inside becomes a KernelError that begins with ``what``."""
    try:
        yield
    except KernelError:
        raise
    except OSError as error:
        refused = KernelError(what, error.errno or 0)
        refused.remedy = _REMEDIES.get(refused.errno_name, "")
        raise refused from None


def visit(what: str, netns: str, work: Callable[[], T]) -> T:
    """``work()`` in the network namespace at a path, by a thread that ends there: setns(2) moves its caller.

    Raises KernelError, beginning with ``what``, where the kernel refuses.
    """
    from concurrent.futures import ThreadPoolExecutor

    def away() -> T:
        with open(netns) as file:
            setns(file.fileno(), CLONE_NEWNET)
        return work()

    with ThreadPoolExecutor(1, "netlink") as thread:
        done = thread.submit(away)
    with trying(what):
        answer = done.result()
    return answer


def new_namespace() -> int:
    """A descriptor of a new network namespace, which lasts as long as somebody has one. See unshare(2)."""

    def make() -> int:
        unshare(CLONE_NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return visit("make a network namespace", "/proc/self/ns/net", make)
