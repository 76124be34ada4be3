"""`kit runtime`: the command line that runc and crun share, and the same bundle run by those two."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit import containers, owner
from kit.images import Store
from kit.images.seed import seed

pytestmark = pytest.mark.needs("root", "busybox")

KIT = [sys.executable, "-m", "kit", "runtime", "--root", "state"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


class Bundle:
    """A bundle whose root is the box's, and commands of the runtime on it; its containers go at the end."""

    def __init__(self, path: Path, box: Any) -> None:
        self.path, self.box = path, box

    def write(self, command: str, change: dict[str, Any] | None = None, **options: Any) -> None:
        document = containers.config({}, root=self.box.root, cmd=["sh", "-c", command], **options)
        document["root"]["path"] = str(self.box.root)
        (self.path / "config.json").write_text(json.dumps(document | (change or {})))

    def kit(self, *words: str, **how: Any) -> subprocess.CompletedProcess[str]:
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
        return subprocess.run([*KIT, *words], text=True, timeout=30, cwd=self.path, env=ENVIRONMENT, **how)

    def done(self, *words: str) -> str:
        answer = self.kit(*words)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def state(self, id: str) -> str:
        status: str = json.loads(self.done("state", id))["status"]
        return status

    def becomes(self, id: str, status: str) -> None:
        deadline = time.monotonic() + 10
        while self.state(id) != status:
            assert time.monotonic() < deadline


@pytest.fixture
def bundle(box: Any, tmp_path: Path) -> Iterator[Bundle]:
    made = Bundle(tmp_path, box)
    yield made
    for id in made.done("list", "-q").split():
        made.done("delete", "--force", id)


@pytest.mark.parametrize("init", [False, True])
def test_the_life_of_a_container(bundle: Bundle, init: bool) -> None:
    bundle.write("echo started > /tmp/said; exec sleep 60", memory=64 << 20, init=init)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # or we would wait for its end
    assert bundle.kit("create", "--pid-file", "pid", "one", **quiet).returncode == 0
    pid = int((bundle.path / "pid").read_text())
    assert bundle.state("one") == "created" and not (bundle.box.root / "tmp/said").exists()
    bundle.done("start", "one")
    bundle.becomes("one", "running")
    assert pid in json.loads(bundle.done("ps", "-f", "json", "one"))
    ran = bundle.kit(
        "exec", "-e", "A=5", "-u", "7:8", "--cwd", "/tmp", "one", "sh", "-c", "id -u; echo $A $PWD; exit 3"
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (3, "7\n5 /tmp\n", "")
    bundle.done("pause", "one")
    assert bundle.state("one") == "paused"
    bundle.done("resume", "one")
    bundle.done("update", "--memory", str(32 << 20), "--pids-limit", "9", "one")
    stats = json.loads(bundle.done("events", "--stats", "one"))
    assert stats["data"]["memory"]["usage"]["limit"] == 32 << 20 and stats["data"]["pids"]["limit"] == 9
    assert "running" in bundle.kit("delete", "one").stderr
    bundle.done("kill", "one", "KILL")
    bundle.becomes("one", "stopped")
    assert "does not run" in bundle.kit("kill", "one").stderr
    bundle.done("delete", "one")
    assert "there is no container one" in bundle.kit("state", "one").stderr


def test_run_ends_as_the_container_ends(bundle: Bundle) -> None:
    bundle.write("read a; echo $a; exit 7")
    ran = bundle.kit("run", "two", input="heard\n")
    assert (ran.returncode, ran.stdout) == (7, "heard\n")
    assert bundle.done("list", "-q") == ""


def test_a_terminal_by_the_console_socket(bundle: Bundle) -> None:
    bundle.write("tty; sleep 60", tty=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(bundle.path / "console"))
        listening.listen()
        assert bundle.kit("run", "-d", "--console-socket", "console", "three").returncode == 0
        taken, _ = listening.accept()
        _, fds, _, _ = socket.recv_fds(taken, 100, 1)
        taken.close()
    assert os.read(fds[0], 100) == b"/dev/pts/0\r\n"
    os.close(fds[0])


def hook(command: str, **more: Any) -> list[dict[str, Any]]:
    return [{"path": "/bin/sh", "args": ["sh", "-c", command], "env": ["WHO=hook"], **more}]


def test_hooks_hear_the_state(bundle: Bundle) -> None:
    names = ("prestart", "createRuntime", "poststart", "poststop")
    hooks = {name: hook(f"cat > {bundle.path}/{name}; echo $WHO >> {bundle.path}/order") for name in names}
    hooks["poststart"] = [*hook("exit 3"), *hook("exec sleep 60", timeout=1), *hooks["poststart"]]
    bundle.write("exec sleep 60", {"hooks": hooks, "annotations": {"a": "b"}})
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    assert bundle.kit("create", "one", **quiet).returncode == 0
    started = bundle.kit("start", "one")
    assert started.returncode == 0 and "exit status 3" in started.stderr and "timed out" in started.stderr
    pid = json.loads(bundle.done("state", "one"))["pid"]
    bundle.done("delete", "--force", "one")
    heard = [json.loads((bundle.path / name).read_text()) for name in names]
    assert [one["status"] for one in heard] == ["created", "created", "running", "stopped"]
    assert [one["pid"] for one in heard] == [pid, pid, pid, 0]
    assert {(one["id"], one["bundle"], str(one["annotations"])) for one in heard} == {
        ("one", str(bundle.path), "{'a': 'b'}")
    }
    assert (bundle.path / "order").read_text() == "hook\n" * 4


def test_a_hook_that_fails_ends_the_container(bundle: Bundle) -> None:
    after = bundle.path / "after"
    hooks = {"prestart": hook("exit 3"), "poststop": hook(f"touch {after}")}
    bundle.write("touch /tmp/ran", {"hooks": hooks})
    created = bundle.kit("create", "one")
    assert created.returncode == 1 and "the prestart hook /bin/sh" in created.stderr
    assert after.exists() and not (bundle.box.root / "tmp/ran").exists()
    assert "there is no container one" in bundle.kit("state", "one").stderr


def test_a_control_group_of_the_bundles_choice(bundle: Bundle) -> None:
    bundle.write("exit 0")
    document = json.loads((bundle.path / "config.json").read_text())
    name = f"{owner.prefix()}-chosen"
    document["linux"]["cgroupsPath"] = f"/{name}"
    document["unknown"] = "and passed over"  # as the specification wants it
    (bundle.path / "config.json").write_text(json.dumps(document))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    assert bundle.kit("create", "one", **quiet).returncode == 0
    pid = json.loads(bundle.done("state", "one"))["pid"]
    assert f"/{name}\n" in Path(f"/proc/{pid}/cgroup").read_text()
    document["linux"]["cgroupsPath"] = "/deeper/down"
    (bundle.path / "config.json").write_text(json.dumps(document))
    assert "cgroupsPath" in bundle.kit("create", "two").stderr


def test_mistakes_are_one_line_and_in_the_log(bundle: Bundle) -> None:
    bundle.write("true", {"hooks": {"createContainer": [{"path": "/bin/true"}]}})
    log = str(bundle.path / "log")
    ran = bundle.kit("--log", log, "--log-format", "json", "create", "x")
    assert ran.returncode == 1 and "config.hooks.createContainer is not supported" in ran.stderr
    assert json.loads(Path(log).read_text())["level"] == "error"
    for words in (
        ["create", "../x"],
        ["start", "none"],
        ["create", "-b", "/nowhere", "x"],
        ["kill", "none", "9"],
    ):
        ran = bundle.kit(*words)
        assert ran.returncode == 1 and ran.stderr.startswith("Error: ") and ran.stderr.count("\n") == 1


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0", "1.2.1", "1.3.0", "2.0.0"])
def test_versions(bundle: Bundle, version: str) -> None:
    bundle.write("exit 0", {"ociVersion": version})
    assert bundle.kit("run", "x").returncode == (1 if version == "2.0.0" else 0)


SCRIPT = "id -u; hostname; grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; ls /dev | grep -v core; exit 7"


@pytest.mark.needs("runc", "crun")
def test_runc_and_crun_run_the_same_bundle(bundle: Bundle) -> None:
    """crun refuses hybrid control groups: it gets a mount namespace without the v2 tree."""
    options = {"hostname": "same", "memory": 64 << 20, "tmpfs": {"/run": "size=1m"}, "pids_limit": 50}
    bundle.write(SCRIPT, **options, ulimits={"nofile": (64, 128)})
    ours = bundle.kit("run", "same")
    hybrid = "umount /sys/fs/cgroup/unified 2>/dev/null; "
    for runtime in (f"runc --root {bundle.path}/runc", f"crun --root {bundle.path}/crun"):
        peer = subprocess.run(
            ["unshare", "-m", "sh", "-c", f"{hybrid}exec {runtime} run same"],
            cwd=bundle.path, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert (peer.returncode, peer.stdout) == (ours.returncode, ours.stdout) == (7, ours.stdout), (
            peer.stderr
        )


@pytest.mark.needs("runc")
def test_an_image_as_a_bundle(tmp_path: Path) -> None:
    seed(Store(tmp_path / "store"), ["hello-world"])
    made = tmp_path / "bundle"
    command = [*KIT[:3], "bundle", "--store", str(tmp_path / "store"), "hello-world", str(made)]
    subprocess.run(command, env=ENVIRONMENT, check=True, timeout=60)
    said = [
        subprocess.run(
            [*runtime, "run", "h"], cwd=made, env=ENVIRONMENT, capture_output=True, text=True, timeout=30
        )
        for runtime in (KIT, ["runc", "--root", str(tmp_path / "runc")])
    ]
    assert [one.returncode for one in said] == [0, 0], said
    assert said[0].stdout == said[1].stdout and "inside a container" in said[0].stdout


@pytest.mark.needs("runc")
def test_ours_runs_what_runc_writes(bundle: Bundle) -> None:
    subprocess.run(["runc", "spec"], cwd=bundle.path, check=True)
    document = json.loads((bundle.path / "config.json").read_text())
    document["root"]["path"] = str(bundle.box.root)
    document["process"] |= {"terminal": False, "args": ["sh", "-c", "touch /x || echo read-only"]}
    (bundle.path / "config.json").write_text(json.dumps(document))
    assert bundle.kit("run", "theirs").stdout == "read-only\n"


def test_signals_go_through(bundle: Bundle) -> None:
    bundle.write("trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done")
    with subprocess.Popen(
        [*KIT, "run", "x"], cwd=bundle.path, env=ENVIRONMENT, stdout=subprocess.PIPE
    ) as running:
        assert running.stdout is not None and running.stdout.readline() == b"ready\n"
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 9
