"""A published port: what reaches a port of this machine goes on to a container's. See nft(8), NAT statements.

The kernel does it all, loopback included: a packet to 127.0.0.1 gets the container's address before it is
routed, and the bridge's route_localnet lets it leave. A program that passes bytes on, as docker-proxy does,
would cost memory for each port, copy every byte twice, and hide from the container who asks. A socket that
nobody reads holds the port against other programs.
"""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

from kit.containers.networks.network import new_name
from kit.containers.networks.subnets import ipv4
from kit.linux.errors import KernelError
from kit.linux.netlink import DUMP, NETFILTER, ask, attributes, trying
from kit.linux.nftables import add_table, redirect, when
from kit.owner import Owned, journal, release

_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
_REMEDIES = {
    errno.EADDRINUSE: "Another program has this port (`ss -tulpn` tells which): publish on another.",
    errno.EADDRNOTAVAIL: "This machine has no such address: `ip address` lists those it has.",
}


def _reserve(host_ip: str, port: int, protocol: str) -> socket.socket:
    try:
        if protocol == "tcp":
            return socket.create_server((host_ip, port), backlog=0)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((host_ip, port))
        return sock
    except OSError as error:
        what, number = f"publish {host_ip}:{port}/{protocol}", error.errno or 0
        raise KernelError(what, number, _REMEDIES.get(number, "")) from None


def _forget_flows(port: int, container_ip: str) -> None:
    """A UDP sender that goes on would be sent on to where its first packet went: not any more.

    See <linux/netfilter/nfnetlink_conntrack.h>.
    """
    flow, ipv4_only = "nfnetlink.nfctsocket:nfct_msg", {"nfgen_family": socket.AF_INET}
    to = attributes("CTA_TUPLE", proto=attributes("CTA_PROTO", num=socket.IPPROTO_UDP, dst_port=port))
    only = attributes("CTA_FILTER", orig_flags=1 << 3 | 1 << 5)  # those of this protocol and port
    wanted = ipv4_only | attributes("CTA", tuple_orig=to, filter=only)
    with trying(f"forget the flows to UDP port {port}"):
        for found in ask(NETFILTER, (flow, 0x101, DUMP, wanted)):  # IPCTNL_MSG_CT_GET
            sent, answered = found.get_attr("CTA_TUPLE_ORIG"), found.get_attr("CTA_TUPLE_REPLY")
            asked = sent.get_attr("CTA_TUPLE_IP").get_attr("CTA_IP_V4_DST")
            if answered.get_attr("CTA_TUPLE_IP").get_attr("CTA_IP_V4_SRC") in (asked, container_ip):
                this = ipv4_only | attributes("CTA", tuple_orig=sent)
                with suppress(FileNotFoundError):  # it has just ended by itself
                    ask(NETFILTER, (flow, 0x102, 0, this))  # IPCTNL_MSG_CT_DELETE


@dataclass
class Published:
    """A port of this machine that leads to a container's, until it is closed."""

    host_ip: str
    host_port: int
    container_ip: str
    protocol: str
    _socket: socket.socket
    _table: Owned

    def close(self) -> None:
        """Publish it no longer; TCP connections that are open go on."""
        release(self._table)
        self._socket.close()
        if self.protocol == "udp":
            _forget_flows(self.host_port, self.container_ip)


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
    host_ip, container_ip = str(ipv4(host_ip or "0.0.0.0")), str(ipv4(container_ip))
    here = when("fib daddr type", struct.pack("=I", 2))  # RTN_LOCAL: whichever address is ours
    if host_ip != "0.0.0.0":
        here = when("daddr", ipv4(host_ip).packed)
    # A neighbour who sends to 127.0.0.1 would be let in before anybody asks where that came from.
    hooks = ("output",) if ipv4(host_ip).is_loopback else ("prerouting", "output")
    sock, table = _reserve(host_ip, host_port, protocol), Owned("table", new_name())
    port = sock.getsockname()[1]
    published = Published(host_ip, port, container_ip, protocol, sock, table)
    there = when("l4proto", bytes([_PROTOCOLS[protocol]])) + when("dport", struct.pack("!H", port))
    rule = here + there + redirect(container_ip, container_port)
    try:
        journal().add(table)
        add_table(table.path, [(hook, "nat", -100, [rule]) for hook in hooks])
        if protocol == "udp":
            _forget_flows(port, container_ip)
    except BaseException:
        published.close()
        raise
    return published
