"""kit pull, push and tags as a person runs them."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.images.image import Image
from kit.images.store import Store
from kit.registries import push
from tests.images.images import image, layer
from tests.registries.debian import docker_registry
from tests.registries.scripted import Asked, Say, nobody, of_store

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with docker_registry(tmp_path / "registry") as address:
        yield address


def kit(store: Store, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the real program."""
    done = subprocess.run(
        [sys.executable, "-m", "kit", *words],
        cwd=PROJECT,
        env={**os.environ, "KIT_IMAGES": str(store.directory), **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=100,
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.needs("docker-registry")
def test_push_and_pull_print_what_docker_prints(store: Store, registry: str, tmp_path: Path) -> None:
    name = f"{registry}/some/thing:1"
    pushed = image(store, name, layer(store, a=b"1"))
    found = Image.find(store, name)
    config, one = found.id[7:19], found.layers[0].digest[7:19]
    lines = kit(store, "push", name).stdout.splitlines()
    assert lines[0] == f"The push refers to repository [{registry}/some/thing]"
    assert {f"{config}: Pushed", f"{one}: Pushed"} <= set(lines)
    assert lines[-1] == f"1: digest: {pushed.digest} size: {pushed.size}"
    assert f"{one}: Layer already exists" in kit(store, "push", name).stdout

    other = Store(tmp_path / "other")
    lines = kit(other, "pull", name).stdout.splitlines()
    assert lines[0] == "1: Pulling from some/thing"
    assert f"{one}: Pull complete" in lines
    assert lines[-3:] == [
        f"Digest: {pushed.digest}", f"Status: Downloaded newer image for {name} ({config})", name,
    ]  # fmt: skip
    again = kit(other, "pull", name).stdout
    assert "Status: Image is up to date for" in again and f"{one}: Already exists" in again
    assert kit(other, "pull", "--quiet", name).stdout == f"{name}\n"
    assert kit(store, "push", "-q", name).stdout == f"{name}\n"
    assert kit(other, "tags", name).stdout == "1\n"
    assert name.removesuffix(":1") in kit(other, "images").stdout


@pytest.mark.needs("docker-registry")
def test_a_terminal_sees_bars(store: Store, registry: str, tmp_path: Path) -> None:
    name = f"{registry}/x:1"
    image(store, name, layer(store, compressed=False, a=os.urandom(3_000_000)))
    push(store, name)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "kit", "pull", "--store", str(tmp_path / "other"), name]
    with subprocess.Popen(command, cwd=PROJECT, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                said += os.read(ours, 65536)
            except OSError:  # EIO: the program has ended
                break
    os.close(ours)
    assert process.returncode == 0
    assert b"Downloading [" in said and b"\x1b[2A\x1b[2K" in said and b"Pull complete" in said


def test_an_interrupted_pull_leaves_nothing(store: Store, tmp_path: Path) -> None:
    image(store, "docker.io/library/x:latest", layer(store, a=os.urandom(1000)))
    gate, other = threading.Event(), tmp_path / "other"

    def change(asked: Asked, said: Say) -> Say:
        if len(said.body) > 1000:  # the layer
            gate.wait(60)
        return said

    with of_store(store, change) as server:
        command = [sys.executable, "-m", "kit", "pull", "--store", str(other), f"{server.address}/library/x"]
        with subprocess.Popen(
            command, cwd=PROJECT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        ) as process:
            while len(server.paths()) < 3:
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=30)[1]
        gate.set()
    assert (process.returncode, said.strip()) == (1, b"Aborted!")
    assert Store(other).tags() == {} and not list((other / ".writing").iterdir())


def test_a_mirror_is_named_by_option_or_environment(store: Store, tmp_path: Path) -> None:
    image(store, "docker.io/library/x:latest")
    with of_store(store) as mirror, nobody() as away:
        for number, (options, environment) in enumerate((
            (["--registry-mirror", away, "--registry-mirror", mirror.address], {}),
            ([], {"KIT_MIRRORS": f"{away} {mirror.address}"}),
        )):  # fmt: skip
            done = kit(Store(tmp_path / str(number)), "pull", *options, "x", **environment)
            assert done.stdout.endswith("\ndocker.io/library/x:latest\n"), done.stderr


def test_errors_are_a_line(store: Store) -> None:
    with nobody() as away:
        for words, match in (
            (["pull", f"{away}/x"], "Is the registry running?"),
            (["push", f"{away}/x"], "has no image"),
            (["tags", f"{away}/x"], "ECONNREFUSED"),
            (["login", "-u", "me", "-p", "x", away], "ECONNREFUSED"),
            (["pull", "--platform", "arm", f"{away}/x"], "is no platform"),
            (["pull", "UPPER"], "in lower case"),
            (["login", "-u", "me", "-p", "x", "http://127.0.0.1"], "no host name"),
        ):
            done = kit(store, *words)
            assert done.returncode == 1, words
            (line,) = done.stderr.splitlines()
            assert match in line


def test_a_mirror_that_did_not_help_is_told(store: Store) -> None:
    with nobody() as mirror, nobody() as proxy:
        done = kit(store, "pull", "busybox", KIT_MIRRORS=mirror, HTTPS_PROXY=f"http://{proxy}")
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert "the proxy does not lead to registry-1.docker.io" in first
    assert second.startswith(f"The mirror {mirror} did not help: ")
