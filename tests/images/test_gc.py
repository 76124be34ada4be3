import subprocess
import sys
from pathlib import Path

import pytest

from kit.images import documents
from kit.images.descriptor import OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor, digest_of
from kit.images.errors import BadManifest, BlobCorrupt, StoreBusy
from kit.images.gc import collect
from kit.images.image import Image
from kit.images.store import Store
from tests.images.images import image, layer

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def blobs(store: Store) -> set[str]:
    return {f"sha256:{file.name}" for file in store.blobs.iterdir()}


def test_what_a_name_leads_to_stays(store: Store) -> None:
    shared = layer(store, shared=b"x")
    image(store, "a", shared, layer(store, a=b"a"))
    image(store, "b", shared, layer(store, b=b"b"))
    before = blobs(store)
    assert collect(store).digests == ()
    store.untag("b")
    dry = collect(store, dry_run=True)
    assert blobs(store) == before
    assert collect(store) == dry
    assert len(dry.digests) == 3  # a manifest, a configuration and one layer
    assert dry.size > 0
    Image.of(store, store.resolve("a")).check()
    store.untag("a")
    collect(store)
    assert blobs(store) == set()


def test_one_of_two_names_is_enough(store: Store) -> None:
    store.tag("b", image(store, "a"))
    store.untag("a")
    assert collect(store).digests == ()


def test_an_index_with_parts_that_nobody_has(store: Store) -> None:
    here = image(store)
    elsewhere = Descriptor(OCI_MANIFEST, digest_of(b"elsewhere"), 9)
    index = {"schemaVersion": 2, "manifests": [elsewhere.to_json(), here.to_json()]}
    store.tag("a", store.put(documents.encode(index), OCI_INDEX))
    assert collect(store).digests == ()


def test_what_another_tool_left_without_a_name_stays(store: Store) -> None:
    descriptor = image(store)
    index = {"schemaVersion": 2, "manifests": [descriptor.to_json()]}
    (store.directory / "index.json").write_bytes(documents.encode(index))
    assert collect(store).digests == ()


def test_a_damaged_image_stops_it(store: Store) -> None:
    descriptor = image(store, "a")
    garbage = store.put(b"garbage", OCI_LAYER)
    store.path(descriptor.digest).write_bytes(b"x" * descriptor.size)
    with pytest.raises(BlobCorrupt):
        collect(store)
    store.tag("b", store.put(b'{"layers": 1}', OCI_MANIFEST))
    store.untag("a")
    with pytest.raises(BadManifest):
        collect(store)
    assert store.has(garbage.digest)


def test_nothing_is_removed_while_a_program_writes(store: Store) -> None:
    script = (
        "import sys\nfrom kit.images.store import Store\n"
        "store = Store(sys.argv[1])\n"
        "with store.writing():\n"
        "    store.put(b'no name leads here yet', 'a/b')\n"
        "    print(flush=True)\n"
        "    sys.stdin.read()\n"
    )
    arguments = [sys.executable, "-c", script, str(store.directory)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin and program.stdout
        program.stdout.readline()
        with pytest.raises(StoreBusy, match="Collect again when"):
            collect(store)
        assert len(blobs(store)) == 1
        program.stdin.close()
        assert program.wait(60) == 0
    assert len(collect(store).digests) == 1


def test_an_unfinished_blob_is_never_removed_but_that_of_a_killed_program(store: Store) -> None:
    with store.writer() as writer:
        writer.write(b"hello")
        with pytest.raises(StoreBusy):
            collect(store)
        digest, _ = writer.commit()
    script = (
        "import os, sys\nfrom kit.images.store import Store\n"
        "with Store(sys.argv[1]).writer() as writer:\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, store.directory], timeout=60)
    assert len(list(store.unfinished.iterdir())) == 1
    assert collect(store).digests == (digest,)
    assert list(store.unfinished.iterdir()) == []


def test_pulls_and_collections_at_once(store: Store) -> None:
    """Whatever a collector does in between, a tagged image is whole."""
    script = (
        "import sys\nfrom kit.images.store import Store\nfrom tests.images.images import image\n"
        "store = Store(sys.argv[1])\n"
        "for n in range(15):\n"
        "    with store.writing():\n"
        "        image(store, f'p{sys.argv[2]}-{n}')\n"
    )
    programs = [
        subprocess.Popen([sys.executable, "-c", script, store.directory, str(number)], cwd=PROJECT)
        for number in range(2)
    ]
    while any(program.poll() is None for program in programs):
        try:
            collect(store)
        except StoreBusy:
            continue
    assert [program.wait(60) for program in programs] == [0, 0]
    assert len(store.tags()) == 30
    for descriptor in store.tags().values():
        Image(store, descriptor).check()
