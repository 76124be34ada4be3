"""Volumes, asked for by programs that are not ours."""

from __future__ import annotations

import json
from pathlib import Path

import docker as sdk
import pytest

from kit.engine import Engine, serve
from tests.engine.conftest import Docker

pytestmark = pytest.mark.needs("root", "docker")


def test_a_volume_is_made_shown_and_removed(docker: Docker, client: sdk.DockerClient, engine: Engine) -> None:
    made = client.api.create_volume("vv", labels={"a": "b"})
    assert made == client.api.inspect_volume("vv") and made in client.api.volumes()["Volumes"]
    assert (made["Driver"], made["Scope"], made["Labels"]) == ("local", "local", {"a": "b"})
    assert Path(made["Mountpoint"]).is_dir() and made["Options"] is None
    assert client.api.create_volume("vv")["Labels"] == {"a": "b"}  # it was there
    client.api.remove_volume("vv")
    assert not Path(made["Mountpoint"]).exists() and list(engine.volumes.directory.iterdir()) == []
    with pytest.raises(sdk.errors.NotFound):
        client.api.remove_volume("vv")
    assert docker("volume", "rm", "-f", "vv") == "vv"
    with pytest.raises(sdk.errors.NotFound):
        client.volumes.get("vv")


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"Driver": "nfs"}, "Driver"),
        ({"DriverOpts": {"type": "tmpfs"}}, "DriverOpts.type"),
        ({"ClusterVolumeSpec": {"Group": "x"}}, "ClusterVolumeSpec"),
        ({"Labels": ["a=b"]}, "Labels must be an object"),
        ({"Labels": {"a": 1}}, "Labels.a must be a string"),
        ({"Name": 7}, "Name must be a string"),
        ({"Name": "../x"}, "can't name a volume"),
        ({"Name": "x" * 256}, "can't name a volume"),
    ],
)
def test_what_can_not_be_is_refused(client: sdk.DockerClient, asked: dict[str, object], word: str) -> None:
    answer = client.api._post_json(client.api._url("/volumes/create"), data={"Name": "vv", **asked})
    assert answer.status_code == 400 and word in answer.json()["message"]
    assert client.volumes.list() == []


def test_lists_are_filtered(docker: Docker, client: sdk.DockerClient) -> None:
    for name, label in (("data1", "a=1"), ("data2", "a=2")):
        docker("volume", "create", "--label", label, name)
    docker("create", "--name", "cc", "-v", "data1:/d", "busybox")

    def names(**filters: object) -> list[str]:
        return [one.name for one in client.volumes.list(filters=filters)]

    assert names() == names(name="data") == names(driver="local") == names(label="a") == ["data1", "data2"]
    assert names(name="1") == names(label="a=1") == names(dangling=False) == ["data1"]
    assert names(dangling=True) == ["data2"] and names(driver="nfs") == []
    with pytest.raises(sdk.errors.APIError, match="invalid filter"):
        names(color="red")


def test_in_use_is_in_use(docker: Docker, client: sdk.DockerClient) -> None:
    docker("create", "--name", "cc", "-v", "data:/d", "busybox")
    for force in (False, True):
        with pytest.raises(sdk.errors.APIError, match="volume is in use") as refused:
            client.volumes.get("data").remove(force=force)
        assert refused.value.status_code == 409
    docker("rm", "-v", "cc")
    client.volumes.get("data").remove()


def test_prune_spares_names(docker: Docker, engine: Engine) -> None:
    docker("volume", "create", "kept")
    docker("volume", "create", "--label", "keep=1", "labelled")
    docker("create", "--name", "cc", "-v", "/anonymous", "busybox")
    anonymous = docker("volume", "ls", "-q", "--filter", "dangling=false")
    (Path(engine.volumes.get(anonymous)["Mountpoint"]) / "f").write_bytes(bytes(5000))
    assert anonymous not in docker("volume", "prune", "-f")
    docker("rm", "cc")
    assert anonymous in (told := docker("volume", "prune", "-f")) and "5kB" in told and "kept" not in told
    assert docker("volume", "prune", "-af", "--filter", "label!=keep").split("\n")[1] == "kept"
    old = sdk.APIClient(f"unix://{engine.socket}", version="1.41")
    assert old.prune_volumes()["VolumesDeleted"] == ["labelled"]  # before 1.42 that meant all
    old.close()


def test_volumes_outlive_the_engine(root: Path, tmp_path: Path) -> None:
    with serve(tmp_path / "s", root) as engine:
        docker = Docker(engine.socket, tmp_path)
        docker("run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", "echo kept > /d/f")
        made = json.loads(docker("volume", "inspect", "data"))
    (root / "volumes" / "half").mkdir()  # what a power cut leaves of one that was about to be made
    with serve(tmp_path / "s", root) as engine:
        docker = Docker(engine.socket, tmp_path)
        assert json.loads(docker("volume", "inspect", "data")) == made
        assert docker("run", "--rm", "-v", "data:/d:ro", "busybox", "cat", "/d/f") == "kept"
        assert docker("volume", "ls", "-q") == "data"
        assert docker("volume", "create", "half") == "half"
