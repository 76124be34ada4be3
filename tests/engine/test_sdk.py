"""The Docker SDK for Python goes through a container's life."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.utils.socket import next_frame_header, read_exactly

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


def tar_of(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def sleeping(client: docker.DockerClient, **more: Any) -> Any:
    return client.containers.run("busybox", "sleep 100", detach=True, **more)


def test_ways_to_run(client: docker.DockerClient) -> None:
    assert client.containers.run("busybox", "sh -c 'echo hi; sleep 1'", auto_remove=True) == b"hi\n"
    assert list(client.containers.run("busybox", ["printf", "a\nb\n"], stream=True)) == [b"a\n", b"b\n"]
    assert client.containers.run("busybox", "echo hi", log_config={"type": "none"}) is None
    assert client.containers.run("busybox", "id -u", user=1000, remove=True) == b"1000\n"
    groups = client.containers.run("busybox", "id -G", group_add=[1000, "1001"], remove=True)
    assert {b"1000", b"1001"} <= set(groups.split())
    with pytest.raises(docker.errors.APIError, match="no log driver named 'odd' is registered"):
        client.containers.run("busybox", "true", log_config={"type": "odd"})
    with pytest.raises(docker.errors.ContainerError) as failed:
        client.containers.run("busybox", "sh -c 'sleep 1; exit 1'", auto_remove=True)
    assert failed.value.exit_status == 1 and failed.value.stderr is None
    tmp = client.containers.run("busybox", "df -k /t", tmpfs={"/t": "size=3M"}, remove=True)
    assert b"3072" in tmp


def test_logs_and_attaching(client: docker.DockerClient) -> None:
    made = client.api.create_container("busybox", ["printf", "line"])
    stream = client.api.attach_socket(made, {"stdout": 1, "stream": 1, "logs": 1})
    client.api.start(made)
    assert next_frame_header(stream) == (1, 4) and read_exactly(stream, 4) == b"line"
    stream.close()
    client.api.wait(made)
    assert client.api.attach(made, stream=False, logs=True) == b"line"
    two = client.containers.run("busybox", ["printf", "one\ntwo\n"], detach=True)
    two.wait()
    assert two.logs(tail=1) == b"two\n" and two.logs(tail=0) == b"" == two.logs(until=1)
    assert two.logs(since=1, until=int(time.time()) + 5) == b"one\ntwo\n"
    cat = client.containers.run("busybox", "cat", detach=True, stdin_open=True, tty=True)
    typed = client.api.attach_socket(cat.id, {"stdin": True, "stream": True})._sock
    typed.sendall(b"\x10")
    typed.sendall(b"\x11")
    typed.recv(100)
    with pytest.raises(OSError):
        for _ in range(100):
            typed.sendall(b"more\n")
            time.sleep(0.05)
    typed.close()
    cat.reload()
    assert cat.status == "running"


def test_ways_to_exec(client: docker.DockerClient) -> None:
    running = sleeping(client)
    script = ["sh", "-c", "echo out; sleep 0.3; echo err >&2"]
    assert running.exec_run(script).output == b"out\nerr\n"
    assert list(running.exec_run(script, stream=True).output) == [b"out\n", b"err\n"]
    assert list(running.exec_run(script, stream=True, demux=True).output) == [
        (b"out\n", None),
        (None, b"err\n"),
    ]
    assert running.exec_run(script, tty=True).output == b"out\r\nerr\r\n"
    for code, words in ((3, ["sh", "-c", "exit 3"]), (127, ["nosuch"]), (126, ["/etc"])):
        assert running.exec_run(words).exit_code == code
    run = client.api.exec_create(running.id, ["printf", "hi"], tty=True)
    stream = client.api.exec_start(run, socket=True)
    assert next_frame_header(stream) == (1, 2) and read_exactly(stream, 2) == b"hi"
    stream.close()
    script = ["sh", "-c", "echo $X; pwd; id -u"]
    told = running.exec_run(script, environment={"X": "y"}, workdir="/tmp", user="7")
    assert told.output == b"y\n/tmp\n7\n"
    assert client.api.exec_start(client.api.exec_create(running.id, "true"), detach=True) == ""
    with pytest.raises(docker.errors.NotFound):
        client.api.exec_inspect("nosuch")


def test_archives(client: docker.DockerClient) -> None:
    made = client.containers.create("busybox", ["cat", "/vol1/f"], volumes=["/vol1"])
    assert made.put_archive("/vol1", tar_of(f=b"data", g=b"more"))
    made.start()
    made.wait()
    assert made.logs() == b"data"
    pieces, about = made.get_archive("/vol1/f")
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
        found = archive.extractfile("f")
        assert found and found.read() == b"data"
    assert (about["name"], about["size"]) == ("f", 4)
    for path in ("/none", "/vol1/f"):
        with pytest.raises(docker.errors.APIError):
            made.put_archive(path, tar_of(f=b""))
    with pytest.raises(docker.errors.NotFound):
        made.get_archive("/none")


def test_what_is_told_and_changed(client: docker.DockerClient) -> None:
    running = sleeping(
        client, mac_address="02:42:ac:11:00:0a", ports={"2222/tcp": None}, mem_limit="64m",
        restart_policy={"Name": "always"},
        healthcheck={"test": "test ! -e /sick", "interval": 10**8, "retries": 1},
    )  # fmt: skip
    running.reload()
    assert running.attrs["NetworkSettings"]["MacAddress"] == "02:42:ac:11:00:0a"
    assert int(running.ports["2222/tcp"][0]["HostPort"]) > 0
    assert running.attrs["Config"]["Healthcheck"]["Test"] == ["CMD-SHELL", "test ! -e /sick"]
    assert running.top(ps_args="waux")["Processes"][0][10] == "sleep 100" == running.top()["Processes"][0][-1]
    assert {"read", "networks", "precpu_stats", "memory_stats", "blkio_stats"} <= running.stats(
        stream=False
    ).keys()
    for status in ("healthy", "unhealthy"):
        while running.attrs["State"]["Health"]["Status"] != status:
            running.reload()
        running.exec_run("touch /sick")
    assert running.update(
        mem_limit="128m", memswap_limit="128m", restart_policy={"Name": "on-failure", "MaximumRetryCount": 2}
    )
    running.reload()
    assert running.attrs["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
    began = running.attrs["State"]["StartedAt"]
    running.restart(timeout=0)
    running.reload()
    assert running.attrs["State"]["StartedAt"] != began
    with pytest.raises(docker.errors.APIError, match=r"(?i)stop the container before"):
        running.remove()
    running.kill(signal="SIGKILL")
    running.reload()
    assert running.status == "exited"
    assert running.id in client.containers.prune()["ContainersDeleted"]


def test_volumes_from_others(client: docker.DockerClient) -> None:
    mount = docker.types.Mount("/m", "named", type="volume", labels={"l": "1"})
    first = client.containers.create(
        "busybox", "touch /m/f /v/g", mounts=[mount], volumes={"other": {"bind": "/v"}}
    )
    first.start()
    first.wait()
    out = client.containers.run("busybox", "ls /m /v", volumes_from=[first.name], remove=True)
    assert b"f" in out.split() and b"g" in out.split()
    assert client.volumes.get("named").attrs["Labels"] == {"l": "1"}
    image = first.commit("img", changes=["CMD echo changed"])
    assert client.containers.run(image.id, remove=True) == b"changed\n"
