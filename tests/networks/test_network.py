"""Containers on a network reach each other, and those on two don't."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from socket import AF_INET, SOCK_DGRAM, socket

import pytest

from kit.containers.networks import Network
from kit.linux.errors import KernelError
from kit.linux.links import link_exists
from kit.linux.nftables import table_exists
from tests.leaks import look

pytestmark = pytest.mark.needs("root", "ip", "ping")


def test_two_containers_of_a_network_reach_each_other_and_the_bridge(container):
    a, b = container(), container()
    with Network.create("bridge") as network:
        here, there = network.connect(a.pid), network.connect(b.pid)
        assert here.interface == there.interface == "eth0"
        assert here.ip != there.ip and here.mac.startswith("02:42:")
        assert a.reaches(there.ip) and b.reaches(here.ip) and a.reaches(network.gateway)
        assert f"{here.ip}/" in str(a.run("ip", "-4", "addr", "show", "eth0"))
        assert here.mac in str(a.run("ip", "link", "show", "eth0"))
        assert f"default via {network.gateway}" in str(a.run("ip", "route"))
        assert b.reaches(here.ip) and here.stats()["rx_packets"] > 0 < here.stats()["tx_bytes"]
    assert not link_exists(network.bridge) and not table_exists(network.bridge)
    assert "eth0" not in str(a.run("ip", "link"))


def test_two_networks_are_apart(container):
    a, b = container(), container()
    with Network.create("one") as one, Network.create("two") as two:
        assert not IPv4Network(one.subnet).overlaps(IPv4Network(two.subnet))
        one.connect(a.pid)
        there = two.connect(b.pid)
        assert not a.reaches(there.ip)


def test_a_running_container_is_connected_and_disconnected(container):
    a, b, c = container(), container(), container()
    with Network.create("one") as one, Network.create("two") as two:
        first, second = one.connect(a.pid), one.connect(b.pid)
        there = two.connect(c.pid)
        assert not a.reaches(there.ip)
        also = two.connect(a.pid)
        assert also.interface == "eth1" and a.reaches(there.ip) and a.reaches(second.ip)
        assert f"default via {one.gateway}" in str(a.run("ip", "route"))
        one.disconnect(first)
        assert not a.reaches(second.ip) and a.reaches(there.ip)
        assert f"default via {two.gateway}" in str(a.run("ip", "route"))
        one.disconnect(first)
        again = one.connect(a.pid)
        assert again.interface == "eth0" and again.ip != first.ip and a.reaches(second.ip)


def test_an_ended_container_is_disconnected_without_waiting(container):
    a = container()
    with Network.create("bridge") as network:
        endpoint = network.connect(a.pid)
        a.process.close()
        network.disconnect(endpoint, ended=True)
        assert network.endpoints == []
    assert not link_exists(endpoint.link.path)


def test_an_internal_network_has_no_way_out(container):
    a, b = container(), container()
    with Network.create("inside", internal=True) as network, Network.create("other") as other:
        here, there = network.connect(a.pid), network.connect(b.pid)
        assert a.reaches(there.ip) and b.reaches(here.ip)
        assert "default" not in str(a.run("ip", "route"))
        other.connect(a.pid)
        assert f"default via {other.gateway}" in str(a.run("ip", "route"))


def test_two_hundred_endpoints(container):
    containers = [container() for _ in range(200)]
    with Network.create("many") as network:
        endpoints = [network.connect(one.pid, aliases=[f"c{n}"]) for n, one in enumerate(containers)]
        assert len({endpoint.ip for endpoint in endpoints}) == 200
        assert containers[0].reaches(endpoints[199].ip) and containers[199].reaches(endpoints[0].ip)
        for one in containers:
            one.process.close()
        for endpoint in endpoints:
            network.disconnect(endpoint, ended=True)


def test_many_at_once(container):
    """From many threads, as an engine with many clients does it."""
    containers = [container() for _ in range(12)]
    with Network.create("one") as one, Network.create("two") as two, ThreadPoolExecutor(12) as threads:
        for _ in range(2):
            asked = [
                threads.submit(net.connect, each.pid, None, ["c"])
                for each in containers
                for net in (one, two)
            ]
            endpoints = [each.result() for each in asked]
            assert len({endpoint.ip for endpoint in endpoints}) == 24
            assert sorted(endpoint.interface for endpoint in endpoints) == ["eth0"] * 12 + ["eth1"] * 12
            for end in [threads.submit(each.network.disconnect, each) for each in endpoints]:
                end.result()
        assert "eth" not in str(containers[0].run("ip", "link"))


def test_a_chosen_subnet_address_and_mac(container):
    a, b = container(), container()
    with Network.create("chosen", subnet="10.99.7.0/29", gateway="10.99.7.6") as network:
        here = network.connect(a.pid, ip="10.99.7.3", mac="02:00:00:00:00:09")
        assert (here.ip, here.mac) == ("10.99.7.3", "02:00:00:00:00:09")
        assert "02:00:00:00:00:09" in str(a.run("ip", "link", "show", "eth0"))
        assert a.reaches("10.99.7.6")
        for wrong in ("10.99.7.3", "10.99.7.6", "10.99.7.0", "10.99.7.7", "10.99.8.1", "x"):
            with pytest.raises(ValueError):
                network.connect(b.pid, ip=wrong)
        with pytest.raises(ValueError):
            network.connect(b.pid, mac="02:00")
        assert network.connect(b.pid).ip == "10.99.7.1"
        for wrong in ("10.99.7.0/24", "10.99.0.0/16", "10.98.0.0/31", "10.99.7.1/24", "x"):
            with pytest.raises(ValueError):
                Network.create("clash", subnet=wrong)
    with pytest.raises(ValueError, match="not in the subnet"):
        Network.create("odd", subnet="10.99.7.0/29", gateway="10.99.8.1")
    for wrong in ("fd00::/64", "fd00::1"):
        with pytest.raises(ValueError, match="no IPv6"):
            Network.create("odd", subnet=wrong)


def test_addresses_are_given_back(container):
    a = container()
    with Network.create("small", subnet="10.99.7.0/29") as network:
        endpoints = [network.connect(a.pid) for _ in range(5)]
        assert {endpoint.ip for endpoint in endpoints} == {f"10.99.7.{number}" for number in range(2, 7)}
        with pytest.raises(ValueError, match="no free address"):
            network.connect(a.pid)
        network.disconnect(endpoints[2])
        with pytest.raises(KernelError):
            network.connect("/etc/passwd")
        assert network.connect(a.pid).ip == endpoints[2].ip
    with Network.create("small", subnet="10.99.7.0/29") as network:  # the subnet too
        seen = []
        for _ in range(12):
            endpoint = network.connect(a.pid)
            seen.append(endpoint.ip)
            network.disconnect(endpoint)
        assert seen[:5] == seen[5:10] and len(set(seen)) == 5  # one that was freed rests first


FORGE = """
import sys
from socket import *
source, address, port = sys.argv[1:]
header = bytes([69, 0, 0, 33, 0, 0, 0, 0, 64, 17, 0, 0]) + inet_aton(source) + inet_aton(address)
datagram = b"".join(number.to_bytes(2, "big") for number in (9, int(port), 13, 0)) + b"hello"
socket(AF_INET, SOCK_RAW, IPPROTO_RAW).sendto(header + datagram, (address, 0))
"""


def test_nobody_says_that_he_is_someone_outside(container):
    """The machine takes no packet from a bridge that doesn't come from its subnet, least of all 127.0.0.1."""
    a, b = container(), container()
    with Network.create("one") as one, Network.create("two") as two, socket(AF_INET, SOCK_DGRAM) as sock:
        here, there = one.connect(a.pid), two.connect(b.pid)
        sock.bind((one.gateway, 0))
        sock.settimeout(5)
        for source in ("127.0.0.1", there.ip, two.gateway, "198.51.100.7", "0.0.0.0", here.ip):
            a.run("python3", "-S", "-E", "-c", FORGE, source, one.gateway, str(sock.getsockname()[1])).check()
        assert sock.recvfrom(100)[1][0] == here.ip  # the last one sent is the first to come


def test_the_leak_check_sees_networks():
    before = look()
    with Network.create("app") as network:
        left = look().since(before)
        assert {f"link: {network.bridge}", f"packet_rule: {network.bridge}"} <= set(left)
        assert any(line.startswith("forwarding: held") for line in left)
    assert look().since(before) == []


def test_what_fails_leaves_nothing_and_teaches(container):
    a, gone, odd = container(), container(), container()
    gone.process.close()
    odd.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "end").check()
    with Network.create("bridge") as network:
        network.connect(a.pid)
        descriptors = len(os.listdir("/proc/self/fd"))
        for netns, number in (
            (gone.pid, errno.ENOENT), (os.getpid(), errno.EINVAL), ("/etc/passwd", errno.EINVAL),
            (odd.pid, errno.EEXIST),
        ):  # fmt: skip
            with pytest.raises(KernelError) as refused:
                network.connect(netns)
            assert refused.value.errno == number and refused.value.remedy
        assert len(network.endpoints) == 1
        assert len(os.listdir("/proc/self/fd")) == descriptors
