"""A whole machine in a network namespace of its own, with neighbours on two links: run under `unshare --net`.

``world()`` builds it, and each check below is called by its name from the tests, in a process of its own.
"""

from __future__ import annotations

import errno
import random
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from kit.containers.networks import Network, publish
from kit.linux import spawn
from kit.linux.errors import KernelError
from kit.linux.netlink import DUMP, NETFILTER, ask
from kit.namespaces import until

FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
PROC_NET = {"stdout": spawn.DEVNULL, "stderr": spawn.DEVNULL}


def sh(command: str) -> str:
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout


def links() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def tables() -> list[str]:
    wanted = ("nfnetlink.nftsocket:nft_table_msg", 0xA01, DUMP, {"nfgen_family": socket.AF_INET})
    return [one.get_attr("NFTA_TABLE_NAME") for one in ask(NETFILTER, wanted)]


class Host:
    """A container or a neighbour."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.process = stack.enter_context(
            spawn.start(["sleep", "infinity"], unshare=["network"], loopback=True)
        )
        self.pid = self.process.pid

    def run(self, command: str) -> spawn.Result:
        return spawn.run(["sh", "-c", command], join={"network": self.pid})

    def serve(self) -> None:
        """Answer each connection with the address that it seems to come from."""
        server = (
            "import socket\ns = socket.create_server(('', 80))\n"
            "while True:\n c, a = s.accept()\n c.sendall(a[0].encode())\n c.close()"
        )
        self.stack.enter_context(
            spawn.start(["python3", "-S", "-E", "-c", server], join={"network": self.pid}, **PROC_NET)
        )
        until(lambda: ":0050 " in self.run("cat /proc/net/tcp").stdout, "the server")

    def ask(self, address: str, port: int = 80) -> str:
        """The answer of a server, empty where it can't be reached."""
        return self.run(f"busybox nc -w 2 {address} {port} < /dev/null").stdout


def neighbour(stack: ExitStack, number: int) -> Host:
    """A host on a link of its own: 198.51.NUMBER.2, the machine there is 198.51.NUMBER.1."""
    host = Host(stack)
    sh(f"ip link add lan{number} type veth peer name eth0 netns {host.pid}")
    sh(f"ip addr add 198.51.{number}.1/24 dev lan{number}; ip link set lan{number} up")
    host.run(f"ip addr add 198.51.{number}.2/24 dev eth0; ip link set eth0 up").check()
    host.run(f"ip route add default via 198.51.{number}.1").check()
    return host


def way_out_and_in() -> None:
    """Containers leave with the machine's address; from outside only what is published can be reached."""
    with ExitStack() as stack:
        outside, container = neighbour(stack, 100), Host(stack)
        outside.serve()
        with Network.create("app") as network:
            there = network.connect(container.pid)
            container.serve()
            assert container.ask("198.51.100.2") == "198.51.100.1"
            assert outside.ask(there.ip) == ""
            published = publish("198.51.100.1", 8080, there.ip, 80)
            assert outside.ask("198.51.100.1", 8080) == "198.51.100.2"  # it sees who asks
            assert outside.ask("198.51.100.1", 80) == ""
            published.close()
            assert outside.ask("198.51.100.1", 8080) == ""
        with Network.create("inside", internal=True) as network, Network.create("other"):
            network.connect(container.pid)
            container.run(f"ip route add default via {network.gateway}").check()
            assert container.ask("198.51.100.2") == ""


def only_this_machine() -> None:
    """What is published at 127.0.0.1 is for this machine: a neighbour that sends there is not let in."""
    with ExitStack() as stack:
        outside, container = neighbour(stack, 100), Host(stack)
        tricks = "echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet; ip addr del 127.0.0.1/8 dev lo"
        tricks += "; ip route flush table local; ip route add local 198.51.100.2 dev eth0 table local"
        outside.run(f"{tricks}; ip route add 127.0.0.0/8 via 198.51.100.1").check()
        with Network.create("app") as network:
            there = network.connect(container.pid)
            container.serve()
            published = publish("127.0.0.1", 8080, there.ip, 80)
            everywhere = publish("", 8081, there.ip, 80)
            assert outside.ask("127.0.0.1", 8080) == "" and outside.ask("198.51.100.1", 8080) == ""
            assert sh("busybox nc 127.0.0.1 8080 < /dev/null") == network.gateway
            assert outside.ask("198.51.100.1", 8081) == "198.51.100.2"
            published.close()
            everywhere.close()


def no_router() -> None:
    """The machine passes on for containers alone, and afterwards not at all."""
    with ExitStack() as stack:
        left, right = neighbour(stack, 100), neighbour(stack, 101)
        right.serve()
        with Network.create("one"):
            with Network.create("two"):
                assert FORWARD.read_text() == "1\n"
                assert left.ask("198.51.101.2") == ""
            assert FORWARD.read_text() == "1\n"
        assert FORWARD.read_text() == "0\n"
        with Network.create("inside", internal=True):
            assert FORWARD.read_text() == "0\n"


def a_router() -> None:
    """A machine that was a router before stays one."""
    with ExitStack() as stack:
        left, right = neighbour(stack, 100), neighbour(stack, 101)
        right.serve()
        FORWARD.write_text("1")
        with Network.create("one"):
            assert left.ask("198.51.101.2") == "198.51.100.2"
        assert FORWARD.read_text() == "1\n"


def closed_by_others() -> None:
    """Docker and ufw let iptables drop what is passed on; our networks work all the same."""
    sh("iptables -P FORWARD DROP")
    with ExitStack() as stack:
        outside, a, b = neighbour(stack, 100), Host(stack), Host(stack)
        outside.serve()
        before = sh("iptables -S")
        with Network.create("one") as network:
            there = network.connect(a.pid)
            network.connect(b.pid)
            a.serve()
            assert b.ask(there.ip) and b.ask("198.51.100.2") == "198.51.100.1"
            assert outside.ask(there.ip) == ""
            with_published = publish("", 8080, there.ip, 80)
            assert outside.ask("198.51.100.1", 8080) == "198.51.100.2"
            with_published.close()
        assert sh("iptables -S") == before


def read_only_sys() -> None:
    """Where forwarding can't be switched on, the error says so, and internal networks work."""
    sh("mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys")
    with pytest.raises(KernelError) as refused:
        Network.create("app")
    assert refused.value.errno == errno.EROFS and "internal" in refused.value.remedy
    assert links() == {"lo"} and tables() == []
    with Network.create("inside", internal=True) as network:
        assert links() == {"lo", network.bridge}


OWNER = """
import sys
from kit.containers.networks import Network, publish
network = Network.create("killed")
endpoint = network.connect(int(sys.argv[1]), aliases=["a"])
port = publish("", 0, endpoint.ip, 80)
print(network.bridge, endpoint.link.path, port.host_port, endpoint.ip, network.gateway, flush=True)
sys.stdin.read()
"""


def owner_killed() -> None:
    """What a program leaves that was killed with -9 is removed by `kit clean`, and not what lives."""
    sh("iptables -P FORWARD DROP")
    untouched = sh("iptables -S"), FORWARD.read_text()
    with ExitStack() as stack:
        programs = []
        for _ in range(2):
            container = Host(stack)
            argv = [sys.executable, "-c", OWNER, str(container.pid)]
            program = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(program.kill)
            assert program.stdout is not None
            programs.append((program, container, program.stdout.readline().split()))
        (first, container, (bridge, link, *_)), (second, _, (its_bridge, *_)) = programs
        assert FORWARD.read_text() == "1\n" and {bridge, its_bridge, link} <= links()
        first.kill()
        first.wait()
        sh(f"unshare --net {sys.executable} -m kit clean")  # a cleaner that can't see it leaves it listed
        assert bridge in links() and "eth0" in container.run("ip link").stdout
        said = sh(f"{sys.executable} -m kit clean")
        assert f"removed link {bridge}\n" in said and f"removed table {bridge}\n" in said, said
        assert not {bridge, link} & links() and its_bridge in links()
        assert set(tables()) & {bridge, its_bridge, "filter"} == {its_bridge, "filter"}
        assert bridge not in sh("iptables -S") and its_bridge in sh("iptables -S")
        assert "eth0" not in container.run("ip link").stdout
        assert FORWARD.read_text() == "1\n"
        second.kill()
        second.wait()
        sh(f"{sys.executable} -m kit clean")
        assert links() == {"lo"} and tables() == ["filter"]
        assert (sh("iptables -S"), FORWARD.read_text()) == untouched


def owner_ended() -> None:
    """A program that ends in good order without closing anything leaves nothing either."""
    with ExitStack() as stack:
        container = Host(stack)
        argv = [sys.executable, "-c", OWNER, str(container.pid)]
        subprocess.run(argv, stdin=subprocess.DEVNULL, check=True, capture_output=True)
        assert links() == {"lo"} and tables() == [] and FORWARD.read_text() == "0\n"


BUSY = """
import sys
from kit.containers.networks import Network, publish
print("ready", flush=True)
while True:
    with Network.create("busy") as network:
        endpoint = network.connect(int(sys.argv[1]), aliases=["a"])
        publish("", 0, endpoint.ip, 80).close()
        publish("", 0, endpoint.ip, 80, "udp").close()
"""


def killed_at_any_moment() -> None:
    """Whatever a program was about when it was killed, nothing of it stays."""
    sh("iptables -P FORWARD DROP")
    with ExitStack() as stack:
        container = Host(stack)
        for moment in range(8):
            argv = [sys.executable, "-c", BUSY, str(container.pid)]
            program = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
            stack.callback(program.kill)
            assert program.stdout is not None
            program.stdout.readline()
            time.sleep(random.uniform(0.05, 0.6))
            program.kill()
            program.wait()
            sh(f"{sys.executable} -m kit clean")
            assert links() == {"lo"} and tables() == ["filter"], moment
            assert "kit-" not in sh("iptables -S") and FORWARD.read_text() == "0\n", moment
            assert "eth0" not in container.run("ip link").stdout


def two_programs() -> None:
    """Two programs with a bridge each: their containers don't meet, but by what is published."""
    with ExitStack() as stack:
        programs = []
        for _ in range(2):
            container = Host(stack)
            container.serve()
            argv = [sys.executable, "-c", OWNER, str(container.pid)]
            program = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(program.kill)
            assert program.stdout is not None
            bridge, _, port, ip, gateway = program.stdout.readline().split()
            programs.append((program, container, bridge, int(port), ip, gateway))
        first, a, its_bridge, its_port, its_ip, its_gateway = programs[0]
        second, b, bridge, port, ip, gateway = programs[1]
        assert its_ip != ip and a.ask(ip) == b.ask(its_ip) == ""
        assert a.ask(gateway, port) == gateway and b.ask(gateway, its_port) == its_gateway
        first.communicate("")
        assert its_bridge not in links() and bridge in links() and FORWARD.read_text() == "1\n"
        assert b.ask(gateway, port) == sh(f"busybox nc 127.0.0.1 {port} < /dev/null") == gateway
        second.communicate("")
        assert links() == {"lo"} and tables() == [] and FORWARD.read_text() == "0\n"


def subnets_in_use() -> None:
    """What the machine has a route to is not given away."""
    with ExitStack() as stack:
        neighbour(stack, 100)
        for wrong in ("198.51.100.0/24", "198.51.100.128/25", "198.51.0.0/16", "127.1.0.0/16", "0.0.0.0/0"):
            with pytest.raises(ValueError, match="has a route to"):
                Network.create("clash", subnet=wrong)
        sh("ip route add 172.16.0.0/13 via 198.51.100.2; ip route add blackhole 172.25.0.0/16")
        with Network.create("free") as network:
            assert network.subnet == "172.24.0.0/16"
        assert links() == {"lo", "lan100"} and tables() == []


SEVERAL = """
from kit.containers.networks import Network
networks = [Network.create(f"n{number}") for number in range(4)]
print(*(network.subnet for network in networks), flush=True)
input()
"""


def several_programs() -> None:
    """Programs that look for free subnets at the same time don't take the same."""
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", SEVERAL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    subnets = [
        subnet for program in programs if program.stdout for subnet in program.stdout.readline().split()
    ]
    assert len(subnets) == len(set(subnets)) == 12
    for program in programs:
        program.communicate("\n")
    assert links() == {"lo"} and tables() == [] and FORWARD.read_text() == "0\n"


if __name__ == "__main__":
    sh("ip link set lo up")
    FORWARD.write_text("0")  # a new namespace begins with the value of the first
    globals()[sys.argv[1]]()
