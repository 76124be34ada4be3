"""A bridge between two network namespaces of our own, a ping through it, and rules for packets.

See veth(4), network_namespaces(7), ping(8), nft(8).
"""

from __future__ import annotations

import os
import shutil
import socket
from typing import Any

from kit.linux.clone import CLONE_NEWNET, NAMESPACES, setns, unshare
from kit.linux.spawn import run
from kit.preflight.row import Finding

LEFT, RIGHT = "10.0.0.1", "10.0.0.2"


def _two_hosts() -> tuple[int, int]:
    """Two network namespaces, each joined by a veth pair to a bridge in the one that the caller is now in.

    Descriptors of the two come back. They, the links and the bridge end with this process, for nothing else
    holds them.
    """
    from pyroute2 import IPRoute  # safe here: no event loop runs in a probe's process

    hosts = []
    for _ in range(2):
        unshare(NAMESPACES["network"])
        hosts.append(os.open("/proc/self/ns/net", os.O_RDONLY))
    unshare(NAMESPACES["network"])
    switch = os.open("/proc/self/ns/net", os.O_RDONLY)
    with IPRoute() as ip:
        ip.link("add", ifname="bridge0", kind="bridge")
        bridge = _index(ip, "bridge0")
        ip.link("set", index=bridge, state="up")
        for number, host in enumerate(hosts):
            ip.link("add", ifname=f"port{number}", kind="veth", peer={"ifname": "eth0", "net_ns_fd": host})
            ip.link("set", index=_index(ip, f"port{number}"), master=bridge, state="up")
    for host, address in zip(hosts, (LEFT, RIGHT), strict=True):
        setns(host, CLONE_NEWNET)
        with IPRoute() as ip:
            ip.addr("add", index=_index(ip, "eth0"), address=address, prefixlen=24)
            ip.link("set", index=_index(ip, "eth0"), state="up")
    setns(switch, CLONE_NEWNET)
    return hosts[0], hosts[1]


def _index(ip: Any, name: str) -> int:
    index: int = ip.link_lookup(ifname=name)[0]
    return index


def bridge() -> Finding:
    """Send a datagram from one namespace to the other, through two veth pairs and the bridge."""
    left, right = _two_hosts()
    setns(right, CLONE_NEWNET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((RIGHT, 0))
        receiver.settimeout(0.1)
        setns(left, CLONE_NEWNET)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(30):  # the first ones may fall into the moment before the links carry
                try:
                    sender.sendto(b"hello", receiver.getsockname())
                    data, (origin, _) = receiver.recvfrom(16)
                except (TimeoutError, OSError):
                    continue
                if data == b"hello":
                    return Finding(
                        "yes", f"a datagram went from {origin} over veth, bridge and veth to {RIGHT}"
                    )
    return Finding(
        "no",
        "links and bridge could be made, but no datagram came through",
        "A packet filter may stop bridged traffic: sudo sysctl -w net.bridge.bridge-nf-call-iptables=0",
    )


def ping() -> Finding:
    """Let the real ping command cross from one namespace to the other."""
    command = shutil.which("ping")
    if command is None:
        return Finding("no", "there is no ping command")
    left, _ = _two_hosts()
    setns(left, CLONE_NEWNET)
    answer = ""
    for _ in range(3):
        done = run([command, "-n", "-c", "1", "-W", "1", RIGHT])  # in this process's own network namespace
        answer = (
            next((line for line in done.stdout.splitlines() if "time=" in line), "")
            or done.stderr.strip()
            or answer
        )
        if done.returncode == 0:
            return Finding("yes", f"{RIGHT} answered {LEFT} across a bridge: {answer}")
    return Finding("no", f"{RIGHT} did not answer: {answer or 'no reply'}")


def packet_rules() -> Finding:
    """Make a table that gives packets another origin, in a network namespace that ends with this process."""
    from kit.linux.nftables import MASQUERADE, add_table, table_exists

    unshare(NAMESPACES["network"])
    add_table("probe", [("postrouting", "nat", 100, [MASQUERADE])])
    if not table_exists("probe"):
        return Finding("no", "the table was accepted, but is not there")
    return Finding("yes", "a table of nftables with a rule that masquerades was made and found")
