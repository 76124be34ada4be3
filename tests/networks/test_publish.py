"""Ports of the machine that lead to containers, from wherever one comes."""

from __future__ import annotations

import errno
import socket
import subprocess

import pytest

from kit.containers.networks import Network, publish
from kit.linux.errors import KernelError

pytestmark = pytest.mark.needs("root", "ip", "curl", "busybox")

ECHO = """
from socket import *
sock = socket(AF_INET, SOCK_DGRAM)
sock.bind(("", 9000))
while True:
    data, client = sock.recvfrom(2000)
    sock.sendto(data.upper(), client)
"""


def get(url: str) -> str:
    """From the machine itself."""
    return subprocess.run(
        ["curl", "-sS", "--connect-timeout", "2", url], capture_output=True, text=True
    ).stdout


def shout(address: str, port: int, text: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((address, port))
        sock.send(text)
        return sock.recv(2000)


def test_a_tcp_port_from_loopback_the_bridge_and_other_containers(container, tmp_path):
    web, neighbour, stranger = container(), container(), container()
    with Network.create("app") as network, Network.create("other") as other:
        there = network.connect(web.pid)
        network.connect(neighbour.pid)
        other.connect(stranger.pid)
        web.serve("published", tmp_path / "www")
        published = publish("", 0, there.ip, 80)
        assert published.host_ip == "0.0.0.0" and published.host_port > 0
        for address in ("127.0.0.1", "127.5.5.5", "localhost", network.gateway, other.gateway):
            assert get(f"http://{address}:{published.host_port}/") == "published"
        for one in (neighbour, stranger, web):  # the last through the machine to itself
            assert one.get(f"http://{network.gateway}:{published.host_port}/") == "published"
        assert stranger.get(f"http://{there.ip}/") == ""  # what is published is the port, not the container
        published.close()
        assert get(f"http://127.0.0.1:{published.host_port}/") == ""
        published.close()


def test_a_udp_port(container):
    a = container()
    with Network.create("app") as network:
        there = network.connect(a.pid)
        a.start("python3", "-S", "-E", "-c", ECHO)
        a.listens(9000, "udp")
        published = publish(None, 0, there.ip, 9000, "udp")
        for address in ("127.0.0.1", network.gateway):
            assert shout(address, published.host_port, b"hello") == b"HELLO"
        published.close()


def test_a_udp_sender_that_goes_on_reaches_the_next_container(container):
    """The kernel remembers where a flow went; a container started again may have another address."""
    a, b = container(), container()
    for one in (a, b):
        one.start("python3", "-S", "-E", "-c", ECHO)
        one.listens(9000, "udp")
    with Network.create("app") as network, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        first, second = network.connect(a.pid), network.connect(b.pid)
        published = publish("127.0.0.1", 0, first.ip, 9000, "udp")
        port = published.host_port
        sock.settimeout(5)
        sock.connect(("127.0.0.1", port))
        for there in (second, first):
            sock.send(b"hello")
            assert sock.recv(2000) == b"HELLO"
            published.close()
            sock.send(b"to nobody")
            with pytest.raises(ConnectionRefusedError):
                sock.recv(2000)
            published = publish("127.0.0.1", port, there.ip, 9000, "udp")
        published.close()


def test_one_address_only(container, tmp_path):
    a, b = container(), container()
    with Network.create("app") as network, Network.create("other") as other:
        there, elsewhere = network.connect(a.pid), other.connect(b.pid)
        a.serve("first", tmp_path / "a")
        b.serve("second", tmp_path / "b")
        first = publish("127.0.0.1", 0, there.ip, 80)
        second = publish(other.gateway, first.host_port, elsewhere.ip, 80)
        assert get(f"http://127.0.0.1:{first.host_port}/") == "first"
        assert get(f"http://{other.gateway}:{first.host_port}/") == "second"
        assert get(f"http://{network.gateway}:{first.host_port}/") == ""
        first.close()
        second.close()


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(KernelError) as refused:
            publish("", port, "172.17.0.2", 80)
        assert refused.value.errno == errno.EADDRINUSE and "ss -tulpn" in str(refused.value)
    published = publish("", port, "172.17.0.2", 80)
    with pytest.raises(KernelError):
        publish("", port, "172.17.0.3", 80)
    with pytest.raises(OSError):
        socket.create_server(("127.0.0.1", port))
    published.close()
    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize(
    "wrong",
    [
        ("", 80, "172.17.0.2", 80, "sctp"),
        ("", 70000, "172.17.0.2", 80, "tcp"),
        ("", 80, "172.17.0.2", 0, "tcp"),
        ("::", 80, "172.17.0.2", 80, "tcp"),
        ("", 80, "web", 80, "tcp"),
    ],
)
def test_what_can_t_be_published(wrong):
    with pytest.raises(ValueError):
        publish(*wrong)


def test_an_address_that_is_not_ours():
    with pytest.raises(KernelError) as refused:
        publish("203.0.113.9", 0, "172.17.0.2", 80)
    assert refused.value.errno == errno.EADDRNOTAVAIL and refused.value.remedy


def test_nobody_on_a_bridge_comes_in_by_loopback(container):
    """A container that sends to 127.0.0.1 by the bridge must not reach what listens there: CVE-2020-8558."""
    a = container()
    with Network.create("app") as network, socket.create_server(("127.0.0.1", 0)) as sock:
        network.connect(a.pid)
        a.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet").check()
        a.run("ip", "addr", "del", "127.0.0.1/8", "dev", "lo").check()
        a.run("ip", "route", "flush", "table", "local").check()
        a.run("ip", "route", "add", "127.0.0.0/8", "via", network.gateway).check()
        own = a.run("ip", "-4", "-br", "addr", "show", "eth0").stdout.split()[2].partition("/")[0]
        a.run("ip", "route", "add", "local", own, "dev", "eth0", "table", "local").check()
        assert a.reaches(network.gateway)
        assert a.get(f"http://127.0.0.1:{sock.getsockname()[1]}/") == ""
        sock.settimeout(0)
        with pytest.raises(BlockingIOError):
            sock.accept()
