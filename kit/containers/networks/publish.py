"""A published port: what reaches a port of this machine goes on to a container's. See nft(8), NAT statements.

The kernel does it all, loopback included. A socket that nobody reads holds the port against other programs.
"""

from __future__ import annotations

import secrets
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from kit import owner
from kit.linux.errors import KernelError
from kit.linux.netlink import visit
from kit.linux.nftables import add_table, redirect, when

_PROTOCOLS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
}
_REMEDIES = {
    "EADDRINUSE": "Another program has this port (`ss -tulpn` tells which): publish on another.",
    "EADDRNOTAVAIL": "This machine has no such address: `ip address` lists those it has.",
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
        if self.protocol == "udp":
            self.forget_flows()

    def forget_flows(self) -> None:
        """A UDP sender that goes on would be sent on to where its first packet went: not any more."""
        from pyroute2 import Conntrack
        from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple

        def forget() -> None:
            with Conntrack() as table:
                to_port = NFCTAttrTuple(proto=socket.IPPROTO_UDP, dport=self.host_port)
                for flow in list(table.dump_entries(tuple_orig=to_port)):
                    if flow.tuple_reply.saddr in (flow.tuple_orig.daddr, self.container_ip):
                        table.delete(flow)

        visit(f"forget the flows to UDP port {self.host_port}", forget)


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
    kind, number = _PROTOCOLS[protocol]
    sock = socket.socket(socket.AF_INET, kind)
    table = owner.Owned("table", f"{owner.prefix()}{secrets.token_hex(3)}")
    try:
        if protocol == "tcp":  # a listener may follow one whose connections linger
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host_ip, host_port))
        if protocol == "tcp":
            sock.listen(0)
        host_port = sock.getsockname()[1]
        here = when("fib daddr type", struct.pack("=I", 2))  # RTN_LOCAL: whichever address is ours
        if host_ip != "0.0.0.0":
            here = when("daddr", IPv4Address(host_ip).packed)
        rule = here + when("l4proto", bytes([number])) + when("dport", struct.pack("!H", host_port))
        rule += redirect(container_ip, container_port)
        owner.journal().add(table)
        add_table(table.path, [(hook, "nat", -100, [rule]) for hook in ("prerouting", "output")])
    except OSError as error:
        sock.close()
        owner.release(table)
        if isinstance(error, KernelError):
            raise
        refused = KernelError(f"publish {host_ip}:{host_port}/{protocol}", error.errno or 0)
        refused.remedy = _REMEDIES.get(refused.errno_name, "")
        raise refused from None
    published = Published(host_ip, host_port, container_ip, container_port, protocol, sock, table)
    if protocol == "udp":
        published.forget_flows()
    return published
