"""Addresses: a subnet that nobody on this machine uses yet, and leases from it. See ip-route(8)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from kit.linux.links import routes
from kit.linux.netlink import trying

#: Docker's default pools: fifteen subnets of 65,534 addresses, then sixteen of 4,094.
POOLS = [IPv4Network(f"172.{number}.0.0/16") for number in range(17, 32)]
POOLS += IPv4Network("192.168.0.0/16").subnets(new_prefix=20)


def ipv4(text: str) -> IPv4Address:
    """The address. Raises ValueError for what is none, an IPv6 address among them."""
    try:
        return IPv4Address(text)
    except ValueError:
        raise ValueError(f"{text!r} is no IPv4 address, and there are no others here (no IPv6)") from None


def choose(subnet: str | None) -> IPv4Network:
    """This subnet, or the first free one of the pools.

    Raises ValueError where it is none, or overlaps what this machine has a route to already.
    """
    if subnet is not None and ":" in subnet:
        raise ValueError(f"the subnet {subnet}: networks have IPv4 alone here, no IPv6")
    with trying("list the routes"):
        taken = routes()
    for wanted in POOLS if subnet is None else [IPv4Network(subnet)]:
        if wanted.prefixlen > 30:
            raise ValueError(f"the subnet {subnet} has no room for a gateway and a container: take a /30")
        if not any(wanted.overlaps(route) for route in taken):
            return wanted
    what = f"the subnet {subnet} overlaps" if subnet else "all default subnets overlap"
    raise ValueError(f"{what} what this machine has a route to (`ip route`): name another, as '10.99.0.0/24'")


class Leases:
    """The addresses of one subnet. Each asker gets the next one, so that a freed one rests for a while."""

    def __init__(self, subnet: IPv4Network, gateway: str | None = None) -> None:
        self.subnet = subnet
        self._taken = {str(subnet.network_address), str(subnet.broadcast_address)}
        self._next = 0
        self.gateway = self.take(gateway)

    def take(self, ip: str | None = None) -> str:
        """Lease this address, or the next free one. ValueError: taken, not in the subnet, or none is left."""
        if ip is not None:
            if ipv4(ip) not in self.subnet or ip in self._taken:
                raise ValueError(f"the address {ip} is taken, or not in the subnet {self.subnet}")
            self._taken.add(ip)
            return ip
        for _ in range(size := self.subnet.num_addresses):
            address, self._next = str(self.subnet[self._next]), (self._next + 1) % size
            if address not in self._taken:
                self._taken.add(address)
                return address
        raise ValueError(f"the subnet {self.subnet} has no free address")

    def give_back(self, address: str) -> None:
        """End a lease."""
        self._taken.discard(address)
