"""Commit: a base, what was changed, and a config become a new image; the same ones the same image."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from kit.images.commit import Draft, commit, put_layer, timestamp
from kit.images.entry import Entry
from kit.images.errors import ImageError
from kit.images.image import Image, write_image
from kit.images.rootfs import mount
from kit.images.seed import seed
from kit.images.store import Store
from tests.images.images import image

WHEN = "2026-02-03T04:05:06Z"
FILES = [Entry("hello", "file", 0o644, data=b"hello")]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_from_nothing(store: Store) -> None:
    made = commit(store, None, FILES, {"Cmd": ["/hello"]}, created=WHEN, created_by="COPY hello /")
    assert made.config["config"] == {"Cmd": ["/hello"]}
    assert made.history == [{"created": WHEN, "created_by": "COPY hello /"}]
    assert made.config["created"] == WHEN
    assert (len(made.layers), made.platform.os) == (1, "linux")
    made.check()


def test_a_layer_on_those_of_the_base(store: Store) -> None:
    base = commit(store, None, FILES, {"Cmd": ["a"], "User": "me"}, created=WHEN, created_by="one")
    made = commit(
        store, base, [Entry("b", "directory", 0o755)], {"Cmd": ["b"]}, created=WHEN, created_by="two"
    )
    assert made.layers[:1] == base.layers and len(made.layers) == 2
    assert made.chain_ids()[0] == base.chain_ids()[0]
    assert [line["created_by"] for line in made.history] == ["one", "two"]
    assert made.config["config"] == {"Cmd": ["b"]}, "the config takes the place of the base's"


def test_without_entries_only_the_config_changes(store: Store) -> None:
    base = commit(store, None, FILES, {}, created=WHEN, created_by="one")
    made = commit(store, base, None, {"Env": ["A=b"]}, created=WHEN, created_by="ENV A=b")
    assert (made.layers, made.diff_ids) == (base.layers, base.diff_ids)
    assert made.history[-1] == {"created": WHEN, "created_by": "ENV A=b", "empty_layer": True}
    assert made.id != base.id
    assert len(base.history) == 1, "the base stays as it was"


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
def test_the_same_gives_the_same(tmp_path: Path, compression: str | None) -> None:
    made = []
    for name in ("one", "two"):
        store = Store(tmp_path / name)
        base = commit(store, None, FILES, {}, created=WHEN, created_by="1", compression=compression)
        made.append(commit(store, base, reversed(FILES), {"A": 1}, created=WHEN, created_by="2").descriptor)
    assert made[0] == made[1]


def test_a_layer_that_is_there_goes_in_as_it_is(store: Store) -> None:
    layer = put_layer(store, FILES)
    draft = Draft(store, None)
    draft.add(layer, created=WHEN, created_by="RUN x")
    whole = commit(store, None, FILES, {}, created=WHEN, created_by="RUN x")
    assert draft.write().descriptor == whole.descriptor


def test_a_base_keeps_what_it_runs_on_and_not_how_docker_made_it(store: Store) -> None:
    docker = {"architecture": "arm64", "variant": "v8", "os": "linux", "container_config": {"Cmd": ["x"]}}
    base = Image.of(store, image(store, **docker, docker_version="20.10"))
    made = commit(store, base, FILES, {}, created=WHEN, created_by="x")
    assert (made.config["architecture"], made.config["variant"]) == ("arm64", "v8")
    assert not {"container_config", "docker_version"} & set(made.config)
    assert len(made.history) == 2, "a base without a history has a line for each of its layers"


def test_nothing_has_a_name_yet(store: Store) -> None:
    commit(store, None, FILES, {}, created=WHEN, created_by="x")
    assert store.tags() == {}


@pytest.mark.needs("root", "skopeo")
def test_what_a_mount_changed_becomes_an_image_that_others_read(store: Store, tmp_path: Path) -> None:
    base = seed(store, ["busybox"])["busybox"]
    with store.writing():
        with mount(store, base) as rootfs:
            (rootfs.path / "etc/passwd").unlink()
            (rootfs.path / "etc/motd").write_text("hello")
            changes, config = rootfs.changes(), {**base.config["config"], "Cmd": ["cat", "/etc/motd"]}
            made = commit(store, base, changes, config, created=WHEN, created_by="docker commit")
        store.tag("docker.io/library/changed:latest", made.descriptor)
    with mount(store, Image.find(store, "changed")) as rootfs:
        assert (rootfs.path / "etc/motd").read_text() == "hello"
        assert not (rootfs.path / "etc/passwd").exists()
        assert (rootfs.path / "bin/sh").exists()
    layout = f"oci:{store.directory}:docker.io/library/changed:latest"
    told = json.loads(subprocess.run(["skopeo", "inspect", layout], capture_output=True, check=True).stdout)
    assert told["Layers"] == [layer.digest for layer in made.layers]


def test_a_time_is_that_of_the_environment_or_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert timestamp() == "1970-01-01T00:00:00Z"
    assert timestamp(86400) == "1970-01-02T00:00:00Z"
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert timestamp() >= "2026"
    for wrong in ("yesterday", "1e9", "9" * 30):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
        with pytest.raises(ImageError, match="no time in seconds"):
            timestamp()


def test_what_does_not_fit_is_refused(store: Store) -> None:
    layer = put_layer(store, FILES)
    broken = Image.of(store, write_image(store, [layer], {"history": [{"created_by": "x"}]}))
    store.path(layer[0].digest).unlink()
    with pytest.raises(OSError, match="is not in the store"):
        commit(store, broken, None, {}, created=WHEN, created_by="x")
