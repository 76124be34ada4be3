"""The base images: what they say of themselves, that they run, and the same digests each time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kit import owner
from kit.images.errors import BadReference, UnknownImage
from kit.images.image import Image
from kit.images.rootfs import mount
from kit.images.seed import BASES, default_directory, from_host, open_store, scratch_store, seed
from kit.images.store import Store
from kit.linux.spawn import run

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("seeded"))
    seed(store)
    return store


def runs(image: Image, *more: str) -> str:
    """What an image's own command says."""
    config = image.config["config"]
    environment = dict(one.split("=", 1) for one in config.get("Env", ()))
    with mount(image.store, image) as rootfs:
        said = run(
            [*config["Cmd"], *more], unshare=["mount", "pid"], root=str(rootfs.path), env=environment, cwd="/"
        )
    assert said.returncode == 0, said.stderr
    return said.stdout


@pytest.mark.needs("root", "busybox")
def test_each_runs_what_it_says(seeded: Store) -> None:
    assert "Hello" in runs(Image.find(seeded, "hello-world"))
    assert (
        runs(Image.find(seeded, "busybox"), "-c", "ls /etc/passwd; echo $PATH").splitlines()[0]
        == "/etc/passwd"
    )
    code = "import json, ssl, sqlite3, subprocess; print(subprocess.check_output('echo shell', shell=True))"
    assert runs(Image.find(seeded, "python"), "-c", code) == "b'shell\\n'\n"


@pytest.mark.needs("busybox")
def test_they_read_like_a_dockerfile(seeded: Store) -> None:
    for name, count, command in (
        ("hello-world", 1, "/hello"),
        ("busybox", 1, "sh"),
        ("python", 2, "python3"),
    ):
        image = Image.find(seeded, name)
        assert len(image.layers) == count
        assert image.config["config"]["Cmd"] == [command]
        assert image.config["config"]["Labels"]["org.opencontainers.image.title"] == name
        lines = [line["created_by"] for line in image.history]
        assert all(re.match("(ADD|COPY|ENV|CMD) ", line) for line in lines)
        assert lines[-1] == f"CMD {json.dumps([command])}"
        assert {line["created"] for line in image.history} == {image.config["created"]}
    assert Image.find(seeded, "python").chain_ids()[0] == Image.find(seeded, "busybox").chain_ids()[0]


@pytest.mark.needs("busybox")
def test_the_same_each_time_alone_or_together(seeded: Store, tmp_path: Path) -> None:
    for name in reversed(BASES):
        store = Store(tmp_path / name)
        assert seed(store, [name])[name].descriptor == Image.find(seeded, name).descriptor
        assert len(store.tags()) == 1


def test_only_what_is_missing_is_made(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = seed(store, ["hello-world"])["hello-world"]
    path = store.path(made.descriptor.digest)
    before = path.stat().st_ino
    assert seed(store, "hello-world")["hello-world"].id == made.id
    assert path.stat().st_ino == before
    store.path(made.layers[0].digest).unlink()
    seed(store, ["hello-world"])["hello-world"].check()


def test_an_unknown_base_is_told_before_any_is_made(tmp_path: Path) -> None:
    with pytest.raises(UnknownImage, match=r"'no' is no base image\. There are hello-world"):
        seed(Store(tmp_path), ["hello-world", "no"])
    assert Store(tmp_path).tags() == {}


@pytest.mark.needs("root")
def test_a_program_of_this_machine(tmp_path: Path) -> None:
    image = from_host(Store(tmp_path), ["cat", "ls"], "tools:1")
    assert image.config["config"]["Cmd"][0].endswith("/cat")
    assert "root:x:0" in runs(image, "/etc/passwd")
    assert Image.find(Store(tmp_path), "tools:1").id == image.id
    assert runs(from_host(Store(tmp_path), ["cat"], "t", cmd=["cat", "/etc/group"])).startswith("root:")


def test_its_time_is_that_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    one, two = (from_host(Store(tmp_path / name), ["cat"], "tools") for name in ("one", "two"))
    assert one.descriptor == two.descriptor
    assert one.config["created"] == "2001-09-09T01:46:40Z"


def test_a_bad_name_is_told_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(BadReference):
        from_host(Store(tmp_path), ["cat"], "Tools")
    assert os.listdir(tmp_path / "blobs/sha256") == []


def test_where_the_images_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KIT_IMAGES", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert default_directory() == tmp_path / ".local/share/kit/images"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert default_directory() == tmp_path / ".local/share/kit/images"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_directory() == Path("/data/kit/images")
    monkeypatch.setenv("KIT_IMAGES", str(tmp_path / "mine"))
    assert open_store().directory == tmp_path / "mine"
    assert open_store(tmp_path / "other").directory == tmp_path / "other"


def test_a_scratch_store_is_gone_with_its_block_or_program() -> None:
    with scratch_store() as store:
        seed(store, ["hello-world"])
    assert not store.directory.exists()
    code = "from kit.images import scratch_store, seed; s = scratch_store(); seed(s, ['hello-world'])"
    words = [sys.executable, "-c", f"{code}; print(s.directory)"]
    ended = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert "kit-" in ended.stdout and not os.path.exists(ended.stdout.strip())


@pytest.mark.needs("root")
def test_a_scratch_store_goes_with_what_is_mounted_and_unpacked_in_it() -> None:
    with scratch_store() as store:
        mount(store, seed(store, ["hello-world"])["hello-world"])
    assert not store.directory.exists()


@pytest.mark.needs("root")
def test_so_does_that_of_a_killed_program() -> None:
    code = (
        "from kit.images import *; s = scratch_store(); m = mount(s, seed(s, ['hello-world'])['hello-world'])"
    )
    words = [sys.executable, "-c", f"{code}; print(s.directory, flush=True); import time; time.sleep(60)"]
    program = subprocess.Popen(words, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    path = program.stdout.readline().strip()
    program.send_signal(signal.SIGKILL)
    program.communicate(timeout=60)
    assert path in {owned.path for owned in owner.leftovers()}
    owner.clean()
    assert not os.path.exists(path)
