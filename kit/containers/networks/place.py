"""The container's side of its networks: interfaces, the way out, the name server. See ip-address(8)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from socket import if_nametoindex
from typing import TYPE_CHECKING, Any

from kit.containers.networks.resolver import Resolver
from kit.linux.child import loopback_up
from kit.linux.errors import KernelError
from kit.linux.netlink import visit

if TYPE_CHECKING:
    from kit.containers.networks.network import Endpoint, Network

_places: dict[int, Place] = {}


class Place:
    """A network namespace, held by a descriptor as long as something is plugged into it.

    Its default route leads out by the first of its networks that is not internal.
    """

    def __init__(self, fd: int) -> None:
        self.fd, self.path = fd, f"/proc/self/fd/{fd}"
        self.endpoints: list[Endpoint] = []
        self._resolver: Resolver | None = None

    def next_interface(self) -> str:
        """The first of eth0, eth1, ... that none of its endpoints has."""
        taken = {endpoint.interface for endpoint in self.endpoints}
        return next(name for number in range(len(taken) + 1) if (name := f"eth{number}") not in taken)

    def plug_in(self, endpoint: Endpoint) -> None:
        """Give the interface its address and switch it on."""

        def plug(ip: Any) -> None:
            index = if_nametoindex(endpoint.interface)
            ip.addr("add", index=index, address=endpoint.ip, prefixlen=endpoint.network.prefixlen)
            ip.link("set", index=index, state="up")
            loopback_up()

        self._inside(f"plug {endpoint.interface} into the network {endpoint.network.name}", plug)
        if endpoint.network.resolves and self._resolver is None:
            self._resolver = Resolver(self._networks, self.path)

    def _networks(self) -> list[Network]:
        return [endpoint.network for endpoint in self.endpoints]

    def unplug(self, endpoint: Endpoint, ended: bool) -> None:
        """The interface has gone; after the last one the namespace is let go."""
        self.endpoints.remove(endpoint)
        if self.endpoints:
            self._inside("find another way out", lambda ip: None)
            return
        if self._resolver is not None:
            self._resolver.close(ended)
        del _places[os.fstat(self.fd).st_ino]
        os.close(self.fd)

    def _inside(self, what: str, work: Callable[[Any], None]) -> None:
        from pyroute2 import IPRoute

        def inside() -> None:
            with IPRoute() as ip:
                work(ip)
                outside = [each.network.gateway for each in self.endpoints if not each.network.internal]
                if outside:
                    ip.route("replace", dst="default", gateway=outside[0])

        visit(what, inside, self.path)


def at(netns: int | str) -> Place:
    """The place where a process is (its number), or at the path of a network namespace.

    Raises KernelError: ENOENT where it has ended, EINVAL for the machine's own.
    """
    path = f"/proc/{netns}/ns/net" if isinstance(netns, int) else netns
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        remedy = "The container has ended: start it, then connect it."
        raise KernelError(f"open the network namespace {path}", error.errno or 0, remedy) from None
    inode = os.fstat(fd).st_ino
    if inode in _places:
        os.close(fd)
        return _places[inode]
    if inode == os.stat("/proc/self/ns/net").st_ino:
        os.close(fd)
        remedy = "It has the machine's own network (--network host), which is not plugged into another."
        raise KernelError(f"connect {path}", errno.EINVAL, remedy)
    return _places.setdefault(inode, Place(fd))
