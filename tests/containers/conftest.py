"""A root made of busybox, and a way to run commands in containers on it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from kit import containers
from kit.containers import Container
from kit.namespaces.root import Root


class Box:
    """Containers on one root; all of them end with the test."""

    def __init__(self, root: Path, cleanup: ExitStack) -> None:
        self.root, self._cleanup, self._count = root, cleanup, 0
        self.status: int | None = None

    def config(self, command: str | list[str], **options: Any) -> dict[str, Any]:
        cmd = ["sh", "-c", command] if isinstance(command, str) else command
        return containers.config({}, root=self.root, cmd=cmd, **options)

    def start(self, command: str | list[str], how: dict[str, Any] | None = None, **options: Any) -> Container:
        """A container that runs on."""
        self._count += 1
        document = self.config(command, **options)
        container = containers.start(f"box{self._count}", document, self.root, **how or {})
        self._cleanup.callback(container.close)
        return container

    def run(self, command: str | list[str], **options: Any) -> str:
        """What a command says to its end, both streams; its exit status is then in ``status``."""
        with Output() as output:
            container = self.start(command, {"stdout": output.fd, "stderr": output.fd}, **options)
            try:
                self.status = container.wait(15)
            finally:
                container.close()  # and nobody holds the pipe
        return output.text


class Output:
    """A pipe that is read to its end; what came is in ``text`` after the block."""

    def __enter__(self) -> Output:
        self._read, self.fd = os.pipe()
        self._parts: list[bytes] = []
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()
        return self

    def _collect(self) -> None:
        while part := os.read(self._read, 65536):
            self._parts.append(part)

    def __exit__(self, *exc: object) -> None:
        os.close(self.fd)
        self._thread.join(30)
        os.close(self._read)
        self.text = b"".join(self._parts).decode(errors="replace")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Root() as root, ExitStack() as cleanup:
        yield Box(root.path, cleanup)
