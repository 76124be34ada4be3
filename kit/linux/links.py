"""Links, their addresses, and the routes by them. See rtnetlink(7), veth(4), ip-link(8).

All but `remove_link` raise OSError where the kernel refuses: EPERM, EEXIST, ERANGE for a name.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Network

from kit.linux.netlink import DUMP, NEW, REPLACE, ROUTE, ask, attributes, trying

LINK, ADDRESS, ROUTES = "rtnl.ifinfmsg:ifinfmsg", "rtnl.ifaddrmsg:ifaddrmsg", "rtnl.rtmsg:rtmsg"
RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_NEWROUTE, RTM_GETROUTE = 16, 17, 20, 24, 26
UP = {"flags": 1, "change": 1}  # the bit IFF_UP, and that it is meant


def add_bridge(name: str, mac: str) -> None:
    """A bridge."""
    kind = attributes("IFLA_INFO", kind="bridge")
    ask(ROUTE, (LINK, RTM_NEWLINK, NEW, attributes("IFLA", ifname=name, address=mac, linkinfo=kind)))


def add_cable(name: str, bridge: str, netns: int, interface: str, mac: str) -> None:
    """A veth pair: one end in a bridge, switched on, the other in a network namespace, by its descriptor."""
    peer = attributes("IFLA", ifname=interface, address=mac, net_ns_fd=netns)
    veth = attributes("IFLA_INFO", kind="veth", data=attributes("VETH_INFO", peer=peer))
    end = UP | attributes("IFLA", ifname=name, master=socket.if_nametoindex(bridge), linkinfo=veth)
    # Hairpin: where bridges ask iptables too, who calls itself by a published port is sent back this way.
    port = attributes("IFLA_INFO", slave_kind="bridge", slave_data=attributes("IFLA_BRPORT", mode=1))
    hairpin = attributes("IFLA", ifname=name, linkinfo=port)
    ask(ROUTE, (LINK, RTM_NEWLINK, NEW, end), (LINK, RTM_NEWLINK, 0, hairpin))


def add_address(interface: str, address: str, prefixlen: int) -> None:
    """Give an interface an address, and switch it on."""
    index = {"index": socket.if_nametoindex(interface)}
    where = index | {"family": socket.AF_INET, "prefixlen": prefixlen}
    given = where | attributes("IFA", local=address, address=address)
    ask(ROUTE, (ADDRESS, RTM_NEWADDR, NEW, given), (LINK, RTM_NEWLINK, 0, index | UP))


def lead_out_by(gateway: str) -> None:
    """The default route: whatever is for elsewhere goes to this neighbour."""
    route = {"family": socket.AF_INET, "table": 254, "proto": 3, "type": 1}  # main, boot, unicast
    ask(ROUTE, (ROUTES, RTM_NEWROUTE, REPLACE, route | attributes("RTA", gateway=gateway)))


def routes() -> list[IPv4Network]:
    """Where this machine sends packets otherwise than by its default route."""
    found = ask(ROUTE, (ROUTES, RTM_GETROUTE, DUMP, {"family": socket.AF_INET}))
    return [IPv4Network((one.get_attr("RTA_DST"), one["dst_len"])) for one in found if one["dst_len"]]


def link_exists(name: str) -> bool:
    """Whether a link of this name is in our network namespace."""
    return name in (link for _, link in socket.if_nameindex())


def remove_link(name: str) -> None:
    """Remove a link by its exact name, with its other end; gone already is fine. Raises KernelError EPERM."""
    with trying(f"remove the link {name}"):
        try:
            ask(ROUTE, (LINK, RTM_DELLINK, 0, attributes("IFLA", ifname=name)))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
