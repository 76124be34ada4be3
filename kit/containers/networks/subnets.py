"""Addresses: a subnet that nobody on this machine uses yet, and leases from it. See ip-route(8)."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network

from kit.linux.netlink import visit

#: Docker's default pools: fifteen subnets of 65,534 addresses, then sixteen of 4,094.
POOLS = [IPv4Network(f"172.{number}.0.0/16") for number in range(17, 32)]
POOLS += IPv4Network("192.168.0.0/16").subnets(new_prefix=20)


def _routes() -> list[IPv4Network]:
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        routes = ip.get_routes(family=socket.AF_INET)
        return [IPv4Network((r.get_attr("RTA_DST"), r["dst_len"])) for r in routes if r["dst_len"]]


def choose(subnet: str | None) -> IPv4Network:
    """This subnet, or the first free one of the pools.

    Raises ValueError where it is none, or overlaps what this machine has a route to already.
    """
    routes = visit("list the routes", _routes)
    for wanted in POOLS if subnet is None else [IPv4Network(subnet)]:
        if wanted.prefixlen > 30:
            raise ValueError(f"the subnet {subnet} has no room for a gateway and a container: take a /30")
        if not any(wanted.overlaps(route) for route in routes):
            return wanted
    what = f"the subnet {subnet} overlaps" if subnet else "all default subnets overlap"
    raise ValueError(f"{what} what this machine has a route to (`ip route`): name another, as '10.99.0.0/24'")


class Leases:
    """The addresses of one subnet. Each asker gets the next one, so that a freed one rests for a while."""

    def __init__(self, subnet: IPv4Network, gateway: str | None = None) -> None:
        self.subnet = subnet
        self._taken = {subnet.network_address, subnet.broadcast_address}
        self._last = subnet.network_address
        self.gateway = self.take(gateway)

    def take(self, ip: str | None = None) -> IPv4Address:
        """Lease this address, or the next free one. ValueError: not in the subnet, taken, or none is left."""
        if ip is not None and IPv4Address(ip) not in self.subnet:
            raise ValueError(f"the address {ip} is not in the subnet {self.subnet}")
        first, size = int(self.subnet.network_address), self.subnet.num_addresses
        begin = int(IPv4Address(ip) if ip else self._last + 1) - first
        for number in range(begin, begin + (1 if ip else size)):
            if (address := IPv4Address(first + number % size)) not in self._taken:
                self._taken.add(address)
                self._last = self._last if ip else address
                return address
        raise ValueError(f"the subnet {self.subnet} has no free address" if ip is None else f"{ip} is taken")

    def give_back(self, address: str) -> None:
        """End a lease."""
        self._taken.discard(IPv4Address(address))
