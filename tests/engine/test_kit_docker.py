"""`kit docker`: the everyday words do at the engine what the docker command's do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from kit.engine import Engine
from kit.registries.server import serve as registry

pytestmark = pytest.mark.needs("root")
KIT = [sys.executable, "-m", "kit", "docker"]


class Kit:
    """What a command prints, or the whole result."""

    def __init__(self, host: str) -> None:
        self.env = {**os.environ, "DOCKER_HOST": host}

    def run(self, *words: str, **how: object) -> subprocess.CompletedProcess[str]:
        options = {"capture_output": True, "text": True, "timeout": 60, "env": self.env, **how}
        return subprocess.run([*KIT, *words], **options)  # type: ignore[call-overload,no-any-return]

    def __call__(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.strip()


@pytest.fixture
def kit(engine: Engine) -> Kit:
    return Kit(f"unix://{engine.socket}")


def test_run_has_its_options(kit: Kit, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    words = ["--rm", "-e", "A=b", "-w", "/tmp", "-u", "5:6", "-v", f"{tmp_path}/here:/h:ro", "--read-only"]
    script = "echo $A $(pwd) $(id -u):$(id -g); echo bad >&2; touch /x /h/x 2>/dev/null || echo kept; exit 7"
    done = kit.run("run", *words, "busybox", "sh", "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (7, "b /tmp 5:6\nkept\n", "bad\n")
    assert engine.containers == []
    words = ["-d", "--name", "web", "-p", "127.0.0.1:0:80", "-m", "64m", "--cpus", "0.5", "-v", "data:/w"]
    web = kit("run", *words, "busybox", "sh", "-c", "echo found > /w/index.html; echo up; httpd -f -h /w")
    (about,) = json.loads(kit("inspect", "web"))
    assert (about["Id"], about["State"]["Status"]) == (web, "running")
    assert (about["HostConfig"]["Memory"], about["HostConfig"]["NanoCpus"]) == (64 << 20, 500_000_000)
    titles, line = kit("ps").splitlines()
    assert titles.split() == ["CONTAINER", "ID", "IMAGE", "COMMAND", "STATUS", "PORTS", "NAMES"]
    assert line.split()[:2] == [web[:12], "busybox"] and line.split()[-1] == "web"
    port = re.search(r"127\.0\.0\.1:(\d+)->80/tcp", line)
    assert port is not None
    with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/", timeout=5) as answer:
        assert answer.read() == b"found\n"
    assert kit("logs", "web") == kit("logs", "-n", "1", "web") == "up"
    done = kit.run("exec", "-e", "X=y", "-w", "/w", "web", "sh", "-c", "echo $X; ls; exit 3")
    assert (done.returncode, done.stdout) == (3, "y\nindex.html\n"), done.stderr
    assert "web" in kit("stats", "--no-stream") and "/ 67.1 MB" in kit("stats", "--no-stream")
    assert kit("stop", "-t", "0", "web") == "web"
    assert kit("ps", "-q") == "" and kit("ps", "-aq") == web[:12]
    assert kit("start", "web") == kit("kill", "-s", "9", "web") == "web"
    done = kit.run("rm", "nothing", "web")
    assert (done.returncode, done.stdout) == (1, "web\n") and "No such container: nothing" in done.stderr
    assert engine.containers == [] and kit("volume", "ls", "-q") == kit("volume", "rm", "data") == "data"


def test_images_come_and_go(kit: Kit, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo built > /b\nCMD cat /b\n")
    with registry(tmp_path / "hub") as hub:
        name = f"{hub.address}/a/img:1"
        assert f"Successfully tagged {name}" in kit("build", "-t", name, str(tmp_path))
        assert "1: digest: sha256:" in kit("push", name)
        kit("rmi", name)
        assert "img" not in kit("images")
        done = kit.run("run", "--rm", name)
        assert (done.returncode, done.stdout) == (0, "built\n") and "Unable to find image" in done.stderr
        kit("rmi", name)
        assert f"Downloaded newer image for {name}" in kit("pull", name)
        titles, *lines = kit("images").splitlines()
        assert titles.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
        assert [name.rpartition(":")[0], "1"] in [line.split()[:2] for line in lines]
        assert kit.run("pull", f"{hub.address}/none:1").returncode == 1


def test_networks_and_events(kit: Kit) -> None:
    since = str(time.time() - 1)
    assert kit("network", "create", "nn") == "nn"
    kit("run", "--rm", "--network", "nn", "busybox", "true")
    assert "nn" in kit("network", "ls")
    kit("network", "rm", "nn")
    assert "nn" not in kit("network", "ls")
    told = kit("events", "--since", since, "--until", str(time.time()))
    assert [line.split()[1:3] for line in told.splitlines() if " container " in line][-1][1] == "destroy"


def test_version_and_info(kit: Kit) -> None:
    assert "ApiVersion: 1.44" in kit("version").splitlines()
    assert "Driver: overlay" in kit("info").splitlines()


def test_mistakes_end_with_a_sentence(kit: Kit, tmp_path: Path) -> None:
    for words, status, sentence in (
        (["run", "busybox", "nothing-here"], 1, "nothing-here"),
        (["run", "-m", "much", "busybox"], 1, "much"),
        (["inspect", "nothing"], 1, "No such object: nothing"),
        (["run", "--device", "/dev/null", "busybox"], 2, "such option"),
        (["swarm"], 2, "No such command 'swarm'"),
    ):
        done = kit.run(*words)
        assert done.returncode == status and sentence in done.stderr.splitlines()[-1], done
        assert "Traceback" not in done.stderr
    nobody = Kit(f"unix://{tmp_path}/none").run("ps")
    assert nobody.returncode == 1 and "kit engine" in nobody.stderr and nobody.stderr.count("\n") == 1
