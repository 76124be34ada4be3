"""A network: a bridge of this machine, and containers plugged into it. See veth(4), ip-link(8).

The container's end of the cable has an address of the network's subnet; the bridge's own is its way out.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import if_nameindex

from kit import owner
from kit.containers.networks.place import Place, at
from kit.containers.networks.rules import chains
from kit.containers.networks.subnets import Leases, choose, ipv4
from kit.linux import forwarding, iptables, nftables
from kit.linux.links import add_address, add_bridge, add_cable
from kit.linux.netlink import trying
from kit.owner import Owned

_lock = threading.RLock()
_networks: list[Network] = []
_numbers = itertools.count()


@contextmanager
def _one_program() -> Iterator[None]:
    """While one program of the kit looks for a free subnet and takes it, others wait. See flock(2)."""
    fd = os.open(owner.state_directory(), os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def new_name() -> str:
    """A name for a link or a table, ours by its beginning: 15 bytes, which is as long as a link's may be."""
    return f"{owner.prefix()}{next(_numbers) % 0x100000:05x}"


def _mac(ip: str) -> str:
    """Made of the address: whoever has it next is known to the neighbours already."""
    return (b"\x02\x42" + ipv4(ip).packed).hex(":")


@dataclass(eq=False)
class Endpoint:
    """A container's interface on a network; ``names`` are what the network's other containers can call it."""

    network: Network
    ip: str
    mac: str
    interface: str
    names: tuple[str, ...]
    upstreams: tuple[str, ...]
    place: Place
    link: Owned
    id: str = field(default_factory=lambda: secrets.token_hex(32))

    def stats(self) -> dict[str, int]:
        """What it received and sent: rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, ...

        Raises FileNotFoundError when it has ended.
        """
        counters = Path("/sys/class/net", self.link.path, "statistics")
        pairs = (("rx", "tx"), ("tx", "rx"))  # what it sends, this end of the cable receives
        kinds = ("bytes", "packets", "errors", "dropped")
        return {
            f"{a}_{kind}": int((counters / f"{b}_{kind}").read_text()) for a, b in pairs for kind in kinds
        }


class Network:
    """A bridge with its subnet, packet rules and endpoints; see :meth:`create`."""

    def __init__(self, name: str, id: str, leases: Leases, internal: bool) -> None:
        self.name, self.id, self.internal = name, id, internal
        self.subnet, self.gateway = str(leases.subnet), leases.gateway
        self.prefixlen = leases.subnet.prefixlen
        self.bridge = new_name()
        self.resolves = name != "bridge"
        self.endpoints: list[Endpoint] = []
        self._leases = leases
        self._owned: list[Owned] = []

    @classmethod
    def create(
        cls, name: str, subnet: str | None = None, gateway: str | None = None, internal: bool = False,
        id: str | None = None,
    ) -> Network:  # fmt: skip
        """Make a network, by default with a free subnet. ``internal``: its containers reach each other only.

        On every one but that called ``bridge`` a name server answers names, as Docker's does. Raises
        ValueError for a subnet or gateway that can't be; KernelError EPERM, or EROFS for /proc/sys.
        """
        with _lock, _one_program():
            self = cls(name, id or secrets.token_hex(32), Leases(choose(subnet), gateway), internal)
            _networks.append(self)
            try:
                self._make()
            except BaseException:
                self.close()
                raise
            return self

    def _own(self, kind: str, path: str) -> str:
        owner.journal().add(Owned(kind, path))
        self._owned.append(Owned(kind, path))
        return path

    def _make(self) -> None:
        bridge, closed = self._own("link", self.bridge), False
        with trying(f"make the bridge {bridge} of the network {self.name}"):
            add_bridge(bridge, _mac(self.gateway))
            add_address(bridge, self.gateway, self.prefixlen)
        if not self.internal:
            value_before = self._own("forwarding", forwarding.file_in(owner.state_directory()))
            with trying(f"switch forwarding on for {bridge}"):
                Path(f"/proc/sys/net/ipv4/conf/{bridge}/route_localnet").write_text("1")  # see publish.py
                closed = forwarding.switch_on(value_before)
        if iptables.drops_forwarded():
            iptables.accept(self._own("iptables", bridge))
        rules = chains(bridge, self._leases.subnet, self.internal, closed)
        nftables.add_table(self._own("table", bridge), rules)

    def connect(
        self, netns: int | str, ip: str | None = None, aliases: Iterable[str] = (), mac: str | None = None,
        upstreams: Iterable[str] = (),
    ) -> Endpoint:  # fmt: skip
        """Plug in a container, running or held: a process in it, or the path of its network namespace.

        Its interface is eth0, or the next that none of its networks has. ``aliases`` are its names here, its
        own among them; ``upstreams`` are asked for names that we don't know, instead of the machine's name
        servers. Raises ValueError for an address that can't be had; KernelError ENOENT when it has ended,
        EINVAL for the host's network, EEXIST where it made itself such an interface.
        """
        if mac is not None and len(bytes.fromhex(mac.replace(":", ""))) != 6:
            raise ValueError(f"{mac!r} is no address like 02:42:ac:11:00:02")
        asked = tuple(str(ipv4(server)) for server in upstreams)
        with _lock:
            leased = self._leases.take(ip)
            try:
                place = at(netns)
            except BaseException:
                self._leases.give_back(leased)
                raise
            names, link = tuple(alias.lower() for alias in aliases), Owned("link", new_name())
            interface, mac = place.next_interface(), mac or _mac(leased)
            endpoint = Endpoint(self, leased, mac, interface, names, asked, place, link)
            self.endpoints.append(endpoint)
            place.endpoints.append(endpoint)
            try:
                owner.journal().add(link)
                with trying(f"lay a cable to the network {self.name}"):
                    add_cable(link.path, self.bridge, place.fd, interface, mac)
                place.plug_in(endpoint)
            except BaseException:
                self.disconnect(endpoint)
                raise
            return endpoint

    def disconnect(self, endpoint: Endpoint, ended: bool = False) -> None:
        """Unplug a container; a second time is fine.

        With the network namespace of one that has ``ended`` goes its cable, some 20 ms later. We don't wait;
        the journal lists it until it is seen gone.
        """
        with _lock:
            if endpoint in self.endpoints:
                self.endpoints.remove(endpoint)
                self._leases.give_back(endpoint.ip)
                if ended:
                    self._owned.append(endpoint.link)
                else:
                    owner.release(endpoint.link)
                endpoint.place.unplug(endpoint, ended)
            there = {name for _, name in if_nameindex()}
            for gone in [one for one in self._owned if one.kind == "link" and one.path not in there]:
                self._owned.remove(gone)
                owner.journal().forget(gone)

    def close(self) -> None:
        """Unplug all, and remove the network; a second time is fine."""
        with _lock:
            for endpoint in list(self.endpoints):
                self.disconnect(endpoint)
            while self._owned:
                owned = self._owned.pop()
                if not any(owned in other._owned for other in _networks):  # they share the forwarding
                    owner.release(owned)
            if self in _networks:
                _networks.remove(self)

    def __repr__(self) -> str:
        return f"<Network {self.name}: {self.subnet} on {self.bridge}, {len(self.endpoints)} containers>"

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
