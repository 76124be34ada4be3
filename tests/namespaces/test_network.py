"""Networks between namespaces: cables, a bridge, and nothing in the machine's own."""

import errno
import json
import os
import subprocess
import threading

import pytest

from kit.linux.errors import KernelError
from kit.namespaces import Bridge, Host, Link, connect, of, ping, topology, until

pytestmark = pytest.mark.needs("root")


@pytest.fixture
def two():
    with Host("red") as red, Host("blue") as blue:
        yield red, blue


def test_two_hosts_and_a_cable(two):
    red, blue = two
    assert connect(red, blue, "10.0.0.1/24", "10.0.0.2/24") == ("eth0", "eth0")
    answer = red.ping(blue)
    assert answer and answer.received == answer.sent == 3 and min(answer.times) > 0
    assert blue.ping(red)
    found = topology(red, blue)
    assert found.links == (Link("blue", "eth0", "red", "eth0"),)
    assert all(one.up for node in found.hosts for one in node.interfaces)


def test_the_machine_has_no_new_link(two):
    before = os.listdir("/sys/class/net")
    connect(*two, "10.0.0.1/24", "10.0.0.2/24")
    assert os.listdir("/sys/class/net") == before


def test_three_hosts_and_a_bridge(two):
    red, blue = two
    with Host("green") as green, Bridge("switch") as switch:
        for number, host in enumerate((red, blue, green), 1):
            connect(host, switch, f"10.0.0.{number}/24")
        for here in (red, blue, green):
            for there in (red, blue, green):
                assert here.ping(there, count=1)
        found = topology(red, blue, green, switch)
        assert {(link.a, link.b) for link in found.links} == {
            (name, "switch") for name in ("red", "blue", "green")
        }
        assert {node.name: node.kind for node in found.hosts}["switch"] == "bridge"
        table = switch.run("bridge fdb show br br0") if os.path.exists("/sbin/bridge") else None
        if table is not None:  # the switch has learned behind which port each host is
            macs = [
                one.mac
                for node in found.hosts
                if node.kind == "host"
                for one in node.interfaces
                if one.kind == "veth"
            ]
            assert all(mac in str(table) for mac in macs)


def test_a_router_has_two_legs():
    with Host("left") as left, Host("right") as right, Host("router") as router:
        connect(left, router, "10.0.1.2/24", "10.0.1.1/24")
        connect(right, router, "10.0.2.2/24", "10.0.2.1/24")
        assert not left.ping("10.0.2.2", count=1)
        left.run("busybox ip route add default via 10.0.1.1").check()
        right.run("busybox ip route add default via 10.0.2.1").check()
        assert left.ping("10.0.2.1", count=1)
        assert not left.ping(right, count=1)  # a host that is no router lets nothing through
        router.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).check()
        assert left.ping(right, count=1)


def test_ipv6_once_the_kernel_has_made_sure_that_the_addresses_are_free(two):
    connect(*two, "fd00::1/64", "fd00::2/64")
    until(lambda: two[0].ping(two[1], count=1))


def test_without_a_cable_nobody_hears(two):
    red, blue = two
    answer = red.ping("10.0.0.2", count=1)
    assert not answer and "unreachable" in answer.said
    with pytest.raises(ValueError, match="no address"):
        red.ping(blue)
    assert topology(red, blue).links == ()


def test_a_cable_ends_with_either_of_its_hosts(two):
    red, blue = two
    connect(red, blue, "10.0.0.1/24", "10.0.0.2/24")
    blue.close()
    assert [one.name for one in topology(red).hosts[0].interfaces if one.kind == "veth"] in ([], ["eth0"])
    until(lambda: [one.name for one in topology(red).hosts[0].interfaces] == ["lo"])


@pytest.mark.needs("ip")
def test_ip_says_the_same(two):
    red, blue = two
    connect(red, blue, "10.0.0.1/24", "10.0.0.2/24")
    for node in topology(red, blue).hosts:
        argv = ["nsenter", "-t", str(node.pid), "-n", "ip", "-j", "-d", "address"]
        said = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
        theirs = {
            (
                link["ifname"], link["ifindex"], link["address"],
                link.get("linkinfo", {}).get("info_kind", "loopback"),
                tuple(f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a["scope"] != "link"),
            )
            for link in said
        }  # fmt: skip
        assert theirs == {(one.name, one.index, one.mac, one.kind, one.addresses) for one in node.interfaces}


def test_bad_input(two):
    red, blue = two
    with pytest.raises(ValueError, match="can't be connected with itself"):
        connect(red, red)
    with pytest.raises(ValueError, match=r"like '10.0.0.1/24'"):
        connect(red, blue, "10.0.0.300/24")
    with Bridge("switch") as switch, pytest.raises(ValueError, match="ports have no address"):
        connect(red, switch, "10.0.0.1/24", "10.0.0.2/24")
    with pytest.raises(ValueError, match="1 to 64 bytes"):
        Host("x" * 65)
    with pytest.raises(ValueError):
        red.ping("not an address")
    with pytest.raises(ValueError, match="1 to 1000"):
        red.ping("127.0.0.1", count=0)
    assert [one.name for one in topology(red).hosts[0].interfaces] == ["lo"]  # nothing half-made


def test_a_cable_that_cannot_be_finished_is_taken_away(two):
    red, blue = two
    blue.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"]).check()
    with pytest.raises(KernelError, match="connect red with blue"):
        connect(red, blue, "10.0.0.1/24", "fd00::2/64")
    for host in two:
        assert [one.name for one in topology(host).hosts[0].interfaces] == ["lo"]
    connect(red, blue, "10.0.0.1/24", "10.0.0.2/24")
    assert red.ping(blue, count=1)


def test_a_host_that_was_closed(two):
    red, blue = two
    blue.close()
    for wrong in (lambda: connect(red, blue), lambda: blue.ping("127.0.0.1"), lambda: blue.run("true")):
        with pytest.raises(KernelError) as caught:
            wrong()
        assert caught.value.errno == errno.ESRCH
    assert "closed" in repr(blue)


def test_same_names_and_addresses_twice(two):
    red, blue = two
    connect(red, blue, "10.0.0.1/24", "10.0.0.2/24")
    with Host("red") as second, Host("blue") as other:
        connect(second, other, "10.0.0.1/24", "10.0.0.2/24")
        assert second.ping(other, count=1)
        assert red.ping(blue, count=1)


def test_in_a_running_event_loop_as_in_a_notebook_cell(two):
    import asyncio

    async def cell():
        connect(*two, "10.0.0.1/24", "10.0.0.2/24")
        return topology(*two)

    assert len(asyncio.run(cell()).links) == 1


def test_the_thread_that_went_there_is_gone_and_ours_stayed(two):
    before, threads = os.readlink("/proc/thread-self/ns/net"), threading.active_count()
    connect(*two)
    assert os.readlink("/proc/thread-self/ns/net") == before
    assert threading.active_count() == threads


def test_ping_from_any_process(two):
    assert ping(two[0].pid, "127.0.0.1", count=1)
    assert ping(os.getpid(), "127.0.0.1", count=1)


def test_a_closed_host_is_never_taken_for_who_has_its_number_now():
    with Host("short") as host:
        pass
    host._process._child.pid = os.getpid()  # as if the number had been given to us
    with pytest.raises(KernelError, match="ESRCH"):
        ping(host, "127.0.0.1", 1)


@pytest.mark.parametrize("nobody", [None, "12", ...])
def test_what_stands_for_no_process_is_told(nobody):
    with pytest.raises(TypeError, match="a process, or the number of one"):
        of(nobody)
