"""A store with busybox for each test, and a short way to build in it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit.images import rootfs
from kit.images.build import Built
from kit.images.build import build as build_image
from kit.images.image import Image
from kit.images.seed import seed
from kit.images.store import Store
from tests.images.trees import Tree, tree

Build = Callable[..., Built]
Files = Callable[[Image], Tree]


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Store(tmp_path_factory.mktemp("seeded") / "store")
    rootfs.mount(store, seed(store, ["busybox"])["busybox"]).close()
    return store.directory


@pytest.fixture
def store(seeded: Path, tmp_path: Path) -> Store:
    """One of its own, so that no test finds another's steps in the cache."""
    subprocess.run(["cp", "-a", str(seeded), str(tmp_path / "store")], check=True)
    return Store(tmp_path / "store")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "context").mkdir()
    return tmp_path / "context"


@pytest.fixture
def build(store: Store, context: Path) -> Build:
    """Build a Dockerfile given as text, in the context."""

    def build(text: str, **how: Any) -> Built:
        (context / "Dockerfile").write_text(text)
        return build_image(store, context, **how)

    return build


@pytest.fixture
def files(store: Store) -> Files:
    """All files of an image: kind and mode, owner, content, time ... by name."""

    def files(image: Image) -> Tree:
        with rootfs.mount(store, image, read_only=True) as root:
            return tree(root.path)

    return files
