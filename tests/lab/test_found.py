"""What is found on the host is what the container itself and its client say."""

import subprocess

import pytest

from kit import lab

pytestmark = pytest.mark.needs("root")


def test_both_sides(engine, client):
    web = client.containers.run(
        "busybox", "sleep 1000", name="web", detach=True, mem_limit="64m", pids_limit=20
    )
    web.exec_run("sleep 500", detach=True)
    table = lab.found(engine, "web")
    assert table.title == "a container, from both sides"
    rows = {what: (host, inside) for what, host, inside in table.rows}
    web.reload()
    pid = web.attrs["State"]["Pid"]
    assert rows["name"] == (f"web, {web.id[:12]}", web.id[:12])
    there, here = (column.splitlines() for column in rows["processes"])
    assert there[0] == f"{pid}  sleep 1000" and here[0] == "1  sleep 1000"
    assert len(there) == len(here) == 2 and here[1].endswith("sleep 500")
    links = "for kind in uts net mnt; do readlink /proc/1/ns/$kind; done"
    asked = web.exec_run(["sh", "-c", links]).output.decode()
    host, inside = (
        dict(line.split("  ") for line in column.splitlines()) for column in rows["namespaces of its own"]
    )
    assert [f"[{inside[kind]}]" for kind in ("uts", "network", "mount")] == [
        line.partition(":")[2] for line in asked.splitlines()
    ]
    assert all(host[kind] != inside[kind] for kind in host) and "pid" in host
    assert rows["shared"][0] == rows["shared"][1]
    assert rows["control group"][1] == "/", "it stands at the root of what it sees"
    assert web.id[:12] in rows["control group"][0]
    for directory in engine.find("web").task.group.directories:
        assert str(pid) in open(f"{directory}/cgroup.procs").read().split()  # noqa: SIM115
    assert "memory.max  64 MiB" in rows["limits"][0] and "pids.max  20" in rows["limits"][0]
    assert rows["root"][0].endswith("/merged\nan overlay: 1 layer below, upper beside it")
    cable, bridge = rows["network"][0].split("  plugged into the bridge ")
    shown = subprocess.run(
        ["ip", "-o", "link", "show", cable], capture_output=True, text=True, check=True
    ).stdout
    assert f"master {bridge} " in shown
    address = web.attrs["NetworkSettings"]["Networks"]["bridge"]
    assert rows["network"][1] == f"eth0  {address['IPAddress']}/{address['IPPrefixLen']}"
    web.remove(force=True)


def test_the_hosts_network_and_none(engine, client):
    for network, found in (("host", ("ours", "ours")), ("none", ("no cable", "lo alone"))):
        one = client.containers.run("busybox", "sleep 1000", network_mode=network, detach=True)
        rows = {what: (host, inside) for what, host, inside in lab.found(engine, one.id).rows}
        assert rows["network"] == found
        one.remove(force=True)


def test_one_that_does_not_run(engine, client):
    client.containers.create("busybox", "true", name="made")
    with pytest.raises(ValueError, match="made does not run"):
        lab.found(engine, "made")
    with pytest.raises(ValueError, match="made does not run"):
        lab.stats(engine, "made")


def test_stats(engine, client):
    for name in ("one", "two"):
        client.containers.run(
            "busybox", ["sh", "-c", "while :; do :; done"], name=name, detach=True, mem_limit="32m"
        )
    view = lab.stats(engine, "one", "two", seconds=1)
    view.wait(20)
    assert view.title == "what one and two use"
    assert list(view.recordings) == ["one", "two"]
    assert all(
        rows and rows[-1].cpu > 0 and rows[-1].memory_limit == 32 << 20 for rows in view.recordings.values()
    )
