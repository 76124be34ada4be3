"""The Docker SDK for Python goes through a container's life."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from kit.engine import Engine

pytestmark = pytest.mark.needs("root")


@pytest.fixture
def client(engine: Engine) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(f"unix://{engine.socket}")
    yield client
    client.close()


def test_life(client: docker.DockerClient) -> None:
    assert client.ping() and client.version()["ApiVersion"] == "1.44"
    assert client.containers.run("busybox", ["echo", "hi"], remove=True) == b"hi\n"
    with pytest.raises(docker.errors.ContainerError) as failed:
        client.containers.run("busybox", ["sh", "-c", "echo bad >&2; exit 3"], remove=True)
    assert failed.value.exit_status == 3 and b"bad" in failed.value.stderr
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("nothing")
    running = client.containers.run(
        "busybox", "sh -c 'echo up; sleep 100'", detach=True, name="sdk", mem_limit="32m"
    )
    assert [one.name for one in client.containers.list()] == ["sdk"]
    assert running.exec_run("echo in").output == b"in\n"
    assert running.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True).output == (b"o\n", b"e\n")
    assert next(running.logs(stream=True, follow=True)) == b"up\n"
    assert running.stats(stream=False)["memory_stats"]["limit"] == 32 << 20
    assert running.top()["Processes"]
    running.reload()
    assert running.attrs["State"]["Running"] and running.image.tags == ["busybox:latest"]
    assert running.diff() in (None, [])
    running.kill()
    assert running.wait()["StatusCode"] == 137
    running.remove()


def test_images_networks_volumes(client: docker.DockerClient, tmp_path: Path) -> None:
    (tmp_path / "ctx").mkdir()
    (tmp_path / "ctx" / "Dockerfile").write_text("FROM busybox\nLABEL a=b\n")
    image, lines = client.images.build(path=str(tmp_path / "ctx"), tag="img:1")
    assert image.labels["a"] == "b" and any("Successfully built" in line.get("stream", "") for line in lines)
    (again,) = client.images.load(b"".join(image.save(named=True)))
    assert again.id == image.id
    client.images.remove("img:1")
    network = client.networks.create("nn", internal=True)
    volume = client.volumes.create("vv", labels={"l": "1"})
    seen = client.containers.run(
        "busybox", "ls /sys/class/net", network="nn", volumes={"vv": {"bind": "/v"}}, remove=True
    )
    assert seen.split() == [b"eth0", b"lo"]
    volume.remove()
    network.remove()
