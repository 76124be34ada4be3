"""A killed engine: its containers die with it, and the next one tells the truth and leaves nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kit import owner
from kit.engine import serve
from tests.engine.conftest import Docker

pytestmark = pytest.mark.needs("root", "docker")
PROGRAM = [sys.executable, "-m", "kit", "engine"]


def started(socket: Path, root: Path) -> subprocess.Popen[str]:
    words = ["--socket", str(socket), "--data-root", str(root)]
    engine = subprocess.Popen([*PROGRAM, *words], stdout=subprocess.PIPE, text=True)
    assert engine.stdout and "DOCKER_HOST=" in engine.stdout.readline()
    return engine


def killed(engine: subprocess.Popen[str]) -> None:
    engine.kill()
    engine.communicate()


def gone(pid: int) -> bool:
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}"):
            return True
        time.sleep(0.05)
    return False


def test_the_next_engine_tells_the_truth(root: Path, tmp_path: Path) -> None:
    docker = Docker(tmp_path / "s", tmp_path)
    engine = started(tmp_path / "s", root)
    docker(
        "run",
        "-d",
        "--name",
        "plain",
        "-p",
        "127.0.0.1:0:80",
        "busybox",
        "sh",
        "-c",
        "echo x > /kept; sleep 100",
    )
    docker("run", "-d", "--name", "again", "--restart", "unless-stopped", "busybox", "sleep", "100")
    docker("run", "-d", "--name", "halted", "--restart", "unless-stopped", "busybox", "sleep", "100")
    docker("run", "-d", "--name", "short", "--rm", "busybox", "sleep", "100")
    docker("stop", "-t", "0", "halted")
    pid = int(docker("inspect", "-f", "{{.State.Pid}}", "plain"))
    killed(engine)
    assert gone(pid)
    with serve(tmp_path / "s", root):
        states = dict(
            line.split() for line in docker("ps", "-a", "--format", "{{.Names}} {{.State}}").split("\n")
        )
        assert states.pop("again") in ("running", "exited")
        assert states == {"plain": "exited", "halted": "exited"}
        assert (
            docker("inspect", "-f", "{{.State.ExitCode}} {{.State.Error}}", "plain")
            == "137 the engine was killed"
        )
        assert docker("start", "plain") == "plain"
        assert docker("exec", "plain", "cat", "/kept") == "x"
        for _ in range(100):
            if "again" in docker("ps", "--format", "{{.Names}}"):
                break
            time.sleep(0.05)
        else:
            pytest.fail("not started again")


def test_killed_at_any_moment(root: Path, tmp_path: Path) -> None:
    docker = Docker(tmp_path / "s", tmp_path)
    dice = random.Random(6)
    for _ in range(8):
        engine = started(tmp_path / "s", root)
        run = ["docker", "run", "--rm", "busybox", "true"]
        clients = [
            subprocess.Popen(run, env=docker.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for _ in range(3)
        ]
        time.sleep(dice.uniform(0.0, 0.4))
        killed(engine)
        for client in clients:
            client.wait(timeout=20)
    owner.clean()
    with serve(tmp_path / "s", root):
        assert "running" not in docker("ps", "-a", "--format", "{{.State}}")
        docker("container", "prune", "-f")
    assert list((root / "containers").iterdir()) == []


def test_it_ends_well(root: Path, tmp_path: Path) -> None:
    """Containers hear of it first; those that don't care are killed."""
    docker = Docker(tmp_path / "s", tmp_path)
    engine = started(tmp_path / "s", root)
    said = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    docker("run", "-d", "--name", "polite", "--restart", "always", "busybox", "sh", "-c", said)
    docker("run", "-d", "--name", "deaf", "busybox", "sleep", "100")
    while docker("logs", "polite") != "ready":
        time.sleep(0.05)
    engine.send_signal(signal.SIGTERM)
    assert engine.wait(timeout=30) == 0
    engine.communicate()
    assert not (tmp_path / "s").exists()
    with serve(tmp_path / "s", root) as again:
        assert again.find("deaf").state["ExitCode"] == 137
        assert "bye" in docker("logs", "polite")
        for _ in range(100):
            if again.find("polite").running:
                break
            time.sleep(0.05)
        else:
            pytest.fail("the engine stopped it, not its user: it is to run again")


def test_a_document_that_a_power_cut_emptied(root: Path, tmp_path: Path) -> None:
    docker = Docker(tmp_path / "s", tmp_path)
    with serve(tmp_path / "s", root) as engine:
        docker("create", "--name", "aa", "busybox")
        docker("create", "--name", "bb", "busybox")
        (engine.root / "containers" / engine.find("aa").id / "config.json").write_text("")
    with serve(tmp_path / "s", root):
        assert docker("ps", "-a", "--format", "{{.Names}}") == "bb"
