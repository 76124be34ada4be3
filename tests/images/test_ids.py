"""Images are found as with Docker: by name, by the beginning of the id, by a name with a digest."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.images import documents
from kit.images.descriptor import OCI_INDEX, digest_of
from kit.images.errors import BadReference, UnknownImage
from kit.images.find import find, names
from kit.images.image import Image
from kit.images.load import load
from kit.images.save import save
from kit.images.store import Store
from tests.images.images import image, layer

PLATFORM = {"os": "linux", "architecture": "amd64"}
ONE = "docker.io/library/one:latest"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    image(store, ONE)
    image(store, "docker.io/library/two:1")
    return store


def twins(store: Store) -> list[Image]:
    """Two images whose ids begin with the same four digits; among a thousand there are some."""
    layers = [layer(store, greeting=b"hello")]
    seen: dict[str, int] = {}
    for number in range(5000):
        config = {**PLATFORM, "author": str(number), "rootfs": {"type": "layers", "diff_ids": [layers[0][1]]}}
        digest = digest_of(documents.encode(config))
        other = seen.setdefault(digest[:11], number)
        if other != number:
            return [
                Image.of(store, image(store, f"docker.io/library/twin:{author}", *layers, author=str(author)))
                for author in (other, number)
            ]
    raise AssertionError("no two ids begin alike")


@pytest.mark.parametrize("digits", [4, 12, 64])
@pytest.mark.parametrize("scheme", ["", "sha256:"])
def test_the_id_is_enough_or_its_beginning(store: Store, digits: int, scheme: str) -> None:
    one = Image.find(store, "one")
    name, found = find(store, scheme + one.id.removeprefix("sha256:")[:digits])
    assert (name, found.descriptor) == (ONE, one.descriptor)


def test_so_are_the_digests_of_the_manifest_and_of_an_index(store: Store) -> None:
    one = Image.find(store, "one")
    assert find(store, one.descriptor.digest)[0] == ONE
    assert find(store, f"one@{one.descriptor.digest}")[1].id == one.id
    assert find(store, f"one:sometag@{one.descriptor.digest}")[1].id == one.id
    entries = [{**one.descriptor.to_json(), "platform": one.platform.to_json()}]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    store.tag("docker.io/library/three:latest", store.put(documents.encode(document), OCI_INDEX))
    assert find(store, store.resolve("docker.io/library/three:latest").digest)[0].endswith("three:latest")


def test_a_digest_belongs_to_a_repository(store: Store) -> None:
    with pytest.raises(UnknownImage):
        find(store, f"two@{Image.find(store, 'one').descriptor.digest}")


def test_what_begins_several_ids_is_refused_with_them(store: Store) -> None:
    first, second = twins(store)
    with pytest.raises(BadReference, match="begins the ids of 2 images") as refused:
        find(store, first.id[7:11])
    assert "twin:" in str(refused.value) and "Type more digits" in str(refused.value)
    assert Image.find(store, first.id[7:19]).id == first.id
    assert Image.find(store, second.id).id == second.id


def test_two_names_of_one_image_are_no_doubt(store: Store) -> None:
    one = Image.find(store, "one")
    store.tag("docker.io/library/also:1", one.descriptor)
    name, found = find(store, one.id[7:19])
    assert (name, found.id) == ("docker.io/library/also:1", one.id)
    assert names(store, one) == ["docker.io/library/also:1", ONE]


def test_a_name_comes_before_an_id(store: Store) -> None:
    digits = Image.find(store, "one").id[7:19]
    store.tag(f"docker.io/library/{digits}:latest", store.resolve("docker.io/library/two:1"))
    assert Image.find(store, digits).id == Image.find(store, "two:1").id


def test_a_name_as_other_tools_write_it_leads_to_its_image(store: Store) -> None:
    store.tag("1.0", store.resolve(ONE))
    assert find(store, "1.0")[0] == "1.0"


@pytest.mark.parametrize("text", ["no-such", "abcdef", "sha256:abcdef", "0" * 64, f"one@sha256:{'0' * 64}"])
def test_what_is_unknown_is_told(store: Store, text: str) -> None:
    with pytest.raises(UnknownImage, match="has no image"):
        find(store, text)


@pytest.mark.parametrize("text", ["", "sha256:xyz/", "One", "one:", "one@sha256:12"])
def test_what_is_no_name_is_refused(store: Store, text: str) -> None:
    with pytest.raises(BadReference):
        find(store, text)


def test_only_what_a_name_leads_to_is_found(store: Store) -> None:
    with pytest.raises(UnknownImage):
        find(store, Image.of(store, image(store)).id)


def test_a_damaged_image_hides_no_other(store: Store) -> None:
    one, two = Image.find(store, "one"), Image.find(store, "two:1")
    damaged = two.id
    store.path(two.descriptor.digest).write_bytes(b"{}")
    assert Image.find(store, one.id).id == one.id
    with pytest.raises(UnknownImage):
        find(store, damaged)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("store"))
    image(store, ONE)
    return store


@settings(max_examples=300, deadline=None, database=None)
@given(st.text() | st.from_regex(r"(sha256:|one@)?[0-9a-f@:/-]{0,70}", fullmatch=True))
def test_any_text_finds_an_image_or_is_refused(lasting: Store, text: str) -> None:
    with suppress(UnknownImage, BadReference):
        assert find(lasting, text)[0] == ONE


def test_what_is_saved_by_its_id_is_loaded_by_its_name(store: Store, tmp_path: Path) -> None:
    archive = io.BytesIO()
    save(store, [Image.find(store, "one").id[7:19]], archive)
    archive.seek(0)
    assert list(load(Store(tmp_path / "other"), archive)) == [ONE]
