"""The packet rules of one network: what may reach its containers, and with what address they leave."""

from __future__ import annotations

import struct
from ipaddress import IPv4Network

from kit.linux.nftables import ACCEPT, DROP, MASQUERADE, Chain, Rule, when

_LOOPBACK = IPv4Network("127.0.0.0/8")


def _bits(field: str, bits: int) -> Rule:
    return when(field, bytes(4), struct.pack("=I", bits), is_so=False)


_KNOWN = _bits("ct state", 2 | 4)  # established or related: it was allowed to begin
_PUBLISHED = _bits("ct status", 1 << 5)  # its destination was changed: IPS_DST_NAT


def _from(network: IPv4Network, is_so: bool = True) -> Rule:
    return when("saddr", network.network_address.packed, network.netmask.packed, is_so)


def chains(bridge: str, subnet: IPv4Network, internal: bool, closed: bool) -> list[Chain]:
    """The chains of a network's table.

    ``closed``: the machine passed nothing on before we switched that on, and shall do so for us alone.
    """
    name = bridge.encode().ljust(16, b"\0")
    into, out_of = when("oifname", name), when("iifname", name)
    forward, leaving = [into + out_of + ACCEPT], []
    if internal:
        forward += [into + DROP, out_of + DROP]
    else:
        # From elsewhere, other networks included: answers, and what is published.
        forward += [into + _KNOWN + ACCEPT, into + _PUBLISHED + ACCEPT, into + DROP]
        if closed:
            forward += [when("iifname", b"kit-", is_so=False) + when("oifname", b"kit-", is_so=False) + DROP]
        leaving += [when("oifname", name, is_so=False) + _from(subnet) + MASQUERADE]
        # This machine at 127.0.0.1, or a container of this very network, uses a published port: the answer
        # must come back through us.
        leaving += [into + _PUBLISHED + _from(whose) + MASQUERADE for whose in (_LOOPBACK, subnet)]
    # Nobody on the bridge comes in by this machine's 127.0.0.1, or says that he is someone outside.
    loopback = when("daddr", _LOOPBACK.network_address.packed, _LOOPBACK.netmask.packed)
    strange = [out_of + loopback + DROP, out_of + _from(subnet, is_so=False) + DROP]
    return [
        ("prerouting", "filter", -300, strange),
        ("forward", "filter", 0, forward),
        ("postrouting", "nat", 100, leaving),
    ]
