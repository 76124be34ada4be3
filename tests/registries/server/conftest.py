"""A registry of its own for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.registries.server import Registry, serve


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with serve(tmp_path / "storage") as started:
        yield started


@pytest.fixture
def address(registry: Registry) -> str:
    return registry.address
