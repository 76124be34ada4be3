"""The container's side of its networks: interfaces, the way out, the name server. See ip-address(8)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from kit.containers.networks.resolver import Resolver
from kit.linux.child import loopback_up
from kit.linux.errors import KernelError
from kit.linux.links import add_address, lead_out_by
from kit.linux.netlink import visit

if TYPE_CHECKING:
    from kit.containers.networks.network import Endpoint

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
        """Give the interface its address, and have names answered."""
        network = endpoint.network

        def plug() -> Resolver | None:
            add_address(endpoint.interface, endpoint.ip, network.prefixlen)
            loopback_up()
            self._lead_out()
            return Resolver(self.endpoints) if network.resolves and self._resolver is None else None

        if resolver := visit(f"plug {endpoint.interface} into the network {network.name}", self.path, plug):
            self._resolver = resolver
            resolver.serve()

    def _lead_out(self) -> None:
        outside = [endpoint.network.gateway for endpoint in self.endpoints if not endpoint.network.internal]
        if outside:
            lead_out_by(outside[0])

    def unplug(self, endpoint: Endpoint, ended: bool) -> None:
        """The interface has gone; after the last one the namespace is let go."""
        self.endpoints.remove(endpoint)
        if self.endpoints:
            visit("find another way out", self.path, self._lead_out)
            return
        if self._resolver is not None:
            self._resolver.close()
            if not ended:
                visit("take the name server's rules back", self.path, self._resolver.remove_rules)
        del _places[os.fstat(self.fd).st_ino]
        os.close(self.fd)


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
