"""Hosts with a network of their own, cables between them, and a bridge to join many.

See network_namespaces(7), veth(4).

Each host is a process asleep in a new network and UTS namespace: the namespace, and every interface in it,
lives as long as the process. A cable is a veth pair: what enters at one end comes out at the other, and the
ends may be in different namespaces. It is made in the first host's namespace, with its other end straight
in the second's; the machine's own network is not touched.
"""

from __future__ import annotations

import errno
import ipaddress
from typing import Any

from kit.linux.errors import KernelError
from kit.linux.spawn import Process, Result
from kit.namespaces.inside import inside
from kit.namespaces.members import pid_of
from kit.namespaces.names import host_name
from kit.namespaces.netlink import in_network
from kit.namespaces.ping import Ping, ping
from kit.namespaces.process import start


class Host:
    """A network namespace with a name.

    Raises ValueError for a name over 64 bytes, KernelError EPERM without privilege.
    """

    kind = "host"
    _port = "eth"

    def __init__(self, name: str) -> None:
        self.name = host_name(name)
        self.address: str | None = None
        """The first address that `connect` gave it, without the prefix length."""
        self._ports = 0
        try:
            self._process: Process = start("sleep infinity", "network uts", hostname=name, loopback=True)
        except KernelError as error:
            if error.errno == errno.EPERM:
                error.remedy = "Hosts with cables between them need root: see `kit doctor`."
            raise

    @property
    def pid(self) -> int:
        """The sleeping process that holds the namespace."""
        return self._process.pid

    def run(self, argv: str | list[str], **how: Any) -> Result:
        """Run a program on this host, for example ``host.run("ip address")``."""
        return inside(self).run(argv, **how)

    def ping(self, target: Host | str, count: int = 3) -> Ping:
        """Ping another host, or an IP address. Raises ValueError when the other host has no address."""
        address = target.address if isinstance(target, Host) else target
        if address is None:
            raise ValueError(f"{target} has no address: give it one with connect(a, b, a_address, b_address)")
        return ping(self, address, count, self.name)

    def poll(self) -> int | None:
        """None while the host is there, else the exit status of the process that held it."""
        return self._process.poll()

    def next_port(self) -> str:
        """The name for the next interface: eth0, eth1, ..."""
        self._ports += 1
        return f"{self._port}{self._ports - 1}"

    def close(self) -> None:
        """End the process; the namespace and every cable that ends in it vanish with it."""
        self._process.close()

    def __repr__(self) -> str:
        state = "closed" if self.poll() is not None else self.address or "no address"
        return f"<{type(self).__name__} {self.name} ({state})>"

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Bridge(Host):
    """A switch: a network namespace with a bridge device ``br0``, which passes frames from cable to cable."""

    kind = "bridge"
    _port = "port"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        try:
            in_network(self.pid, f"make a bridge in {name}", _make_bridge)
        except BaseException:
            self.close()
            raise


def _make_bridge(ip: Any) -> None:
    ip.link("add", ifname="br0", kind="bridge")
    ip.link("set", index=ip.link_lookup(ifname="br0")[0], state="up")


def connect(a: Host, b: Host, a_address: str | None = None, b_address: str | None = None) -> tuple[str, str]:
    """Plug a cable between two hosts, or a host and a bridge, and name its two ends.

    Addresses look like "10.0.0.1/24". An IPv6 address works after a second or two: the kernel first asks
    whether a neighbour has it already.

    Raises ValueError for a bad address, an address for a bridge's port, or a host connected with itself;
    KernelError ESRCH when a host has been closed. A cable that can't be finished is taken away again.
    """
    if a is b:
        raise ValueError(f"a cable has two ends: {a.name} can't be connected with itself")
    for end, address in ((a, a_address), (b, b_address)):
        if address is not None and end.kind == "bridge":
            raise ValueError(
                f"{end.name} is a bridge: its ports have no address, the hosts plugged into it have"
            )
        if address is not None:
            _checked(address)
    for end in (a, b):
        pid_of(end)
    a_port, b_port = a.next_port(), b.next_port()
    what = f"connect {a.name} with {b.name}"
    in_network(a.pid, what, lambda ip: _make_cable(ip, a_port, b_port, b.pid))
    try:
        in_network(a.pid, what, lambda ip: _plug_in(ip, a_port, a.kind, a_address))
        in_network(b.pid, what, lambda ip: _plug_in(ip, b_port, b.kind, b_address))
    except BaseException:
        in_network(a.pid, what, lambda ip: ip.link("del", ifname=a_port))
        raise
    for end, address in ((a, a_address), (b, b_address)):
        if address is not None and end.address is None:
            end.address = str(_checked(address).ip)
    return a_port, b_port


def _checked(address: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    try:
        return ipaddress.ip_interface(address)
    except ValueError as error:
        raise ValueError(
            f"{error}: write an address and the length of its network, like '10.0.0.1/24'"
        ) from None


def _make_cable(ip: Any, port: str, peer: str, peer_pid: int) -> None:
    ip.link("add", ifname=port, kind="veth", peer={"ifname": peer, "net_ns_pid": peer_pid})


def _plug_in(ip: Any, port: str, kind: str, address: str | None) -> None:
    index = ip.link_lookup(ifname=port)[0]
    if address is not None:
        chosen = _checked(address)
        ip.addr("add", index=index, address=str(chosen.ip), prefixlen=chosen.network.prefixlen)
    if kind == "bridge":
        ip.link("set", index=index, master=ip.link_lookup(ifname="br0")[0])
    ip.link("set", index=index, state="up")
