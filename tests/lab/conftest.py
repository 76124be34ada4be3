"""What tests of pictures look at: the words, the bytes, the pixels."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import numpy
import pytest
from PIL import Image

from kit.engine import Engine
from kit.engine import serve as serve_engine
from kit.images import seed
from kit.images.store import Store
from kit.registries.server import Registry, serve

PATIENCE = 20.0  # seconds after which something counts as hanging


def until(true: Callable[[], Any], what: str) -> None:
    """Wait until something is true; what it is, is said when it never gets so."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"not within {PATIENCE} seconds: {what}"
        time.sleep(0.02)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """An empty registry; the credentials of who runs the test are not seen."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker-config"))
    with serve(tmp_path / "registry") as started:
        yield started


MEASURED = re.compile(r"(?s)<!--m-->.*?<!--/m-->")


@pytest.fixture
def check_picture() -> Callable[[Any], numpy.ndarray]:
    """Check what every picture promises, and return its pixels (height, width, RGBA)."""

    def check(picture: Any) -> numpy.ndarray:
        data, metadata = picture._repr_mimebundle_()
        assert data["text/plain"] == f"[picture] {picture.title}"
        assert re.search(r'<img alt="[^"]{20,}"', data["text/html"])
        assert MEASURED.sub("", data["text/html"]) == ""
        assert metadata["image/png"]["alt"] == picture.alt
        image = Image.open(io.BytesIO(picture.png))
        assert image.width == pytest.approx(2 * picture.width, abs=2)
        assert image.mode == "RGBA"
        pixels = numpy.asarray(image)
        alpha = pixels[..., 3]
        assert (alpha == 0).mean() > 0.3, "the background is not transparent"
        assert (alpha == 255).any(), "nothing is drawn"
        return pixels

    return check


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine with busybox."""
    seed(Store(tmp_path / "data" / "images"), ["busybox"])
    with serve_engine(tmp_path / "kit.sock", tmp_path / "data") as started:
        yield started


@pytest.fixture
def client(engine: Engine) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(f"unix://{engine.socket}")
    yield client
    client.close()
