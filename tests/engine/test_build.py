"""`docker build` by the classic builder, as the docker command and the SDK ask for it."""

from __future__ import annotations

import io
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import docker as sdk
import psutil
import pytest

from kit.engine import Engine, serve
from kit.registries.server import serve as registry
from tests.engine.conftest import Docker

pytestmark = pytest.mark.needs("root", "docker")
SIX = """FROM busybox
ARG A=1
ENV X=$A
COPY f /f
RUN cat /f > /b
CMD ["cat", "/f", "/b"]
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "ctx").mkdir()
    (tmp_path / "ctx" / "f").write_text("hello\n")
    (tmp_path / "ctx" / "Dockerfile").write_text(SIX)
    return tmp_path / "ctx"


def nothing_is_left(engine: Engine) -> bool:
    """Whether no mount, no context and no half blob of a build is there."""
    mounts = engine.store.directory / "mounts"
    unfinished = [*(mounts.iterdir() if mounts.exists() else ()), *engine.store.unfinished.iterdir()]
    return not unfinished


def test_six_steps(docker: Docker, context: Path) -> None:
    told = docker("build", "-t", "img:1", "-t", "img:2", "--build-arg", "A=2", "--label", "l=m", str(context))
    for text in (
        "Step 1/6 : FROM busybox",
        "Step 6/6 : CMD",
        "Successfully built",
        "tagged img:1",
        "tagged img:2",
    ):
        assert text in told
    assert "Using cache" not in told
    again = docker("build", "-t", "img:1", "--build-arg", "A=2", "--label", "l=m", str(context))
    assert again.count("Using cache") == 5
    assert docker("inspect", "-f", "{{.Config.Env}} {{.Config.Labels}}", "img:1").count("X=2] map[l:m ") == 1
    assert docker("run", "--rm", "img:2") == "hello\nhello"
    assert docker("build", "--no-cache", str(context)).count("Using cache") == 0
    (context / "f").write_text("other\n")
    assert docker("build", "-q", str(context)).startswith("sha256:")
    assert docker("build", str(context)).count("Using cache") == 5
    assert "Total" in docker("builder", "prune", "-f")
    assert docker("build", str(context)).count("Using cache") == 0


def test_stages_and_other_dockerfiles(docker: Docker, context: Path, tmp_path: Path) -> None:
    (context / "sub").mkdir()
    (context / "sub" / "Other").write_text(
        "FROM busybox AS first\nRUN echo one > /one\n"
        "FROM scratch AS second\nCOPY --from=first /one /\nUSER 5\n"
    )
    docker("build", "-t", "first", "--target", "first", "-f", str(context / "sub" / "Other"), str(context))
    assert docker("run", "--rm", "first", "cat", "/one") == "one"
    docker("build", "-t", "second", "-f", str(context / "sub" / "Other"), str(context))
    assert docker("history", "-q", "second").count("\n") == 1
    (tmp_path / "outside").write_text("FROM busybox\nCOPY . /src\n")
    (context / ".dockerignore").write_text("sub\n")
    docker("build", "-t", "third", "-f", str(tmp_path / "outside"), str(context))
    assert docker("run", "--rm", "third", "ls", "-A", "/src").split() == [
        ".dockerignore", "Dockerfile", "f",
    ]  # fmt: skip


def test_the_sdk_builds(client: sdk.DockerClient, context: Path) -> None:
    image, lines = client.images.build(
        fileobj=io.BytesIO(b"FROM scratch\nARG test\nUSER $test\nLABEL a=b\n"),
        buildargs={"test": "OK"}, labels={"test": "OK"}, rm=True, forcerm=True,
    )  # fmt: skip
    assert image.attrs["Config"]["User"] == "OK" and image.labels == {"a": "b", "test": "OK"}
    assert any("Successfully built" in line.get("stream", "") for line in lines)
    text = b"FROM busybox\nENV FOO=bar\nRUN touch baz\nRUN touch bax\n"

    def cached(*caches: str) -> int:
        lines = client.api.build(
            fileobj=io.BytesIO(text), tag="built", cache_from=[*caches] or None, decode=True
        )
        return sum("Using cache" in line.get("stream", "") for line in lines)

    assert [cached(), cached("built"), cached("nosuchtag")] == [0, 3, 0]
    *_, last = client.api.build(path=str(context), gzip=True, decode=True, nocache=True)
    assert "Successfully built" in last["stream"]
    with pytest.raises(sdk.errors.BuildError) as failed:
        client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN echo said; exit 7\n"), tag="bad")
    assert "non-zero code: 7" in str(failed.value)
    said = list(failed.value.build_log)
    assert {"stream": "said\n"} in said and said[-1]["errorDetail"]["code"] == 7
    with pytest.raises(sdk.errors.ImageNotFound):
        client.images.get("bad")


@pytest.mark.parametrize(("network", "links"), [("", "eth0 lo"), ("bridge", "eth0 lo"), ("none", "lo")])
def test_a_run_has_the_network_that_was_asked_for(
    docker: Docker, tmp_path: Path, network: str, links: str
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "Dockerfile").write_text("FROM busybox\nRUN ls /sys/class/net > /links\n")
    words = ["build", "-t", "net", *([f"--network={network}"] if network else []), str(tmp_path / "here")]
    docker(*words)
    assert " ".join(docker("run", "--rm", "--network=none", "net", "cat", "/links").split()) == links
    assert "Using cache" in docker(*words)


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ("version=2", "DOCKER_BUILDKIT=0"),
        ("remote=https://example.org/x.git", "remote"),
        ("squash=1", "squash"),
        ("memory=1000000", "memory"),
        ("cpuquota=5", "cpuquota"),
        ("shmsize=1000000", "shmsize"),
        ("extrahosts=a:1.2.3.4", "extrahosts"),
        ("networkmode=other", "networkmode"),
        ("platform=foobar", "invalid platform"),
        ("platform=linux/s390x", "invalid platform"),
        ("outputs=x", "outputs"),
        ("buildargs=[]", "buildargs"),
        ("buildargs={", "buildargs"),
        ('labels={"a":1}', "labels.a must be a string"),
        ("t=Bad", "lower case"),
        ("t=a@sha256:" + "0" * 64, "digest"),
        ("dockerfile=none", "Cannot locate"),
        ("dockerfile=../Dockerfile", "Cannot locate"),
        ("dockerfile=/etc/passwd", "Cannot locate"),
        ("target=nowhere", "no stage"),
    ],
)
def test_what_is_not_here_is_refused_by_name(
    client: sdk.DockerClient, engine: Engine, asked: str, word: str
) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("Dockerfile")
        info.size = len(b"FROM busybox\nRUN true\n")
        tar.addfile(info, io.BytesIO(b"FROM busybox\nRUN true\n"))
    answer = client.api._post(client.api._url("/build") + "?" + asked, data=out.getvalue())
    assert answer.status_code == 400 and word in answer.json()["message"]
    assert len(client.images.list(all=True)) == 1 and nothing_is_left(engine)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("FROM busybox\nNOTACOMMAND\n", "NOTACOMMAND"),
        ("", "no FROM"),
        ("RUN true\n", "before the first FROM"),
        ("FROM busybox\nCOPY nothing /\n", "nothing is not in the context"),
        ("FROM busybox\nCOPY ../../etc/passwd /\n", "outside the context"),
        ("FROM busybox\nADD https://127.0.0.1/x /\n", "from the network"),
        ("FROM 127.0.0.1:9/nothing\n", "127.0.0.1:9"),
        ("FROM busybox\nRUN nosuchprogram\n", "non-zero code: 127"),
    ],
)
def test_a_bad_dockerfile_leaves_nothing(docker: Docker, engine: Engine, text: str, word: str) -> None:
    done = docker.run("build", "-t", "img", "-", input=text)
    assert done.returncode != 0 and word in done.stderr and "Traceback" not in done.stderr
    assert docker("images", "-aq").count("\n") == 0 and nothing_is_left(engine)


def test_a_context_can_not_reach_out(client: sdk.DockerClient, tmp_path: Path) -> None:
    for name in ("../evil", "/evil", "a/../../evil"):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            tar.addfile(tarfile.TarInfo(name))
        answer = client.api._post(client.api._url("/build"), data=out.getvalue())
        assert answer.status_code >= 400 and answer.json()["message"]
    for data in (b"garbage" * 1000, b""):
        assert client.api._post(client.api._url("/build"), data=data).status_code >= 400
    assert not Path("/evil").exists() and not list(tmp_path.glob("**/evil"))


def test_an_interrupted_build_leaves_nothing(docker: Docker, engine: Engine, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo begun; sleep 4321\n")
    building = subprocess.Popen(
        ["docker", "build", "-t", "img", str(context)], env=docker.env, stdout=subprocess.PIPE
    )
    assert building.stdout
    while b"begun" not in building.stdout.readline():
        pass
    building.send_signal(signal.SIGINT)
    building.wait(20)

    def running() -> bool:
        return any(
            "sleep 4321" in " ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])
        )

    for _ in range(200):
        if not running() and nothing_is_left(engine):
            break
        time.sleep(0.05)
    assert not running() and nothing_is_left(engine)
    assert docker("images", "-aq").count("\n") == 0


def test_bases_are_pulled(docker: Docker, root: Path, tmp_path: Path) -> None:
    with registry(tmp_path / "hub", seed=True) as hub:
        name = f"{hub.address}/base:1"
        docker("tag", "busybox", name)
        docker("push", name)
        docker("rmi", name)
        text = f"FROM {name} AS one\nLABEL v=1\nFROM scratch\nCOPY --from={name} /bin/busybox /b\n"
        assert docker("build", "-t", "img", "-", input=text).count("Downloaded newer image") == 1
        docker("build", "-t", name, "-", input="FROM busybox\nENV NEW=1\n")
        docker("push", name)
        docker("tag", "busybox", name)
        told = docker("build", "--pull", "-t", "img", "-", input=f"FROM {name}\nLABEL v=2\n")
        assert "Downloaded newer image" in told
        assert "NEW=1" in docker("inspect", "-f", "{{.Config.Env}}", "img")
        with serve(tmp_path / "other.sock", tmp_path / "other", registry_mirror=hub.url) as other:
            second = Docker(other.socket, tmp_path)
            assert "Successfully built" in second("build", "-", input="FROM hello-world\nLABEL a=b\n")
            assert "reached you" in second("run", "--rm", "hello-world")


def test_builds_at_once(docker: Docker, context: Path) -> None:
    quiet = {"env": docker.env, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    builds = [
        subprocess.Popen(["docker", "build", "-t", f"img:{number}", "--no-cache", str(context)], **quiet)
        for number in range(4)
    ]
    assert [one.wait(60) for one in builds] == [0] * 4
    assert docker("images", "-q", "img").count("\n") == 3
