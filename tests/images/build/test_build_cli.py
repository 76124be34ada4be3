"""The command `kit build`, also interrupted, killed, and run by someone who may not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kit.images.find import find
from kit.linux.spawn import run as spawn
from tests.leaks import left_since, look

ROOT = Path(__file__).resolve().parents[3]
KIT = [sys.executable, "-m", "kit"]
LONG = "FROM busybox\nRUN echo > /x; echo started; sleep 1000\n"

pytestmark = pytest.mark.needs("root", "busybox")


@pytest.fixture
def kit(store, context):
    """Run `kit build` on a Dockerfile with options."""

    def kit(text: str, *options: str) -> subprocess.CompletedProcess[str]:
        (context / "Dockerfile").write_text(text)
        return subprocess.run(
            [*KIT, "build", "--store", str(store.directory), *options, str(context)],
            cwd=ROOT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    return kit


def test_as_people_know_it(kit, store):
    done = kit("FROM busybox\nARG A\nRUN echo $A\n", "-t", "app", "-t", "app:1", "--build-arg", "A=hello")
    assert done.returncode == 0, done.stderr
    image = find(store, "app")[1]
    lines = done.stdout.split("\n")
    assert lines[:2] == ["Step 1/3 : FROM busybox", " ---> CACHED"]
    assert lines[4:6] == ["Step 3/3 : RUN echo $A", "      hello"]
    assert lines[7:] == [
        f"Successfully built {image.id[7:19]}",
        "Successfully tagged app:latest",
        "Successfully tagged app:1",
        "",
    ]  # fmt: skip


def test_options(kit, store, tmp_path, monkeypatch):
    monkeypatch.setenv("FROM_HERE", "x")
    other = tmp_path / "other.file"
    other.write_text("FROM busybox AS one\nARG FROM_HERE\nENV A=$FROM_HERE\nFROM busybox\nRUN false\n")
    done = kit(
        "nonsense", "-f", str(other), "--target", "one", "--label", "b=c", "--build-arg", "FROM_HERE", "-q",
        "-t", "o", "--no-cache", "--network", "host",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    image = find(store, "o")[1]
    assert done.stdout == f"{image.id}\n"
    config = image.config["config"]
    assert config["Labels"]["b"] == "c" and "A=x" in config["Env"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("FROM busybox\nRUN echo y; exit 4\n", [], "Error: Dockerfile:2: RUN echo y; exit 4: exit status 4"),
        ("FROM busybox\nRUN echo why; exit 4\n", ["-q"], "exit status 4\nwhy"),
        ("FROM nowhere\n", [], "Dockerfile:1"),
        ("FROM busybox\nRUM x\n", [], "Dockerfile:2: 'RUM' is no instruction. Did you mean RUN?"),
        ("FROM busybox\n", ["-f", "-"], "Name it with -f FILE"),
        ("FROM busybox\n", ["--label", "x"], "--label 'x' is not NAME=VALUE"),
        ("FROM busybox\n", ["-t", "A"], "capitals"),
    ],
)  # fmt: skip
def test_failures_are_told_in_a_sentence(kit, text, options, message):
    done = kit(text, *options)
    assert done.returncode in (1, 2) and message in done.stderr, done
    assert "Traceback" not in done.stderr


def test_without_privilege_it_is_said_before_anything_happens(tmp_path):
    context = Path("/tmp") / f"h-{os.getpid()}"
    context.mkdir(mode=0o755)
    try:
        (context / "Dockerfile").write_text("FROM busybox\n")
        done = spawn(
            [*KIT, "build", "--store", str(context / "store"), str(context)],
            cwd=str(ROOT),
            user=(65534, 65534),
        )
        assert done.returncode == 1 and "build an image: EPERM" in done.stderr and "sudo" in done.stderr
        assert os.listdir(context) == ["Dockerfile"]
    finally:
        shutil.rmtree(context)


def test_without_control_groups_it_goes_on_and_says_so(store, context):
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo done\n")
    hidden = ["unshare", "--mount", "sh", "-c", 'umount -R /sys/fs/cgroup; exec "$@"', "sh"]
    done = subprocess.run(
        [*hidden, *KIT, "build", "--store", str(store.directory), str(context)],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "      done\n" in done.stdout and "[Warning] The RUN had no limits: " in done.stdout


def started(store, context) -> subprocess.Popen[str]:
    """A build in the middle of its RUN."""
    (context / "Dockerfile").write_text(LONG)
    process = subprocess.Popen(
        [*KIT, "build", "--store", str(store.directory), "-t", "never", str(context)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert any("started" in line and "RUN" not in line for line in process.stdout)
    return process


def unharmed(store, kit) -> None:
    """No name was given, nothing unfinished lies about, and the store can be built in."""
    assert list(store.tags()) == ["docker.io/library/busybox:latest"]
    assert list((store.directory / "mounts").iterdir()) == []
    done = kit("FROM busybox\nRUN echo > /x\n", "-t", "after")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(store, context, kit, number):
    before = look()
    with started(store, context) as process:
        process.send_signal(number)
        assert process.wait(30) in (1, 143)
    assert not left_since(before)
    unharmed(store, kit)


def test_killed_and_cleaned(store, context, kit):
    before = look()
    with started(store, context) as process:
        process.kill()
    clean = subprocess.run([*KIT, "clean"], cwd=ROOT, capture_output=True, text=True)
    assert clean.returncode == 0, clean.stderr
    assert not left_since(before)
    unharmed(store, kit)
