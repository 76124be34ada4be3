"""podman and buildah run what the kit made, and the kit reads what they, and skopeo, wrote."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from kit.images.build import build
from kit.images.directory import diff
from kit.images.image import Image
from kit.images.layer import pack
from kit.images.load import load
from kit.images.rootfs import mount
from kit.images.save import Layout, save
from kit.images.seed import seed
from kit.images.snapshots import Snapshots
from kit.images.store import Store
from tests.images import trees
from tests.images.peers import NEEDED, Peers

pytestmark = pytest.mark.needs(*NEEDED)

BUSYBOX, STEPS, FLAT = "docker.io/library/busybox:latest", "localhost/steps:1", "localhost/flat:1"
LAYOUTS = get_args(Layout)
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw+ep
VALUE = b"\xff\0=\n"

# Each of the first three says all that a header of a tar archive can; the last one takes away.
DOCKERFILE = """
FROM busybox
COPY --chown=7:8 files /srv/
RUN cd /srv && ln note b && ln note a && chmod 4755 note && mkdir -p deep/er && echo x > deep/er/file \\
    && ln -s ../note deep/link && mkfifo deep/fifo && touch -d @1234567890 note && chown 3000000:3000000 deep
RUN n=$(printf 'n%.0s' $(seq 110)) && mkdir -p /long/$n && echo 1 > /long/$n/$n && echo 2 > /long/ü \\
    && ln -s /long/$n/xxxxxxxx /long/link
RUN rm /srv/b && rm -r /srv/deep && mkdir /srv/deep && touch /srv/deep/new
"""
KEPT = 4  # so many of its layers, the base's included, take nothing away
SCRATCH = """
FROM scratch
COPY files /
ENV GREETING=hello
CMD ["/note"]
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The base images, in a store that the tests only read."""
    store = Store(tmp_path_factory.mktemp("seeded") / "store")
    seed(store)
    return store


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[Peers]:
    """The programs with the kit's busybox, two images that buildah built, and nothing on the machine."""
    directory = tmp_path_factory.mktemp("peers")
    peers = Peers(directory / "storage")
    with (directory / "busybox.tar").open("wb") as out:
        save(store, ["busybox"], out)
    peers.run("podman", "load", "-i", directory / "busybox.tar")
    for name, dockerfile in ((STEPS, DOCKERFILE), (FLAT, SCRATCH)):
        peers.build(context(directory / name, dockerfile), name)
    yield peers
    shutil.rmtree(directory)


def context(directory: Path, dockerfile: str) -> Path:
    """A build context whose files have times, attributes, and modes of their own."""
    files = directory / "files"
    files.mkdir(parents=True)
    (directory / "Dockerfile").write_text(dockerfile)
    (files / "note").write_text("a note\n")
    (files / "raw").write_bytes(bytes(range(256)) * 300)
    os.setxattr(files / "raw", "security.capability", CAPABILITY)
    os.setxattr(files / "raw", "user.note", VALUE)
    (files / "raw").chmod(0o750)
    os.utime(files / "note", (0, 1_000_000_000))
    return directory


def saved(store: Store, name: str, file: Path, layout: Layout = "docker") -> Path:
    with file.open("wb") as out:
        save(store, [name], out, layout)
    return file


def tree(root: Path) -> trees.Tree:
    """As trees.tree, with the times cut to the seconds that a layer keeps."""
    return {name: (*one[:3], one[3] // 10**9, *one[4:]) for name, one in trees.tree(root).items()}


# They read what the kit wrote


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "name, command, answer",
    [
        ("hello-world", [], "Hello! This text reached you from inside a container."),
        ("busybox", ["sh", "-c", "echo $((6 * 7)); id -u; ls /usr/bin/env"], "42\n0\n/usr/bin/env\n"),
        ("python", ["python3", "-c", "import json, ssl, sqlite3; print(json.dumps({'a': 1}))"], '{"a": 1}\n'),
    ],
)
def test_podman_runs_it(
    store: Store, peers: Peers, tmp_path: Path, layout: Layout, name: str, command: list[str], answer: str
) -> None:
    peers.run("podman", "load", "-i", saved(store, name, tmp_path / "image.tar", layout))
    assert peers.identity(name) == (Image.find(store, name).id, Image.find(store, name).diff_ids)
    assert peers.run("podman", "run", "--rm", name, *command).startswith(answer)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_buildah_runs_it(store: Store, peers: Peers, tmp_path: Path, layout: Layout) -> None:
    file = saved(store, "busybox", tmp_path / "image.tar", layout)
    transport = "oci-archive" if layout == "oci" else "docker-archive"
    peers.run("buildah", "from", "--name", "working", f"{transport}:{file}")
    run = ["buildah", "run", "--isolation", "chroot", "working"]
    assert peers.run(*run, "sh", "-c", "echo $((6 * 7))") == "42\n"
    peers.run("buildah", "rm", "working")


@pytest.mark.parametrize("name", ["busybox", "python"])
def test_they_see_the_same_tree(store: Store, peers: Peers, tmp_path: Path, name: str) -> None:
    peers.run("podman", "load", "-i", saved(store, name, tmp_path / "image.tar"))
    theirs = peers.unpacked(name, tmp_path / "theirs")
    with mount(store, Image.find(store, name), read_only=True) as ours:
        assert tree(ours.path) == tree(theirs)


# The kit reads what they wrote

WRITERS = [
    "buildah push -q {name} {form}-archive:{file}:{name}",
    "podman save -q --format {form}-archive -o {file} {name}",
    "skopeo copy -q containers-storage:{name} {form}-archive:{file}:{name}",
]


def written(store: Store, peers: Peers, name: str, file: Path, writer: str, form: str = "docker") -> Image:
    """An image by way of an archive that ``writer`` makes."""
    peers.run(*writer.format(name=name, form=form, file=file).split())
    loaded = load(store, file)
    assert list(loaded) == [name]
    return Image.of(store, loaded[name])


@pytest.mark.parametrize("form", ["docker", "oci"])
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", [BUSYBOX, STEPS, FLAT])
def test_what_they_wrote_loads_as_the_same_image(
    peers: Peers, tmp_path: Path, name: str, writer: str, form: str
) -> None:
    """The kit's busybox has made its way there and back then."""
    image = written(Store(tmp_path / "store"), peers, name, tmp_path / "theirs.tar", writer, form)
    assert (image.id, image.diff_ids) == peers.identity(name)


@pytest.mark.parametrize("name", [STEPS, FLAT])
def test_what_they_wrote_unpacks_to_their_tree(peers: Peers, tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / "store")
    image = written(store, peers, name, tmp_path / "theirs.tar", WRITERS[0])
    theirs = tree(peers.unpacked(name, tmp_path / "theirs"))
    with mount(store, image, read_only=True) as ours:
        assert tree(ours.path) == theirs
    raw = next(found for path, found in theirs.items() if path.endswith("raw"))
    assert raw[4] == {"security.capability": CAPABILITY, "user.note": VALUE}


@pytest.mark.parametrize("name", [BUSYBOX, STEPS, FLAT])
def test_a_layer_of_theirs_is_packed_again_to_the_same_digest(
    peers: Peers, tmp_path: Path, name: str
) -> None:
    """But for one that takes something away: what is gone has no time to keep."""
    store = Store(tmp_path / "store")
    image = written(store, peers, name, tmp_path / "theirs.tar", WRITERS[0])
    with Snapshots(store).hold(image) as held, Path(os.devnull).open("wb") as nowhere:
        again = [pack(diff(directory), nowhere, None).diff_id for directory in reversed(held.lower_dirs)]
    assert again[:KEPT] == image.diff_ids[:KEPT]


# They run what the kit built; that it has buildah's tree is told by build/test_build_as_buildah.py

BUILT = """
FROM busybox
ARG WHO=world
ENV GREETING="hello $WHO"
WORKDIR /srv/app
COPY --chown=7:8 files ./
RUN echo "$GREETING" > greeting && ln greeting again && rm raw && mkdir -m 1777 /data
USER 7:8
RUN id -u > /data/who
CMD ["sh", "-c", "cat again /data/who; echo $GREETING; pwd; stat -c %u:%g note; test ! -e raw"]
"""


def test_podman_runs_what_the_kit_built(store: Store, peers: Peers, tmp_path: Path) -> None:
    image = build(store, context(tmp_path / "context", BUILT), tags=["kit/built"]).image
    peers.run("podman", "load", "-i", saved(store, "kit/built", tmp_path / "built.tar"))
    assert peers.identity("kit/built") == (image.id, image.diff_ids)
    answer = "hello world\n7\nhello world\n/srv/app\n7:8\n"
    assert peers.run("podman", "run", "--rm", "kit/built") == answer
