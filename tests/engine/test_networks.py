"""Networks, asked for by programs that are not ours."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import docker as sdk
import pytest
from docker.types import IPAMConfig, IPAMPool

from kit.engine import serve
from tests.engine.conftest import Docker

pytestmark = pytest.mark.needs("root", "docker")


def test_a_network_is_made_shown_and_removed(client: sdk.DockerClient) -> None:
    pool = IPAMPool(subnet="10.99.8.0/24", gateway="10.99.8.254")
    network = client.networks.create(
        "nn", labels={"a": "b"}, ipam=IPAMConfig(pool_configs=[pool]), internal=True, attachable=True
    )
    told = network.attrs
    assert (told["Name"], told["Driver"], told["Scope"]) == ("nn", "bridge", "local")
    assert told["IPAM"]["Config"] == [{"Subnet": "10.99.8.0/24", "Gateway": "10.99.8.254"}]
    assert told["IPAM"]["Options"] is None and told["Labels"] == {"a": "b"} and told["Internal"]
    for text in ("nn", network.id, network.id[:10]):
        assert client.networks.get(text).id == network.id
    with pytest.raises(sdk.errors.APIError) as there:
        client.networks.create("nn")
    assert there.value.status_code == 409
    network.remove()
    with pytest.raises(sdk.errors.NotFound):
        network.reload()
    for name in ("bridge", "host", "none"):
        with pytest.raises(sdk.errors.APIError) as fixed:
            client.networks.get(name).remove()
        assert fixed.value.status_code == 403
        with pytest.raises(sdk.errors.APIError) as fixed:
            client.networks.create(name)
        assert fixed.value.status_code == 403


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"Driver": "host"}, "Driver"),
        ({"Driver": "overlay"}, "Driver"),
        ({"EnableIPv6": True}, "EnableIPv6"),
        ({"Ingress": True}, "Ingress"),
        ({"ConfigOnly": True}, "ConfigOnly"),
        ({"ConfigFrom": {"Network": "x"}}, "ConfigFrom"),
        ({"Options": {"com.docker.network.driver.mtu": "1400"}}, "mtu"),
        ({"IPAM": {"Driver": "dhcp"}}, "IPAM.Driver"),
        ({"IPAM": {"Options": {"foo": "bar"}}}, "IPAM.Options.foo"),
        ({"IPAM": {"Config": [{"Subnet": "10.99.8.0/24", "IPRange": "10.99.8.0/28"}]}}, "IPRange"),
        ({"IPAM": {"Config": [{"Subnet": "10.99.8.0/24", "AuxiliaryAddresses": {"a": "10.99.8.5"}}]}}, "Aux"),
        ({"IPAM": {"Config": [{"Subnet": "10.99.8.0/24"}, {"Subnet": "10.99.9.0/24"}]}}, "one subnet"),
        ({"IPAM": {"Config": [{"Subnet": "2001:389::/64"}]}}, ""),
        ({"IPAM": {"Config": [{"Subnet": "10.99.8.0/24", "Gateway": "10.1.1.1"}]}}, ""),
        ({"IPAM": {"Config": {}}}, "must be a list"),
        ({"Labels": ["a=b"]}, "Labels"),
        ({"Name": ""}, "can't name"),
        ({"Name": "a/b"}, "can't name"),
        ({"Name": "x" * 256}, "can't name"),
    ],
)
def test_what_can_not_be_is_refused_by_name(
    client: sdk.DockerClient, asked: dict[str, object], word: str
) -> None:
    answer = client.api._post_json(client.api._url("/networks/create"), data={"Name": "nn", **asked})
    assert answer.status_code == 400 and word in answer.json()["message"]
    assert len(client.networks.list()) == 3


def test_lists_are_filtered(docker: Docker, client: sdk.DockerClient) -> None:
    docker("network", "create", "--label", "a=1", "net1")
    docker("network", "create", "--label", "a=2", "net2")
    docker("create", "--name", "cc", "--network", "net1", "busybox")

    def names(**filters: object) -> set[str]:
        return {one.name for one in client.networks.list(filters=filters)}

    assert names(name="net") == names(type="custom") == names(label="a") == {"net1", "net2"}
    assert names(type="builtin") == {"bridge", "host", "none"} == names() - {"net1", "net2"}
    assert (
        names(driver="null") == {"none"} and names(scope="swarm") == set() and names(scope="local") == names()
    )
    assert names(dangling=True) == {"net2"} and names(label="a=1") == {"net1"}
    assert [one.name for one in client.networks.list(ids=[client.networks.get("net2").id])] == ["net2"]
    assert client.networks.list(ids=["nothing"]) == [] == client.networks.list(names=["nothing"])
    assert docker("network", "prune", "-f", "--filter", "label!=a") == ""
    assert docker("network", "prune", "-f", "--filter", "until=1h") == ""
    assert docker("network", "prune", "-f").split("\n")[1:] == ["net2"]


def test_plugged_in_and_pulled_out(docker: Docker, client: sdk.DockerClient) -> None:
    network = client.networks.create("nn")
    container = client.containers.create("busybox", ["sleep", "100"])
    network.connect(container, aliases=["foo"])  # before it runs
    assert network.containers == []
    container.start()
    network.reload()
    assert network.containers == [container]
    (one,) = client.networks.list(ids=[network.id], greedy=True)
    assert one.containers == [container]
    (inside,) = network.attrs["Containers"].values()
    container.reload()
    told = container.attrs["NetworkSettings"]["Networks"]["nn"]
    assert inside["IPv4Address"] == f"{told['IPAddress']}/{told['IPPrefixLen']}" and "foo" in told["Aliases"]
    assert docker("run", "--rm", "--network", "nn", "busybox", "nslookup", "foo").count(told["IPAddress"])
    with pytest.raises(sdk.errors.APIError) as again:
        network.connect(container)
    assert again.value.status_code == 403
    assert "active endpoints" in docker.run("network", "rm", "nn").stderr
    network.disconnect(container)
    network.reload()
    assert network.containers == []
    with pytest.raises(sdk.errors.APIError) as again:
        network.disconnect(container)
    assert again.value.status_code == 403
    network.connect(container, ipv4_address=told["IPAddress"])
    container.reload()
    told = container.attrs["NetworkSettings"]["Networks"]["nn"]
    assert told["IPAMConfig"]["IPv4Address"] == told["IPAddress"]
    for wish in (
        {"ipv6_address": "2001:389::2"},
        {"links": [("a", "b")]},
        {"link_local_ips": ["169.254.8.8"]},
    ):
        with pytest.raises(sdk.errors.APIError) as refused:
            client.networks.create(f"n{len(str(wish))}").connect(container, **wish)
        assert refused.value.status_code == 400
    with pytest.raises(sdk.errors.APIError):
        client.networks.get("host").connect(container)
    docker("create", "--name", "hosted", "--network", "host", "busybox")
    with pytest.raises(sdk.errors.APIError):
        network.connect("hosted")
    with pytest.raises(sdk.errors.NotFound):
        network.connect("nothing")


def test_published_ports_follow(docker: Docker) -> None:
    """A port must not lead to an address that was given back."""
    docker("network", "create", "one")
    docker("network", "create", "two")
    serving = "mkdir /w; echo found > /w/index.html; httpd -f -h /w"
    docker(
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "one",
        "-p",
        "127.0.0.1:0:80",
        "busybox",
        "sh",
        "-c",
        serving,
    )
    place = docker("port", "web", "80/tcp")

    def page() -> bytes:
        with urllib.request.urlopen(f"http://{place}/", timeout=5) as answer:
            return bytes(answer.read())

    docker("exec", "web", "sh", "-c", "until wget -qO- 127.0.0.1; do :; done")
    assert page() == b"found\n"
    docker("network", "connect", "two", "web")
    docker("network", "disconnect", "one", "web")
    assert docker("port", "web", "80/tcp") == place and page() == b"found\n"
    docker("network", "disconnect", "two", "web")
    assert docker("port", "web") == ""
    with pytest.raises(OSError):
        page()
    docker("network", "connect", "one", "web")
    place = docker("port", "web", "80/tcp")
    assert page() == b"found\n"


def test_networks_outlive_the_engine(root: Path, tmp_path: Path) -> None:
    with serve(tmp_path / "s", root) as engine:
        docker = Docker(engine.socket, tmp_path)
        docker("network", "create", "nn")
        docker("run", "--rm", "busybox", "true")
        made = json.loads(docker("network", "inspect", "nn"))
        there = {one["Name"]: one["Id"] for one in engine.networks.known.values()}
    with serve(tmp_path / "s", root) as engine:
        docker = Docker(engine.socket, tmp_path)
        assert json.loads(docker("network", "inspect", "nn")) == made
        assert {one["Name"]: one["Id"] for one in engine.networks.known.values()} == there
        assert docker("run", "--rm", "--network", "nn", "busybox", "echo", "hi") == "hi"
