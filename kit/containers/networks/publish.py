"""A published port: what reaches a port of this machine goes on to a container's. See nft(8), NAT statements.

The kernel does it all, loopback included. A socket that nobody reads holds the port against other programs.
"""

from __future__ import annotations

import errno
import secrets
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from kit import owner
from kit.linux.errors import KernelError
from kit.linux.netlink import visit
from kit.linux.nftables import add_table, redirect, when

_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
_REMEDIES = {
    errno.EADDRINUSE: "Another program has this port (`ss -tulpn` tells which): publish on another.",
    errno.EADDRNOTAVAIL: "This machine has no such address: `ip address` lists those it has.",
}


@dataclass
class Published:
    """A port of this machine that leads to a container's, until it is closed."""

    host_ip: str
    host_port: int
    container_ip: str
    container_port: int
    protocol: str
    _socket: socket.socket
    _table: owner.Owned

    def close(self) -> None:
        """Publish it no longer; TCP connections that are open go on."""
        owner.release(self._table)
        self._socket.close()
        self._forget_flows()

    def _forget_flows(self) -> None:
        """A UDP sender that goes on would be sent on to where its first packet went: not any more."""
        from pyroute2 import Conntrack
        from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple

        def forget() -> None:
            with Conntrack() as table:
                to_port = NFCTAttrTuple(proto=socket.IPPROTO_UDP, dport=self.host_port)
                for flow in list(table.dump_entries(tuple_orig=to_port)):
                    if flow.tuple_reply.saddr in (flow.tuple_orig.daddr, self.container_ip):
                        table.delete(flow)

        if self.protocol == "udp":
            visit(f"forget the flows to UDP port {self.host_port}", forget)

    def _open(self) -> None:
        here = when("fib daddr type", struct.pack("=I", 2))  # RTN_LOCAL: whichever address is ours
        if self.host_ip != "0.0.0.0":
            here = when("daddr", IPv4Address(self.host_ip).packed)
        port = when("l4proto", bytes([_PROTOCOLS[self.protocol]])) + when(
            "dport", struct.pack("!H", self.host_port)
        )
        rule = here + port + redirect(self.container_ip, self.container_port)
        owner.journal().add(self._table)
        add_table(self._table.path, [(hook, "nat", -100, [rule]) for hook in ("prerouting", "output")])
        self._forget_flows()


def _reserve(host_ip: str, port: int, protocol: str) -> socket.socket:
    if protocol == "tcp":
        return socket.create_server((host_ip, port), backlog=0)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host_ip, port))
    return sock


def publish(
    host_ip: str | None, host_port: int, container_ip: str, container_port: int, protocol: str = "tcp"
) -> Published:
    """Lead ``host_ip:host_port`` to a container on a network of ours that is not internal.

    No address, or 0.0.0.0, means all of the machine's; port 0 a free one. Raises ValueError for what is no
    IPv4 address, port or protocol; KernelError EADDRINUSE, EADDRNOTAVAIL.
    """
    if protocol not in _PROTOCOLS:
        raise ValueError(f"ports of tcp and udp can be published, not of {protocol!r}")
    if not (0 <= host_port < 65536 and 0 < container_port < 65536):
        raise ValueError(f"ports are numbers from 1 to 65535, unlike {host_port}:{container_port}")
    host_ip, container_ip = str(IPv4Address(host_ip or "0.0.0.0")), str(IPv4Address(container_ip))
    try:
        sock = _reserve(host_ip, host_port, protocol)
    except OSError as error:
        what, number = f"publish {host_ip}:{host_port}/{protocol}", error.errno or 0
        raise KernelError(what, number, _REMEDIES.get(number, "")) from None
    table = owner.Owned("table", f"{owner.prefix()}{secrets.token_hex(3)}")
    host_port = sock.getsockname()[1]
    published = Published(host_ip, host_port, container_ip, container_port, protocol, sock, table)
    try:
        published._open()
    except BaseException:
        published.close()
        raise
    return published
