"""Without root, images are made, listed, exchanged and unpacked; mounting one is refused in a sentence."""

import os
from pathlib import Path

import pytest

from kit.images import mount, scratch_store, seed
from kit.images.snapshots import Snapshots
from kit.linux.errors import KernelError
from tests.unprivileged.command import kit


def test_images_are_made_and_exchanged(tmp_path: Path) -> None:
    for words in (
        ["images", "seed", "hello-world"],
        ["images", "from-host", "cat", "-t", "tools"],
        ["save", "-o", f"{tmp_path}/images.tar", "tools", "hello-world"],
        ["rmi", "tools"],
        ["load", "-i", f"{tmp_path}/images.tar"],
        ["history", "tools"],
        ["prune", "-f"],
    ):
        answer = kit(*words, XDG_DATA_HOME=str(tmp_path))
        assert (answer.returncode, answer.stderr) == (0, "")
    assert (tmp_path / "kit/images/index.json").exists()


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["images", "--store", "/root/images"], {}),
        (["images", "seed"], {"KIT_IMAGES": "/images"}),
        (["images"], {"HOME": "/nonexistent", "XDG_DATA_HOME": ""}),
    ],
)
def test_a_directory_of_others_is_a_sentence(words: list[str], environment: dict[str, str]) -> None:
    answer = kit(*words, **environment)
    assert answer.returncode == 1
    assert answer.stderr.startswith("Error: keep images in /") and len(answer.stderr.splitlines()) == 1
    assert "EACCES" in answer.stderr and "keep your own elsewhere" in answer.stderr


def test_mounting_needs_root_and_unpacking_does_not() -> None:
    with scratch_store() as store:
        image = seed(store, ["hello-world"])["hello-world"]
        with Snapshots(store).hold(image) as held:
            assert os.listdir(held.lower_dirs[0]) == ["hello"]
        with pytest.raises(KernelError, match=r"mount an image: EPERM .* Mounting an image needs root"):
            mount(store, image)
    assert not store.directory.exists()
