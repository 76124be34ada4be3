"""An engine in a directory of the test's own, and the real docker command at its socket."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker as sdk
import pytest

from kit.engine import Engine, serve
from kit.images import seed


class Docker:
    """The docker command: what it prints, or the whole result."""

    def __init__(self, socket: Path, home: Path) -> None:
        self.env = {
            **os.environ,
            "DOCKER_HOST": f"unix://{socket}",
            "DOCKER_BUILDKIT": "0",
            "HOME": str(home),
        }
        self.env["DOCKER_CONFIG"] = str(home / ".docker")

    def run(self, *words: str, **how: object) -> subprocess.CompletedProcess[str]:
        options = {"capture_output": True, "text": True, "timeout": 60, "env": self.env, **how}
        return subprocess.run(["docker", *words], **options)  # type: ignore[call-overload,no-any-return]

    def __call__(self, *words: str, **how: object) -> str:
        done = self.run(*words, **how)
        assert done.returncode == 0, (
            f"docker {' '.join(words)}: {done.returncode} {done.stdout} {done.stderr}"
        )
        return done.stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The data root, with base images in it."""
    from kit.images.store import Store

    seed(Store(tmp_path / "data" / "images"), ["busybox"])
    return tmp_path / "data"


@pytest.fixture
def engine(root: Path, tmp_path: Path) -> Iterator[Engine]:
    with serve(tmp_path / "kit.sock", root) as engine:
        yield engine


@pytest.fixture
def docker(engine: Engine, tmp_path: Path) -> Docker:
    return Docker(engine.socket, tmp_path)


@pytest.fixture
def client(engine: Engine) -> Iterator[sdk.DockerClient]:
    """The Docker SDK for Python."""
    client = sdk.DockerClient(f"unix://{engine.socket}")
    yield client
    client.close()
