import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kit.images.descriptor import OCI_LAYER, OCI_MANIFEST, Descriptor, digest_of
from kit.images.errors import (
    BadArchive,
    BadDescriptor,
    BadManifest,
    BadReference,
    BlobCorrupt,
    BlobMissing,
    UnknownImage,
)
from kit.images.store import Store
from kit.linux.errors import KernelError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def files(store: Store) -> list[str]:
    """Every file of the store but its marker and its index."""
    found = {str(one.relative_to(store.directory)) for one in store.directory.rglob("*") if one.is_file()}
    return sorted(found - {"oci-layout", "index.json"})


def manifest(store: Store, text: str = "{}") -> Descriptor:
    return store.put(text.encode(), OCI_MANIFEST)


def test_a_new_store_is_an_image_layout(store: Store) -> None:
    assert json.loads((store.directory / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads((store.directory / "index.json").read_bytes())["manifests"] == []
    assert Store(store.directory).tags() == {}


def test_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(BadArchive, match="no image layout"):
        Store(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_an_unknown_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')
    with pytest.raises(BadArchive, match=r"'2.0.0' is not known"):
        Store(tmp_path)


def test_where_no_directory_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KernelError, match=r"keep images in .*ENOTDIR"):
        Store(tmp_path / "file" / "store")


def test_put_and_read(store: Store) -> None:
    descriptor = store.put(b"hello", OCI_LAYER)
    assert descriptor == Descriptor(OCI_LAYER, digest_of(b"hello"), 5)
    assert store.path(descriptor.digest).read_bytes() == b"hello"
    for content in (descriptor, descriptor.digest):
        with store.open(content) as file:
            assert file.read() == b"hello"
    assert store.has(descriptor.digest) and not store.has(digest_of(b"other"))


def test_a_blob_with_the_longer_digest(store: Store) -> None:
    descriptor = store.put(b"hello", OCI_LAYER, "sha512")
    assert descriptor.digest == digest_of(b"hello", "sha512")
    assert files(store) == [f"blobs/sha512/{descriptor.digest.removeprefix('sha512:')}"]
    assert store.read(descriptor) == b"hello"
    assert list(store.digests()) == [descriptor.digest]
    store.path(descriptor.digest).write_bytes(b"HELLO")
    with pytest.raises(BlobCorrupt, match="has been damaged"):
        store.read(descriptor)


def test_nothing_is_kept_without_a_commit(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.writer() as writer:
        writer.write(b"hello")
        _ = 1 / 0
    with store.writer() as writer:
        writer.write(b"hello")
    assert files(store) == []


@pytest.mark.parametrize("size, digest", [(4, digest_of(b"hello")), (5, digest_of(b"other"))])
def test_what_was_not_expected_is_not_kept(store: Store, size: int, digest: str) -> None:
    with pytest.raises(BlobCorrupt, match="arrived for"), store.writer() as writer:
        writer.write(b"hello")
        writer.commit(Descriptor(OCI_LAYER, digest, size))
    assert files(store) == []


def test_a_full_disk_is_told_and_leaves_nothing(store: Store) -> None:
    script = (
        "import resource, signal, sys\nfrom kit.images.store import Store\n"
        "from kit.linux.errors import KernelError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: Store(sys.argv[1]).put(bytes(200_000), 'a/b')\n"
        "except KernelError as error: print(error.errno_name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, store.directory], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("EFBIG\n", "")
    assert files(store) == []


@pytest.mark.parametrize("damaged", [b"hellO", b"hell", b"hello!", b""])
def test_a_damaged_blob_is_noticed(store: Store, damaged: bytes) -> None:
    descriptor = store.put(b"hello", OCI_LAYER)
    store.path(descriptor.digest).write_bytes(damaged)
    for content in (descriptor, descriptor.digest):
        with pytest.raises(BlobCorrupt), store.open(content) as file:
            file.read(5)
            file.read(5)
    store.put(b"hello", OCI_LAYER)  # written again, it is whole again
    with store.open(descriptor) as file:
        assert file.read() == b"hello"


def test_the_last_bytes_of_a_damaged_blob_are_not_handed_on(store: Store) -> None:
    data = bytes(300_000)
    descriptor = store.put(data, OCI_LAYER)
    store.path(descriptor.digest).write_bytes(data[:-1] + b"!")
    got = 0
    with pytest.raises(BlobCorrupt), store.open(descriptor) as file:
        for _ in range(3):  # never asks for more than there is
            got += len(file.read(100_000))
    assert got < 300_000


def test_a_missing_blob_is_told(store: Store) -> None:
    with pytest.raises(BlobMissing, match="has no blob"):
        store.open(digest_of(b"hello"))
    with pytest.raises(BlobMissing):
        store.tag("hello", Descriptor(OCI_MANIFEST, digest_of(b"hello"), 5))


def test_a_digest_leads_nowhere_else(store: Store) -> None:
    with pytest.raises(BadDescriptor):
        store.path("sha256:../../index.json")


def test_names(store: Store) -> None:
    one, two = manifest(store), manifest(store, '{"a": 1}')
    store.tag("docker.io/library/a:latest", one)
    store.tag("docker.io/library/b:latest", one)
    store.tag("docker.io/library/a:latest", two)
    assert store.resolve("docker.io/library/a:latest") == two
    assert store.tags() == {"docker.io/library/a:latest": two, "docker.io/library/b:latest": one}
    store.untag("docker.io/library/a:latest")
    assert list(store.tags()) == ["docker.io/library/b:latest"]
    for action in (store.resolve, store.untag):
        with pytest.raises(UnknownImage, match=r"Did you mean docker.io/library/b:latest"):
            action("docker.io/library/a:latest")


@pytest.mark.parametrize("name", ["", "/a", "a b", "a\n", "../a", "-a", "a" * 600])
def test_what_no_layout_may_hold_as_a_name(store: Store, name: str) -> None:
    with pytest.raises(BadReference):
        store.tag(name, manifest(store))


def test_what_others_wrote_into_the_index_stays(store: Store) -> None:
    one = manifest(store)
    foreign = one.to_json() | {"artifactType": "a/b"}
    (store.directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [foreign]}))
    store.tag("a", one)
    assert store.entries()[0] == foreign
    assert list(store.tags()) == ["a"]


@pytest.mark.parametrize("text", ["", "[]", '{"manifests": 1}', '{"manifests": [1]}'])
def test_a_damaged_index_is_told_and_kept(store: Store, text: str) -> None:
    one = manifest(store)
    (store.directory / "index.json").write_text(text)
    with pytest.raises(BadManifest):
        store.tag("a", one)
    assert (store.directory / "index.json").read_text() == text


def test_a_bad_entry_is_told(store: Store) -> None:
    entry = {"digest": "x", "annotations": {"org.opencontainers.image.ref.name": "a"}}
    (store.directory / "index.json").write_text(json.dumps({"manifests": [entry]}))
    with pytest.raises(BadManifest, match="without mediaType, size"):
        store.resolve("a")


def test_names_change_together_or_not_at_all(store: Store) -> None:
    one, two = manifest(store), manifest(store, "[]")
    store.change({"a": one, "b": one})
    store.change({"a": None, "b": two, "c": one})
    assert store.tags() == {"b": two, "c": one}
    missing = Descriptor(OCI_MANIFEST, digest_of(b"nowhere"), 7)
    with pytest.raises(BlobMissing):
        store.change({"b": None, "d": missing})
    assert store.tags() == {"b": two, "c": one}


def test_several_programs_at_once(store: Store) -> None:
    script = (
        "import sys\nfrom kit.images.store import Store\n"
        "store = Store(sys.argv[1])\n"
        "for n in range(20):\n"
        "    store.tag(f'p{sys.argv[2]}-{n}', store.put(b'{\"n\": %d}' % n, 'a/b'))\n"
    )
    programs = [
        subprocess.Popen([sys.executable, "-c", script, store.directory, str(number)]) for number in range(4)
    ]
    assert [program.wait(60) for program in programs] == [0] * 4
    assert len(store.tags()) == 80
    assert len(files(store)) == 20  # the blobs, and nothing unfinished


def test_several_programs_begin_the_same_store(tmp_path: Path) -> None:
    script = "import sys\nfrom kit.images.store import Store\nStore(sys.argv[1]).put(b'', 'a/b')"
    path = tmp_path / "store"
    programs = [subprocess.Popen([sys.executable, "-c", script, path]) for _ in range(4)]
    assert [program.wait(60) for program in programs] == [0] * 4


def test_a_killed_writer_leaves_only_what_is_unfinished(store: Store) -> None:
    script = (
        "import os, sys\nfrom kit.images.store import Store\n"
        "with Store(sys.argv[1]).writer() as writer:\n"
        "    writer.write(b'hello')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, store.directory], timeout=60).returncode == -9
    assert [name.partition("/")[0] for name in files(store)] == [".writing"]
    with store.collecting():  # and it holds no lock any more
        pass
