"""openat2(2): the kernel itself keeps a lookup inside a directory."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.linux.errors import KernelError
from kit.linux.openat2 import RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, openat2


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "root" / "etc").mkdir(parents=True)
    (tmp_path / "root" / "etc" / "name").write_text("inside")
    (tmp_path / "root" / "absolute").symlink_to("/etc/name")
    (tmp_path / "root" / "up").symlink_to("../../../etc/name")
    fd = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("path", ["etc/name", "absolute", "up", "/etc/name", "../../etc/name"])
def test_the_directory_is_the_root(root: int, path: str) -> None:
    with open(openat2(root, path, os.O_RDONLY, resolve=RESOLVE_IN_ROOT)) as file:
        assert file.read() == "inside"
        assert not os.get_inheritable(file.fileno())


@pytest.mark.parametrize(
    "path, resolve, answer",
    [
        ("absolute", RESOLVE_BENEATH, "EXDEV"),
        ("up", RESOLVE_BENEATH, "EXDEV"),
        ("absolute", RESOLVE_NO_SYMLINKS, "ELOOP"),
        ("nothing", RESOLVE_IN_ROOT, "ENOENT"),
    ],
)
def test_a_refusal_has_its_name(root: int, path: str, resolve: int, answer: str) -> None:
    with pytest.raises(KernelError) as refused:
        openat2(root, path, os.O_RDONLY, resolve=resolve)
    assert refused.value.errno_name == answer
    assert str(refused.value).startswith(f"open {path}: ")
