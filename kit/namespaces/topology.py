"""Who is plugged into whom, read back from the kernel.

See rtnetlink(7), veth(4), and IFLA_LINK_NETNSID in <linux/if_link.h>.

Every end of a veth pair knows the index of its other end, and a number by which its own namespace knows the
other's namespace; asking for the number of each host's namespace gives it a name again.
"""

from __future__ import annotations

import os
from typing import Any

from kit.namespaces.model import Interface, Link, Node, Topology
from kit.namespaces.netlink import in_network
from kit.namespaces.network import Host

IFF_UP = 1  # <linux/if.h>: switched on; whether somebody is at the other end is the carrier

_Ends = dict[tuple[str, int], tuple[str, int]]
"""(host, interface index) -> (host, interface index) at the other end of the cable."""


def topology(*hosts: Host) -> Topology:
    """The hosts, their interfaces and the cables among them, as data.

    Raises KernelError when one of them has been closed.
    """
    nodes, ends = [], _Ends()
    for host in hosts:
        interfaces, found = in_network(
            host.pid, f"look at the network of {host.name}", lambda ip: _look(ip, hosts)
        )
        namespace = os.stat(f"/proc/{host.pid}/ns/net").st_ino
        nodes.append(Node(host.name, host.kind, namespace, host.pid, interfaces))
        ends |= {(host.name, index): other for index, other in found.items()}
    names = {(node.name, one.index): one.name for node in nodes for one in node.interfaces}
    links = [
        Link(here[0], names[here], there[0], names[there])
        for here, there in ends.items()
        if there in names and here < there
    ]
    return Topology(tuple(nodes), tuple(links))


def _look(ip: Any, hosts: tuple[Host, ...]) -> tuple[tuple[Interface, ...], dict[int, tuple[str, int]]]:
    addresses: dict[int, list[str]] = {}
    for entry in ip.get_addr():
        if not entry.get_attr("IFA_ADDRESS").startswith(
            "fe80:"
        ):  # link-local: each interface makes itself one
            address = entry.get_attr("IFA_LOCAL") or entry.get_attr("IFA_ADDRESS")
            addresses.setdefault(entry["index"], []).append(f"{address}/{entry['prefixlen']}")
    names = {ip.get_netnsid(pid=host.pid)["nsid"]: host.name for host in hosts}
    interfaces, ends = [], {}
    for link in ip.get_links():
        index, info = link["index"], link.get_attr("IFLA_LINKINFO")
        kind = info.get_attr("IFLA_INFO_KIND") if info else "loopback"
        up = bool(link["flags"] & IFF_UP and link.get_attr("IFLA_CARRIER"))
        interfaces.append(
            Interface(
                link.get_attr("IFLA_IFNAME"), kind, index, link.get_attr("IFLA_ADDRESS") or "",
                tuple(addresses.get(index, ())), up,
            )
        )  # fmt: skip
        other = link.get_attr("IFLA_LINK_NETNSID")
        if kind == "veth" and other in names:
            ends[index] = (names[other], link.get_attr("IFLA_LINK"))
    return tuple(interfaces), ends
