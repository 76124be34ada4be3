import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.images import documents
from kit.images.descriptor import OCI_MANIFEST, Descriptor, Platform, check_digest, digest_of
from kit.images.errors import BadDescriptor, BadManifest, ImageError

DIGEST = digest_of(b"hello")
GOOD: dict[str, Any] = {"mediaType": OCI_MANIFEST, "digest": DIGEST, "size": 5}


def test_there_and_back() -> None:
    document = GOOD | {
        "annotations": {"a": "b"},
        "platform": {"os": "linux", "architecture": "arm", "variant": "v7"},
    }
    descriptor = Descriptor.from_json(document)
    assert descriptor.to_json() == document
    assert str(descriptor.platform) == "linux/arm/v7"
    assert hash(descriptor) == hash(Descriptor.from_json(document))


def test_unknown_keys_are_ignored_and_empty_ones_left_out() -> None:
    assert Descriptor.from_json(GOOD | {"urls": [], "annotations": None}).to_json() == GOOD


@pytest.mark.parametrize(
    "text",
    ["", "sha256:", "sha256:" + "A" * 64, DIGEST + "\n", DIGEST[:-1], "../" + DIGEST, "md5:00", None, 5],
)
def test_no_digest(text: object) -> None:
    with pytest.raises(BadDescriptor, match="is no digest"):
        check_digest(text)


def test_another_algorithm_is_refused_by_its_name() -> None:
    with pytest.raises(BadDescriptor, match="other algorithms are not supported"):
        check_digest("sha384:" + "0" * 96)


def test_the_two_algorithms_that_the_specification_registers() -> None:
    longer = digest_of(b"hello", "sha512")
    assert longer.startswith("sha512:9b71d224bd62f378")
    assert check_digest(longer) == longer
    with pytest.raises(BadDescriptor, match="is no digest"):
        check_digest("sha512:" + "0" * 64)


@pytest.mark.parametrize(
    "change",
    [
        {"size": -1},
        {"size": True},
        {"size": "5"},
        {"size": 5.0},
        {"mediaType": "tar"},
        {"mediaType": None},
        {"annotations": {"a": 1}},
        {"annotations": ["a"]},
        {"platform": "linux"},
        {"platform": {"os": 1}},
    ],
)
def test_what_the_specification_does_not_allow(change: dict[str, Any]) -> None:
    with pytest.raises(BadDescriptor):
        Descriptor.from_json(GOOD | change)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(BadDescriptor, match="without digest, size"):
        Descriptor.from_json({"mediaType": OCI_MANIFEST})


def test_platforms() -> None:
    assert Platform.parse("linux/arm64") == Platform("linux", "arm64")
    assert Platform.here().os == "linux"
    with pytest.raises(BadDescriptor, match="is no platform"):
        Platform.parse("linux")


def test_a_document_is_written_one_way() -> None:
    assert documents.encode({"b": "é", "a": [1]}) == '{"a":[1],"b":"é"}'.encode()


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[1]", b"{", b"[" * 100_000, b'{"a":' + b"9" * 10_000 + b"}"]
)
def test_no_document(data: bytes) -> None:
    with pytest.raises(BadManifest):
        documents.parse(data, "index.json")


def test_a_document_of_10_mb_is_refused_unread() -> None:
    with pytest.raises(BadManifest, match="10,000,000 bytes are too many"):
        documents.parse(b" " * 10_000_000, "index.json")


def test_an_error_keeps_its_parts() -> None:
    error = pickle.loads(pickle.dumps(BadManifest("no JSON", "index.json", "Fetch it anew.")))
    assert isinstance(error, ImageError) and isinstance(error, ValueError)
    assert str(error) == "no JSON (index.json). Fetch it anew."


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.just(DIGEST)
    | st.just(OCI_MANIFEST),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
KEYS = st.sampled_from(["mediaType", "digest", "size", "annotations", "platform"])


@settings(max_examples=500, deadline=None, database=None)
@given(st.dictionaries(KEYS, JSON).map(lambda change: GOOD | change) | JSON)
def test_any_json_is_a_descriptor_or_is_refused(document: Any) -> None:
    try:
        descriptor = Descriptor.from_json(document)
    except BadDescriptor:
        return
    assert Descriptor.from_json(descriptor.to_json()) == descriptor
