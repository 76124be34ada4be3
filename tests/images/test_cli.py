"""The commands for images as a person runs them: what they print, how they end, and no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kit.images import shown
from kit.images.commit import commit, put_layer
from kit.images.descriptor import OCI_CONFIG
from kit.images.errors import BadManifest
from kit.images.image import Image, write_manifest
from kit.images.rootfs import mount
from kit.images.store import Store
from tests.images.images import image

PROJECT = Path(__file__).parents[2]
ONE, TWO = "docker.io/library/one:latest", "docker.io/library/two:1"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    history = [{"created": "2026-01-01T00:00:00Z", "created_by": f"COPY {'a-long-name ' * 9} /"}]
    image(store, ONE, history=history, created="2026-01-01T00:00:00Z", config={"Cmd": ["/one"]})
    image(store, TWO)
    return store


def kit(store: Store, *words: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    """Run the real program on a store."""
    how = {"stdin": subprocess.DEVNULL, "timeout": 100, "capture_output": True, **more}
    if how.keys() & {"input", "stdout"}:
        how.pop("stdin") if "input" in how else how.pop("capture_output")
    answer = subprocess.run(
        [sys.executable, "-m", "kit", *words],
        cwd=PROJECT,
        env={**os.environ, "KIT_IMAGES": str(store.directory)},
        **how,  # type: ignore[call-overload]
    )
    assert b"Traceback" not in (answer.stderr or b"")
    return answer


def lines(answer: subprocess.CompletedProcess[bytes]) -> list[str]:
    assert answer.returncode == 0, answer.stderr.decode()
    return answer.stdout.decode().splitlines()


def refused(answer: subprocess.CompletedProcess[bytes]) -> str:
    """The one line that an error is."""
    assert (answer.returncode, answer.stdout) == (1, b"")
    (line,) = answer.stderr.decode().splitlines()
    assert line.startswith("Error: ")
    return line


def test_images_lists_names_and_ids(store: Store) -> None:
    head, one, two = (line.split() for line in lines(kit(store, "images")))
    assert head == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert one[:3] == ["one", "latest", Image.find(store, "one").id[7:19]]
    assert two[:2] == ["two", "1"]
    ids = [Image.find(store, name).id[7:19] for name in ("one", "two:1")]
    store.tag("docker.io/library/also:1", store.resolve(ONE))
    assert lines(kit(store, "images", "-q")) == ids
    assert Image.find(store, "one").descriptor.digest in lines(kit(store, "images", "--digests"))[1:][1]


def test_the_store_is_named_by_an_option_too(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    for words in (
        ["images", "--store", str(other.directory)],
        ["images", "-q", "--store", str(other.directory)],
    ):
        assert len(lines(kit(store, *words))) == (0 if "-q" in words else 1)
    lines(kit(store, "images", "--store", str(other.directory), "seed", "hello-world"))
    assert list(other.tags()) == ["docker.io/library/hello-world:latest"]


def test_a_damaged_image_is_listed_and_can_go(store: Store) -> None:
    store.path(store.resolve(TWO).digest).write_bytes(b"")
    *_, two, note = lines(kit(store, "images"))
    assert "<unknown>" in two and note.startswith("two:1: the blob")
    assert lines(kit(store, "rmi", "two:1")) == ["Untagged: two:1"]
    assert len(lines(kit(store, "images"))) == 2


def test_seed_makes_and_makes_no_more_than_once(store: Store) -> None:
    (made,) = lines(kit(store, "images", "seed", "hello-world"))
    assert made == f"{Image.find(store, 'hello-world').id[7:19]}  hello-world"
    assert lines(kit(store, "images", "seed", "hello-world")) == [made]
    assert "no base image" in refused(kit(store, "images", "seed", "nothing"))


def test_from_host(store: Store) -> None:
    lines(kit(store, "images", "from-host", "cat", "-t", "tools"))
    (told,) = json.loads(kit(store, "inspect", "tools").stdout)
    assert told["Config"]["Cmd"][0].endswith("/cat")
    assert "can't be put into an image" in refused(kit(store, "images", "from-host", "no-such", "-t", "x"))


def test_history_is_cut_or_whole(store: Store) -> None:
    (_, row) = lines(kit(store, "history", "one"))
    assert row.startswith(Image.find(store, "one").id[7:19]) and "…" in row
    assert "a-long-name  /" in lines(kit(store, "history", "--no-trunc", "one"))[1]


def test_inspect_has_dockers_keys(store: Store) -> None:
    one = Image.find(store, "one")
    told = json.loads(b"\n".join(kit(store, "inspect", "one", "two:1").stdout.splitlines()))
    assert [each["RepoTags"] for each in told] == [["one:latest"], ["two:1"]]
    first = told[0]
    assert (first["Id"], first["Config"], first["Os"]) == (one.id, {"Cmd": ["/one"]}, "linux")
    assert (first["Created"], first["Architecture"]) == ("2026-01-01T00:00:00Z", "amd64")
    assert first["RootFS"] == {"Type": "layers", "Layers": one.diff_ids}
    assert first["RepoDigests"] == [f"one@{one.descriptor.digest}"]


def test_tag_by_name_or_id(store: Store) -> None:
    lines(kit(store, "tag", "one", "ghcr.io/me/thing:3"))
    lines(kit(store, "tag", Image.find(store, "one").id[7:15], "short"))
    assert store.resolve("ghcr.io/me/thing:3") == store.resolve(ONE)
    assert Image.find(store, "short").id == Image.find(store, "one").id
    assert "has no digest" in refused(kit(store, "tag", "one", f"x@{'sha256:' + '0' * 64}"))
    assert "lower case" in refused(kit(store, "tag", "one", "Big"))


def test_rmi_deletes_with_the_last_name_what_nobody_needs(store: Store) -> None:
    one = Image.find(store, "one")
    on_top = commit(store, one, [], {}, created="2026-01-01T00:00:00Z", created_by="x")
    store.tag("docker.io/library/top:latest", on_top.descriptor)
    store.tag("docker.io/library/also:1", one.descriptor)
    assert lines(kit(store, "rmi", "also:1")) == ["Untagged: also:1"]
    gone = lines(kit(store, "rmi", "one"))
    assert gone[0] == "Untagged: one:latest"
    assert set(gone[1:]) == {f"Deleted: {one.descriptor.digest}", f"Deleted: {one.id}"}
    on_top.check()
    assert len(lines(kit(store, "rmi", "top"))) == 5  # its name, manifest, config and the two layers
    Image.find(store, "two:1").check()


def test_rmi_of_an_id(store: Store) -> None:
    one = Image.find(store, "one")
    store.tag("docker.io/library/also:1", one.descriptor)
    assert "2 names" in refused(kit(store, "rmi", one.id[7:19]))
    removed = lines(kit(store, "rmi", "-f", one.id[7:19]))
    assert removed[:2] == ["Untagged: also:1", "Untagged: one:latest"]
    assert len(lines(kit(store, "images"))) == 2


def test_rmi_goes_on_after_an_unknown_name(store: Store) -> None:
    answer = kit(store, "rmi", "no-such", "one")
    assert answer.returncode == 1
    assert answer.stdout.startswith(b"Untagged: one:latest\n")
    assert b"has no image" in answer.stderr and len(answer.stderr.splitlines()) == 1


def test_rmi_while_a_program_writes_leaves_the_parts_to_prune(store: Store) -> None:
    with store.writing():
        assert lines(kit(store, "rmi", "one")) == ["Untagged: one:latest"]
        assert "is writing images" in refused(kit(store, "prune", "-f"))
    assert len(lines(kit(store, "prune", "-f"))) == 4


@pytest.mark.needs("root")
def test_what_is_mounted_is_not_removed(store: Store) -> None:
    with mount(store, Image.find(store, "one")) as rootfs:
        lines(kit(store, "rmi", "one"))
        lines(kit(store, "prune", "-f"))
        assert (rootfs.path / "greeting").read_text().startswith("hello")
    assert any(line.startswith("Deleted snapshot") for line in lines(kit(store, "prune", "-f")))


def test_prune_says_what_it_would_do_and_asks(store: Store) -> None:
    image(store)
    (store.directory / "cache").mkdir()
    for name, layer in (("gone", {"digest": f"sha256:{'0' * 64}"}), ("none", None), ("cut", "")):
        (store.directory / f"cache/{name}").write_text(json.dumps({"layer": layer}) if name != "cut" else "{")
    would = lines(kit(store, "prune", "--dry-run"))
    assert len([line for line in would if line.startswith("would delete blob")]) == 3
    assert kit(store, "prune", input=b"n\n").returncode == 1
    assert lines(kit(store, "prune", "--dry-run")) == would
    done = lines(kit(store, "prune", input=b"y\n"))
    assert {line.split()[-1] for line in done if "cached step" in line} == {"gone", "cut"}
    assert lines(kit(store, "prune", "-f")) == ["Total reclaimed space: 0 B"]
    Image.find(store, "one").check()


@pytest.mark.parametrize("layout", ["docker", "docker-old", "oci"])
def test_what_is_saved_is_loaded(store: Store, tmp_path: Path, layout: str) -> None:
    other, file = Store(tmp_path / "other"), tmp_path / "images.tar"
    assert lines(kit(store, "save", "-o", str(file), "--format", layout, "one", "two:1")) == []
    assert os.listdir(tmp_path) == ["store", "other", "images.tar"] or len(os.listdir(tmp_path)) == 3
    loaded = lines(kit(other, "load", "-i", str(file)))
    assert sorted(loaded) == ["Loaded image: one:latest", "Loaded image: two:1"]
    assert Image.find(other, "one").diff_ids == Image.find(store, "one").diff_ids


def test_saved_and_loaded_through_a_pipe_with_another_name(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    archive = kit(store, "save", Image.find(store, "one").id[7:19]).stdout
    assert lines(kit(other, "load", "--name", "mine:2", input=archive)) == ["Loaded image: mine:2"]
    assert Image.find(other, "mine:2").id == Image.find(store, "one").id


def test_a_failed_save_leaves_the_file_as_it_was(store: Store, tmp_path: Path) -> None:
    (tmp_path / "images.tar").write_text("precious")
    store.path(Image.find(store, "one").layers[0].digest).write_bytes(b"damaged")
    refused(kit(store, "save", "-o", str(tmp_path / "images.tar"), "one"))
    assert (tmp_path / "images.tar").read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["images.tar", "store"]


def test_no_archive_goes_to_a_terminal_nor_comes_from_one(store: Store) -> None:
    master, terminal = os.openpty()
    try:
        said = kit(store, "save", "one", stdout=terminal, stderr=subprocess.PIPE)
        assert (said.returncode, b"terminal" in said.stderr) == (1, True)
        assert "no archive" in refused(kit(store, "load", stdin=terminal))
    finally:
        os.close(master)
        os.close(terminal)


def test_a_reader_that_goes_away_is_no_error_to_tell(store: Store) -> None:
    shell = f"{sys.executable} -m kit save one two:1 | true; {sys.executable} -m kit images | true"
    environment = {**os.environ, "KIT_IMAGES": str(store.directory)}
    answer = subprocess.run(
        ["sh", "-c", shell], cwd=PROJECT, env=environment, capture_output=True, timeout=100
    )
    assert answer.stderr == b""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["inspect", "no-such"], "has no image"),
        (["history", "No"], "lower case"),
        (["tag", "no-such", "x"], "has no image"),
        (["save", "no-such"], "has no image"),
        (["load", "-i", "/no/such/file"], "/no/such/file: No such file or directory"),
        (["load", "-i", "/etc/passwd"], "no tar archive"),
        (["load", "-i", "/etc"], "no OCI layout"),
        (["save", "-o", "/no/such/file", "one"], "No such file or directory"),
        (["images", "--store", "/etc"], "no image layout"),
        (["images", "--store", "/proc/kit"], "keep images in /proc/kit: ENOENT"),
    ],
)
def test_what_goes_wrong_is_one_line(store: Store, words: list[str], says: str) -> None:
    assert says in refused(kit(store, *words))


@pytest.mark.parametrize("config", [{"Cmd": "\x1b[2J", "Env": ["\ud800", "ä"]}, None])
def test_texts_of_strangers_do_nothing_to_a_terminal(store: Store, config: object) -> None:
    layer = put_layer(store, [])
    history = [
        {"created": 7, "created_by": "\x1b]0;owned\x07 \ud800\nRUN"},
        {"created_by": [], "empty_layer": 1},
    ]
    document = {"history": history, "config": config, "created": [], "author": "\x9b"}
    whole = {"os": "linux", "architecture": "amd64", **document}
    whole["rootfs"] = {"type": "layers", "diff_ids": [layer[1]]}
    config_blob = store.put(json.dumps(whole).encode(), OCI_CONFIG)
    store.tag("docker.io/library/odd:1", write_manifest(store, [layer[0]], config_blob))
    for command in ("images", "history odd:1", "history --no-trunc odd:1", "inspect odd:1"):
        answer = kit(store, *command.split())
        assert answer.returncode == 0
        assert not set(answer.stdout.decode()) & set("\x1b\x07\x9b")
    odd = Image.find(store, "odd:1")
    assert "\x1b" not in str(shown.card(odd))
    if isinstance(config, dict):
        with pytest.raises(BadManifest, match="half a character"):
            commit(store, odd, None, created_by="x")


def test_a_config_that_is_no_object_is_told(store: Store) -> None:
    image(store, "docker.io/library/odd:1", config=["Cmd"])
    assert "'config' must be an object" in refused(kit(store, "inspect", "odd:1"))
    assert len(lines(kit(store, "images"))) == 5  # and is listed, with what is wrong below


@pytest.mark.needs("root")
def test_a_full_disk_is_one_line(store: Store, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "kit-test", tmp_path / "full"], check=True)
    try:
        small = Store(tmp_path / "full")
        for words in (["images", "from-host", "cat", "-t", "x"], ["images", "seed", "busybox"]):
            assert "ENOSPC (No space left on device)" in refused(kit(small, *words))
        lines(kit(store, "images", "from-host", "cat", "-t", "x"))
        archive = tmp_path / "full/archive.tar"
        assert "No space left on device" in refused(kit(store, "save", "-o", str(archive), "x"))
        assert not archive.exists() and small.tags() == {}
        lines(kit(store, "save", "-o", str(tmp_path / "x.tar"), "x"))
        assert "ENOSPC" in refused(kit(small, "load", "-i", str(tmp_path / "x.tar")))
    finally:
        subprocess.run(["umount", tmp_path / "full"], check=True)
