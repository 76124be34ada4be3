"""Trees and topologies drawn from what the kernel really says."""

import os

import pytest

from kit import lab, namespaces
from kit.cgroups import Cgroup, loads
from kit.lab.tree import Bar, Node, draw_tree, short
from kit.linux.errors import KernelError
from kit.show import Table

pytestmark = pytest.mark.needs("root")


def test_process_tree(check_picture):
    with namespaces.start("sleep 60", new=("pid", "uts")) as process:
        picture = lab.process_tree(process)
        check_picture(picture)
        assert f"sleep 60: pid {process.pid} here, 1 inside" in picture.alt
        assert "own namespaces: " in picture.alt
        assert "pid" in picture.alt.rpartition("own namespaces: ")[2]
        check_picture(lab.process_tree(os.getpid()))
    with pytest.raises(KernelError, match="ESRCH"):
        lab.process_tree(process.pid)


def test_namespace_tree(check_picture):
    with namespaces.start("sleep 60", new=("uts",)) as process:
        tree = namespaces.tree()
        picture = lab.namespace_tree(tree.of(process.pid))
        check_picture(picture)
        assert "1 of them not ours" in picture.alt
        check_picture(lab.namespace_tree(tree))
        check_picture(lab.namespace_tree(tree.kind("uts")))
    with pytest.raises(ValueError, match="no namespaces"):
        lab.namespace_tree(tree.kind("mount").new().kind("uts"))


def test_topology_of_hosts_on_a_bridge(check_picture):
    with namespaces.Host("alice") as alice, namespaces.Host("bob") as bob, namespaces.Bridge("lan") as lan:
        namespaces.connect(alice, lan, "10.0.0.1/24")
        namespaces.connect(bob, lan, "10.0.0.2/24")
        picture = lab.topology(namespaces.topology(alice, bob, lan))
    check_picture(picture)
    for word in ("host alice", "host bob", "bridge lan", "10.0.0.1/24", "10.0.0.2/24"):
        assert word in picture.alt
    assert picture.alt.count(" to ") >= 2


def test_topology_of_two_hosts(check_picture):
    with namespaces.Host("alice") as alice, namespaces.Host("bob") as bob:
        check_picture(lab.topology(namespaces.topology(alice, bob)))
        namespaces.connect(alice, bob, "10.0.0.1/24", "10.0.0.2/24")
        check_picture(lab.topology(namespaces.topology(alice, bob)))


def test_cgroup_tree(check_picture):
    with Cgroup("lab-tree") as group:
        web, db = group.child("web"), group.child("db")
        web["cpu.max"] = (25_000, 100_000)
        db["memory.max"] = 32 << 20
        with web.start(loads.busy()):
            picture = lab.cgroup_tree(group)
    check_picture(picture)
    assert "3 control groups" in picture.alt
    assert "web: 1 process, CPU limit 25 % of one CPU" in picture.alt
    assert "of 32 MiB" in picture.alt


def test_a_full_bar_and_a_long_name(check_picture):
    root = Node(
        "x" * 500, ("cell\nwith a break",), [Node("child", bar=Bar(2.0, "full", full_is_trouble=True))]
    )
    check_picture(draw_tree([root], ("cells", "bar"), title="t", alt="a tree of two nodes, one full"))


def test_commands_are_shortened_to_names():
    assert short(["/usr/bin/python3", "-m", "http.server", "/srv/www"]) == "python3 -m http.server www"


def test_side_by_side():
    card = lab.side_by_side("host name", on_the_host="a <b>", inside=Table("t", ["n"], [["v"]]))
    bundle = card._repr_mimebundle_()
    assert bundle["text/plain"] == "host name: on the host, inside"
    assert '<th scope="col"' in bundle["text/html"]
    assert "a &lt;b&gt;" in bundle["text/html"]
    assert "<caption" in bundle["text/html"]
    with pytest.raises(ValueError, match="two or more"):
        lab.side_by_side("alone", outside="x")
