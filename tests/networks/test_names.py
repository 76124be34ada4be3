"""The name server inside: names and aliases of the container's networks, the rest from outside."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

import dns.message
import dns.rrset
import pytest

from kit.containers.networks import Network
from kit.containers.networks.resolver import CROWD
from kit.namespaces import until
from tests.networks.conftest import UPSTREAM

pytestmark = pytest.mark.needs("root", "ip", "curl", "busybox")

ASK = """
import struct, sys
from socket import *
question, tcp = bytes.fromhex(sys.argv[1]), sys.argv[2] == "tcp"
sock = socket(AF_INET, SOCK_STREAM if tcp else SOCK_DGRAM)
sock.settimeout(10)
sock.connect(("127.0.0.11", 53))
sock.sendall(struct.pack("!H", len(question)) + question if tcp else question)
if tcp:
    size, answer = struct.unpack("!H", sock.recv(2, MSG_WAITALL))[0], b""
    answer = sock.recv(size, MSG_WAITALL)
else:
    answer = sock.recv(65535)
print(answer.hex())
"""


def ask(container, name: str, kind: str = "A", tcp: bool = False) -> dns.message.Message:
    """The answer to one question, asked inside."""
    question = dns.message.make_query(name, kind)
    said = container.run("python3", "-S", "-E", "-c", ASK, question.to_wire().hex(), "tcp" if tcp else "udp")
    answer = dns.message.from_wire(bytes.fromhex(said.check().stdout))
    assert question.is_response(answer)
    return answer


def values(message: dns.message.Message) -> list[str]:
    return sorted(item.to_text() for rrset in message.answer for item in rrset)


@contextmanager
def name_server(address: str, knows: str) -> Iterator[list[str]]:
    """A name server outside, which knows the address of far.example; and what it was asked."""
    asked: list[str] = []
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 53))

    def serve() -> None:
        while True:
            wire, client = sock.recvfrom(65535)
            if not wire:
                return
            query = dns.message.from_wire(wire)
            answer = dns.message.make_response(query)
            asked.append(query.question[0].name.to_text())
            if asked[-1] == "far.example.":
                answer.answer = [dns.rrset.from_text("far.example.", 60, "IN", "A", knows)]
            else:
                answer.set_rcode(3)
            sock.sendto(answer.to_wire(), client)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", (address, 53))
        thread.join()
        sock.close()


@pytest.fixture
def upstream() -> Iterator[list[str]]:
    """The machine's name server."""
    with name_server(UPSTREAM, "203.0.113.7") as asked:
        yield asked


def test_programs_find_each_other_by_name(container, tmp_path):
    web, client = container(), container()
    with Network.create("app") as network:
        there = network.connect(web.pid, aliases=["web", "WWW"])
        network.connect(client.pid)
        web.serve("hello from web", tmp_path / "www")
        for name in ("web", "www", "Web", "web.app"):
            assert client.get(f"http://{name}/") == "hello from web"
        assert there.ip in str(client.run("getent", "hosts", "web"))
        assert there.ip in str(client.run("busybox", "nslookup", "web", "127.0.0.11"))
        assert "web.app" in client.run("getent", "hosts", there.ip).stdout.split()


def test_answers(container, upstream):
    a, b, c = container(), container(), container()
    with Network.create("app") as network:
        first = network.connect(a.pid, aliases=["a", "both"])
        second = network.connect(b.pid, aliases=["b", "both"])
        network.connect(c.pid)
        for tcp in (False, True):
            assert values(ask(c, "a", tcp=tcp)) == [first.ip]
            assert values(ask(c, "both", tcp=tcp)) == sorted([first.ip, second.ip])
        none = ask(c, "a", "AAAA")
        assert none.rcode() == 0 and values(none) == []
        assert values(ask(c, IPv4Address(first.ip).reverse_pointer, "PTR")) == ["a.app."]
        assert upstream == []
        network.disconnect(first)
        assert values(ask(c, "both")) == [second.ip]
        assert ask(c, "a").rcode() == 3 and upstream == ["a."]


def test_other_names_come_from_the_machine_s_name_server(container, upstream):
    a = container()
    with Network.create("app") as network:
        network.connect(a.pid, aliases=["a"])
        assert values(ask(a, "far.example")) == ["203.0.113.7"]
        assert "203.0.113.7" in str(a.run("getent", "hosts", "far.example"))
        assert ask(a, "nowhere.example").rcode() == 3


def test_other_names_come_from_the_container_s_own_name_servers(container, upstream):
    a, b = container(), container()
    with Network.create("app") as network, name_server("127.9.9.10", "203.0.113.8") as asked:
        network.connect(a.pid, aliases=["a"], upstreams=["127.9.9.11", "127.9.9.10"])
        here = network.connect(b.pid, aliases=["b"])
        assert values(ask(a, "far.example")) == ["203.0.113.8"] and asked == ["far.example."]
        assert values(ask(a, "b")) == [here.ip]
        assert upstream == [] and values(ask(b, "far.example")) == ["203.0.113.7"]
        with pytest.raises(ValueError, match="no IPv6"):
            network.connect(b.pid, upstreams=["::1"])


def test_an_internal_network_s_names_stay_inside(container, upstream):
    a = container()
    with Network.create("inside", internal=True) as network:
        here = network.connect(a.pid, aliases=["a"])
        assert values(ask(a, "a")) == [here.ip]
        assert ask(a, "far.example").rcode() == 2 and upstream == []


def test_names_of_all_its_networks_and_of_no_other(container, upstream):
    a, b, c = container(), container(), container()
    with Network.create("one") as one, Network.create("two") as two, Network.create("bridge") as plain:
        one.connect(a.pid, aliases=["a"])
        second = two.connect(b.pid, aliases=["b"])
        assert ask(a, "b").rcode() == 3
        also = two.connect(a.pid, aliases=["a2"])
        assert values(ask(a, "b")) == [second.ip]
        assert values(ask(b, "a2")) == [also.ip] and ask(b, "a").rcode() == 3
        plain.connect(c.pid, aliases=["c"])
        assert ask(a, "c").rcode() == 3
        assert "0B00007F" not in str(c.run("cat", "/proc/net/udp"))


def test_a_name_server_of_its_own_has_its_port(container):
    """And a container with our name server may leave its networks and come back."""
    a = container()
    with Network.create("app") as network:
        here = network.connect(a.pid, aliases=["a"])
        server = "import socket\nfor kind in 1, 2: socket.socket(2, kind).bind(('', 53))"
        a.run("python3", "-S", "-E", "-c", server).check()
        for _ in range(2):
            network.disconnect(here)
            here = network.connect(a.pid, aliases=["a"])
            assert values(ask(a, "a")) == [here.ip]
            assert values(ask(a, "a", tcp=True)) == [here.ip]


def test_one_network_inside_and_one_with_a_way_out(container, upstream):
    a = container()
    with Network.create("inside", internal=True) as inside, Network.create("bridge") as plain:
        inside.connect(a.pid, aliases=["a"])
        plain.connect(a.pid)
        assert values(ask(a, "far.example")) == ["203.0.113.7"]


def test_without_a_name_server_outside(container):
    a = container()
    with Network.create("app") as network:
        network.connect(a.pid)
        assert ask(a, "far.example").rcode() == 2


def test_many_addresses_of_one_name(container):
    a, others = container(), [container() for _ in range(40)]
    with Network.create("app") as network:
        network.connect(a.pid)
        for other in others:
            network.connect(other.pid, aliases=["pool"])
        short = ask(a, "pool")
        assert short.flags & dns.flags.TC and len(short.to_wire()) <= 512
        assert len(values(ask(a, "pool", tcp=True))) == 40


FLOOD = """
import os, sys
from socket import *
sock = socket(AF_INET, SOCK_DGRAM)
sock.connect(("127.0.0.11", 53))
an_answer = b"\\1\\1\\x81\\x80\\0\\1" + bytes(6) + b"\\1a\\0\\0\\1\\0\\1"
for junk in (b"", b"x", b"\\0" * 12, os.urandom(300), b"\\xc0\\x0c" * 100, an_answer):
    sock.send(junk)
huge = b"\\xab\\xcd\\1\\0" + b"\\xff" * 8 + b"\\xc0\\x0c\\0\\1\\0\\1" * 10920
for junk in (huge[:65535], b"x", b"", b"\\1\\1\\1\\0\\0\\1" + bytes(6) + b"\\x3fa" * 300):
    with create_connection(("127.0.0.11", 53)) as tcp:
        tcp.sendall(len(junk).to_bytes(2, "big") + junk)
        assert tcp.recv(100) == b"", junk[:10]
for number in range(2000):
    sock.send(bytes.fromhex(sys.argv[1]))
held = []
for number in range(400):
    held.append(create_connection(("127.0.0.11", 53)))
    held[-1].send(b"\\xff\\xff half a question")
"""


def test_rubbish_and_a_flood_hurt_nobody_else(container):
    bad, good = container(), container()
    with Network.create("app") as network:
        network.connect(bad.pid, aliases=["bad"])
        here = network.connect(good.pid, aliases=["good"])
        descriptors = len(os.listdir("/proc/self/fd"))
        question = dns.message.make_query("far.example", "A").to_wire().hex()
        bad.run("python3", "-S", "-E", "-c", FLOOD, question).check()
        assert values(ask(good, "good")) == [here.ip]
        assert max(len(e.place._resolver._tasks) for e in network.endpoints) <= CROWD
        question = dns.message.make_query("bad", "A").to_wire().hex()
        bad.run("python3", "-S", "-E", "-c", FLOOD, question).check()
        assert values(ask(good, "bad")) and values(ask(bad, "good", tcp=True)) == [here.ip]
        until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
