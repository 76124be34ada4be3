from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.images.descriptor import OCI_MANIFEST, digest_of
from kit.images.errors import BadReference
from kit.images.reference import Reference
from kit.images.store import Store

DIGEST = digest_of(b"hello")


@pytest.mark.parametrize(
    "text, whole, familiar",
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("someone/thing", "docker.io/someone/thing:latest", "someone/thing:latest"),
        ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost/thing", "localhost/thing:latest", "localhost/thing:latest"),
        ("localhost:5000/thing", "localhost:5000/thing:latest", "localhost:5000/thing:latest"),
        ("[::1]:5000/a/b:c", "[::1]:5000/a/b:c", "[::1]:5000/a/b:c"),
        ("Registry/thing", "Registry/thing:latest", "Registry/thing:latest"),
        ("ghcr.io/a/b__c.d-e--f:V_1.-", "ghcr.io/a/b__c.d-e--f:V_1.-", "ghcr.io/a/b__c.d-e--f:V_1.-"),
        (f"a@{DIGEST}", f"docker.io/library/a@{DIGEST}", f"a@{DIGEST}"),
        (f"a:1@{DIGEST}", f"docker.io/library/a:1@{DIGEST}", f"a:1@{DIGEST}"),
    ],
)
def test_names(text: str, whole: str, familiar: str) -> None:
    reference = Reference.parse(text)
    assert str(reference) == whole
    assert reference.familiar() == familiar
    assert Reference.parse(whole) == reference
    assert Reference.parse(familiar) == reference


def test_parts() -> None:
    assert Reference.parse(f"ghcr.io/a/b:1@{DIGEST}") == Reference("ghcr.io", "a/b", "1", DIGEST)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "needs a name"),
        ("BusyBox", r"has capitals; .* 'busybox'"),
        ("a:", "tag '' is not possible"),
        ("a:.x", "tag '.x'"),
        ("a:" + "x" * 129, "up to 128"),
        ("a:b:c", "tag 'b:c'"),
        ("a b", "must be lower case"),
        ("a\n", "must be lower case"),
        ("a:b\n", "is not possible"),
        ("a__.b", "must be lower case"),
        ("-a", "must be lower case"),
        ("/a", "is empty"),
        ("a/", "is empty"),
        ("a//b", "is empty"),
        ("../a", "no host name"),
        ("-x.io/a", "no host name"),
        ("a.io:port/b", "no host name"),
        ("a@", "after @"),
        ("a@sha256:00", "after @"),
        ("a@sha384:" + "0" * 96, "other algorithms"),
        ("0" * 64, "an image's id"),
        ("a/" * 200 + "a", "at most 255"),
        ("ä", "must be lower case"),
        ("a/b/../c", "must be lower case"),
    ],
)
def test_what_can_be_no_name(text: str, reason: str) -> None:
    with pytest.raises(BadReference, match=reason):
        Reference.parse(text)


def test_a_store_takes_every_reference(tmp_path: Path) -> None:
    store = Store(tmp_path)
    image = store.put(b"{}", OCI_MANIFEST)
    for text in ("busybox", "[::1]:5000/a/b__c.d-e:V_1.-", f"a@{DIGEST}", "b:_"):
        store.tag(str(Reference.parse(text)), image)
    assert len(store.tags()) == 4


@settings(max_examples=500, deadline=None, database=None)
@given(st.one_of(st.text(), st.text("aA0.:/@-_[] é\n", max_size=30), st.just(DIGEST).map("a@".__add__)))
def test_any_text_is_a_name_or_is_refused(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except BadReference:
        return
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar()) == reference
