"""Images, asked for by programs that are not ours: names and their loss, lists, archives, registries."""

from __future__ import annotations

import io
import json
import tarfile
import threading
import time
from pathlib import Path

import bcrypt
import docker as sdk
import pytest

from kit.engine import Engine, serve
from kit.images import Store, shown
from kit.images.gc import collect
from kit.registries.server import serve as registry
from tests.engine.conftest import Docker

pytestmark = pytest.mark.needs("root", "docker")


def build(docker: Docker, name: str, text: str = "FROM busybox\nLABEL a=b\n") -> str:
    """The id of an image that is built from a Dockerfile."""
    return docker("build", "-q", *(["-t", name] if name else []), "-", input=text).split("\n")[-1]


def archive(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_an_image_that_loses_its_name_stays(docker: Docker, engine: Engine) -> None:
    first = build(docker, "img:1")
    second = build(docker, "img:1", "FROM busybox\nLABEL a=c\n")
    listed = docker("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").split("\n")
    assert f"<none>:<none> {first}" in listed and f"img:1 {second}" in listed
    assert docker("images", "-q", "--no-trunc", "--filter", "dangling=true") == first
    assert first not in docker("images", "-q", "--no-trunc", "--filter", "dangling=false")
    assert docker("run", "--rm", first, "echo", "hi") == "hi"
    assert ["<none>", "<none>", first[7:19]] in [list(row[:3]) for row in shown.images(engine.store).rows]
    told = json.loads(docker("inspect", first))[0]
    assert told["RepoTags"] == told["RepoDigests"] == []
    docker("tag", first, "img:2")
    assert docker("images", "-q", "--filter", "dangling=true") == ""
    docker("rmi", "img:2")
    assert first not in docker("images", "-aq", "--no-trunc")
    docker("tag", "busybox", "img:1")
    assert second in docker("image", "prune", "-f") and "NONE" not in str(
        Store(engine.root / "images").tags()
    )


def test_images_are_removed_by_name_and_by_id(docker: Docker) -> None:
    image = build(docker, "a:1")
    docker("tag", "a:1", "b:1")
    several = docker.run("rmi", image)
    assert several.returncode == 1 and "must be forced" in several.stderr
    assert docker("rmi", "a:1") == "Untagged: a:1"
    docker("tag", "b:1", "a:1")
    gone = docker("rmi", "-f", image).split("\n")
    assert sorted(gone) == [f"Deleted: {image}", "Untagged: a:1", "Untagged: b:1"]
    assert docker.run("rmi", image).returncode == 1
    assert docker.run("rmi", "-f", "nothing").returncode == 0  # the command takes "No such image" for done


def test_images_in_use_stay(docker: Docker) -> None:
    image = build(docker, "img:1")
    docker("run", "-d", "--name", "cc", "img:1", "sleep", "100")
    assert "must force" in docker.run("rmi", "img:1").stderr
    assert "cannot be forced" in docker.run("rmi", "-f", image).stderr
    assert docker("rmi", "-f", "img:1") == "Untagged: img:1"
    assert docker("images", "-q", "--no-trunc", "--filter", "dangling=true") == image
    docker("restart", "-t", "0", "cc")
    assert "Deleted" not in docker("image", "prune", "-af") or image not in docker("image", "prune", "-af")
    docker("commit", "cc", "img:2")
    docker("stop", "-t", "0", "cc")
    docker("tag", image, "img:1")
    assert "stopped container" in docker.run("rmi", image).stderr
    docker("rmi", "-f", image)
    docker("start", "cc")
    docker("rm", "-f", "cc")
    assert f"deleted: {image}" in docker("image", "prune", "-f")


def test_lists_are_filtered(docker: Docker, client: sdk.DockerClient) -> None:
    first = build(docker, "a/img:1", "FROM busybox\nLABEL a=1\n")
    second = build(docker, "a/img:2", "FROM busybox\nLABEL a=2\n")

    def ids(**filters: object) -> list[str]:
        return [one.id for one in client.images.list(filters=filters)]

    assert ids(label="a=1") == [first] and set(ids(label="a")) == {first, second}
    assert ids(before="a/img:2")[0] == first and second not in ids(before="a/img:2")
    assert ids(since="a/img:1") == [second] and ids(since=first) == [second]
    assert ids(reference="a/*:2") == [second] and set(ids(reference="a/img")) == {first, second}
    assert first not in ids(until="1h") and len(ids(until=str(int(time.time()) + 5))) == 3
    assert [one.tags for one in client.images.list("a/img")] == [["a/img:2"], ["a/img:1"]]
    with pytest.raises(sdk.errors.APIError, match="invalid filter"):
        ids(color="red")
    with pytest.raises(sdk.errors.APIError, match="No such image"):
        ids(before="nothing")
    base = client.images.get("busybox")
    rows = {
        row["Id"]: row
        for row in client.api._result(
            client.api._get(client.api._url("/images/json"), params={"shared-size": 1}), True
        )
    }
    assert rows[first]["SharedSize"] == base.attrs["Size"] == rows[base.id]["SharedSize"]
    assert client.images.get(first).attrs["Parent"] == base.id and base.attrs["Parent"] == ""
    assert base.attrs["Config"]["OnBuild"] is None


def test_prune_has_filters(docker: Docker, client: sdk.DockerClient) -> None:
    kept, gone = (
        build(docker, "", "FROM busybox\nLABEL keep=1\n"),
        build(docker, "", "FROM busybox\nENV A=1\n"),
    )
    assert client.images.prune({"until": "1h"})["ImagesDeleted"] is None
    pruned = client.api.prune_images({"label!": "keep"})
    assert pruned["ImagesDeleted"] == [{"Deleted": gone}] and pruned["SpaceReclaimed"] > 0
    docker("create", "--name", "cc", "busybox")
    with pytest.raises(sdk.errors.APIError, match="neither true nor false"):
        client.images.prune({"dangling": "maybe"})
    pruned = client.images.prune({"dangling": False})
    assert {"Deleted": kept} in pruned["ImagesDeleted"] and client.images.get("busybox")


def test_archives_come_and_go(docker: Docker, client: sdk.DockerClient, tmp_path: Path) -> None:
    image, bare = build(docker, "img:1"), build(docker, "", "FROM busybox\nENV A=1\n")
    docker("save", "-o", str(tmp_path / "both"), "img:1", bare)
    docker("rmi", image, bare)
    told = docker("load", "-q", "-i", str(tmp_path / "both")).split("\n")
    assert sorted(told) == [f"Loaded image ID: {bare}", "Loaded image: img:1"]
    assert docker("images", "-q", "--no-trunc", "--filter", "dangling=true") == bare
    assert docker("inspect", "-f", "{{.Id}}", "img:1") == image
    (loaded,) = client.images.load(b"".join(client.images.get(bare).save()))
    assert loaded.id == bare
    missing = docker.run("save", "-o", str(tmp_path / "x"), "img:1", "nothing")
    assert missing.returncode == 1 and "No such image" in missing.stderr and not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"\xff" * 10_000, "no tar"),
        (archive(**{"../../etc/x": b"x"}), "leads out"),
        (archive(**{"/etc/x": b"x"}), "leads out"),
        (archive(**{"some.txt": b"x"}), "neither index.json nor manifest.json"),
        (archive(**{"manifest.json": b"[" * 100_000}), "JSON"),
        (archive(**{"manifest.json": b'["' + b"x" * (5 << 20) + b'"]'}), "too many"),
        (archive(**{"manifest.json": b'[{"Config": "c", "RepoTags": ["a:1"], "Layers": ["l"]}]'}), "not in"),
        (archive(**{"index.json": b'{"manifests": 7}'}), "list of objects"),
    ],
)
def test_what_is_no_archive_of_images_is_refused(
    docker: Docker, engine: Engine, tmp_path: Path, data: bytes, word: str
) -> None:
    (tmp_path / "bad").write_bytes(data)
    before = engine.store.digests()
    done = docker.run("load", "-i", str(tmp_path / "bad"))
    assert done.returncode == 1 and word in done.stderr and "Traceback" not in done.stderr
    collect(engine.store)
    assert engine.store.digests() == before and not list(engine.store.unfinished.iterdir())


def test_files_become_an_image(docker: Docker, client: sdk.DockerClient, tmp_path: Path) -> None:
    docker("create", "--name", "cc", "busybox")
    docker("export", "-o", str(tmp_path / "cc.tar"), "cc")
    changes = ["-c", 'CMD ["echo", "from", "cmd"]', "-c", "ENV A=1 B=2", "-c", "USER 7", "-m", "why"]
    image = docker("import", *changes, str(tmp_path / "cc.tar"), "img:3")
    assert docker("run", "--rm", "img:3") == "from cmd" and docker("run", "--rm", image, "id", "-u") == "7"
    assert docker("history", "--format", "{{.Comment}}{{.CreatedBy}}", "img:3") == "why"
    assert docker.run("import", "-c", "RUN true", str(tmp_path / "cc.tar")).returncode == 1
    assert docker.run("import", "--platform", "linux/s390x", str(tmp_path / "cc.tar")).returncode == 1
    unnamed = json.loads(client.api.import_image_from_data(archive(f=b"x")).splitlines()[-1])["status"]
    assert client.images.get(unnamed).tags == []
    (tmp_path / "bad").write_bytes(archive(**{"../../x": b"x"}))
    bad = docker.run("import", str(tmp_path / "bad"))
    assert bad.returncode == 1 and not list(tmp_path.glob("**/x"))


def test_a_registry_with_a_password(docker: Docker, tmp_path: Path) -> None:
    users = tmp_path / "htpasswd"
    users.write_bytes(b"ann:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)) + b"\n")
    with registry(tmp_path / "hub", htpasswd=users) as hub:
        name = f"{hub.address}/a/img:1"
        image = build(docker, name)
        assert docker.run("push", name).returncode == 1
        assert docker.run("login", "-u", "ann", "-p", "wrong", hub.address).returncode == 1
        docker("login", "-u", "ann", "-p", "secret", hub.address)
        assert "digest: sha256:" in docker("push", name) and "Layer already exists" in docker("push", name)
        docker("rmi", name)
        assert "Downloaded newer image" in docker("pull", name)
        assert docker("inspect", "-f", "{{.Id}}", name) == image
        digest = docker("inspect", "-f", "{{index .RepoDigests 0}}", name)
        docker("rmi", name)
        docker("pull", digest)
        assert docker(
            "images", "--format", "{{.Repository}} {{.Tag}}", "--filter", "dangling=false"
        ).startswith(f"{hub.address}/a/img <none>")
        docker("rmi", digest)
        built = docker("build", "-t", "top", "-", input=f"FROM {name}\nCMD echo built\n")
        assert "Downloaded newer image" in built and docker("run", "--rm", "top") == "built"
        docker("logout", hub.address)
        assert docker.run("push", name).returncode == 1


def test_a_registry_that_is_not_there(docker: Docker, client: sdk.DockerClient) -> None:
    for words in (["pull", "127.0.0.1:9/img"], ["push", "127.0.0.1:9/img"]):
        docker("tag", "busybox", "127.0.0.1:9/img")
        done = docker.run(*words)
        assert done.returncode == 1 and "127.0.0.1:9" in done.stderr + done.stdout
    assert docker.run("pull", "127.0.0.1:9/Bad").returncode == 1
    assert "No such image" in docker.run("tag", "nothing", "a:1").stderr
    with pytest.raises(sdk.errors.APIError, match="400 Client Error"):
        client.api.tag("busybox", "a", "sha256:1")
    assert docker.run("push", "nothing:1").returncode == 1
    invalid = docker.run("pull", "--platform", "foobar", "busybox")
    assert invalid.returncode == 1 and "invalid platform" in invalid.stderr
    assert docker.run("search", "busybox").returncode == 1


def test_a_tag_that_moves_leaves_the_old_image(docker: Docker, root: Path, tmp_path: Path) -> None:
    with registry(tmp_path / "hub") as hub:
        name = f"{hub.address}/img"
        old = build(docker, name)
        docker("push", name)
        with serve(tmp_path / "other.sock", tmp_path / "other") as other:
            second = Docker(other.socket, tmp_path)
            second("pull", name)
            build(docker, name, "FROM busybox\nLABEL a=new\n")
            docker("push", name)
            assert "Downloaded newer image" in second("pull", name)
            assert second("images", "-q", "--no-trunc", "--filter", "dangling=true") == old


def test_the_disk_is_told_of(docker: Docker, client: sdk.DockerClient) -> None:
    build(docker, "img:1")
    docker("create", "--name", "cc", "-v", "vv:/v", "img:1")
    told = client.df()
    assert {row["Containers"] for row in told["Images"]} == {0, 1}
    assert [(one["Name"], one["UsageData"]["RefCount"]) for one in told["Volumes"]] == [("vv", 1)]
    url = client.api._url("/system/df")
    some = client.api._result(client.api._get(url, params={"type": "volume"}), True)
    assert some["Images"] is None and len(some["Volumes"]) == 1
    assert client.api._get(url, params={"type": "color"}).status_code == 400
    shown = docker("info")
    for line in (
        "Server Version:",
        "Storage Driver: overlay",
        "Cgroup Driver: cgroupfs",
        "Default Runtime: kit",
    ):
        assert line in shown
    assert "WARNING" not in shown and "Experimental:" in docker("version")


def test_many_at_once_lose_no_image(docker: Docker) -> None:
    texts = [f"FROM busybox\nLABEL n={number}\n" for number in range(8)]
    found: dict[str, str] = {}

    def run(text: str) -> None:
        found[text] = build(docker, "img:1", text)

    threads = [threading.Thread(target=run, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    listed = docker("images", "-aq", "--no-trunc").split("\n")
    assert len(set(found.values())) == 8 and set(found.values()) < set(listed)
    assert docker("images", "--format", "{{.ID}}", "img").count("\n") == 0
