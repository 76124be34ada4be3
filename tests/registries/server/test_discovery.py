"""What is there, and what refers to it: the OCI distribution-spec, "Content Discovery"."""

import json
from typing import Any

from kit.images.descriptor import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, digest_of
from tests.registries.servers import ask, descriptor, manifest, push, push_blob, put

SUBJECT = manifest()
MISSING = digest_of(b"nowhere")
NOTES = {"org.example.note": "hello"}


def tags(address: str, query: str = "") -> list[str]:
    return list(ask(address, "GET", f"/v2/a/tags/list{query}").json()["tags"])


def test_tags_in_the_order_of_their_characters(address: str) -> None:
    for tag in ("b", "a", "B", "1.10", "1.9", "_"):
        push(address, "a", tag)
    push(address, "other", "x")
    reply = ask(address, "GET", "/v2/a/tags/list")
    assert reply.json() == {"name": "a", "tags": ["1.10", "1.9", "B", "_", "a", "b"]}
    assert "Link" not in reply.headers
    assert tags(address, "?last=B") == ["_", "a", "b"]
    assert tags(address, "?last=C") == ["_", "a", "b"]
    assert tags(address, "?n=2&last=B") == ["_", "a"]
    assert tags(address, "?n=100") == tags(address)
    assert tags(address, "?last=z") == []


def test_page_after_page(address: str) -> None:
    for tag in "abcde":
        push(address, "a", tag)
    found, path = [], "/v2/a/tags/list?n=2"
    while path:
        reply = ask(address, "GET", path)
        found.append(reply.json()["tags"])
        link = reply.headers.get("Link", "")
        assert not link or link.endswith('>; rel="next"')
        path = link.partition(">")[0].removeprefix("<")
    assert found == [["a", "b"], ["c", "d"], ["e"]]


def test_no_tags_at_all(address: str) -> None:
    push(address, "a", "x")
    reply = ask(address, "GET", "/v2/a/tags/list?n=0")
    assert (reply.json()["tags"], reply.headers.get("Link")) == ([], None)
    assert ask(address, "GET", "/v2/a/tags/list?n=-1").status == 400
    assert ask(address, "GET", "/v2/a/tags/list?n=many").status == 400
    assert ask(address, "GET", f"/v2/a/tags/list?n={'9' * 5000}").status == 400


def test_the_tags_of_a_repository_that_is_not_there_or_has_none(address: str) -> None:
    reply = ask(address, "GET", "/v2/a/tags/list")
    assert (reply.status, reply.code) == (404, "NAME_UNKNOWN")
    push_blob(address, "a", b"x")
    assert tags(address) == []


def referrer(address: str, subject: str = digest_of(SUBJECT), **more: Any) -> dict[str, Any]:
    """Push a manifest with a subject, by its digest; its descriptor."""
    points = {"mediaType": OCI_MANIFEST, "digest": subject, "size": len(SUBJECT)}
    data = manifest(subject=points, **more)
    reply = put(address, "a", digest_of(data), data)
    assert (reply.status, reply.headers["OCI-Subject"]) == (201, subject)
    return descriptor(OCI_MANIFEST, data)


def referrers(address: str, subject: str = digest_of(SUBJECT), query: str = "") -> list[dict[str, Any]]:
    reply = ask(address, "GET", f"/v2/a/referrers/{subject}{query}")
    assert (reply.status, reply.headers["Content-Type"]) == (200, OCI_INDEX)
    assert (reply.json()["schemaVersion"], reply.json()["mediaType"]) == (2, OCI_INDEX)
    assert reply.headers.get("OCI-Filters-Applied") == ("artifactType" if query else None)
    return sorted(reply.json()["manifests"], key=lambda one: str(one["digest"]))


def test_nothing_refers_to_it(address: str) -> None:
    assert referrers(address) == []
    push(address, "a", "1")
    assert referrers(address) == []
    assert referrers(address, digest_of(SUBJECT, "sha512")) == []
    reply = ask(address, "GET", "/v2/a/referrers/sha256:00")
    assert (reply.status, reply.code) == (400, "DIGEST_INVALID")


def test_referrers_pushed_before_and_after_their_subject(address: str) -> None:
    for data in (b"{}", b"layer"):
        push_blob(address, "a", data)
    own = referrer(address, artifactType="application/vnd.sbom", annotations=NOTES)
    assert put(address, "a", "1", SUBJECT).status == 201
    of_config = referrer(address, layers=[descriptor(OCI_LAYER, b"layer")])
    whole = [
        {**own, "artifactType": "application/vnd.sbom", "annotations": NOTES},
        {**of_config, "artifactType": OCI_CONFIG},
    ]
    assert referrers(address) == sorted(whole, key=lambda one: one["digest"])
    assert referrers(address, query="?artifactType=application/vnd.sbom") == whole[:1]
    assert referrers(address, query="?artifactType=a/b") == []
    assert ask(address, "GET", "/v2/other/referrers/" + digest_of(SUBJECT)).json()["manifests"] == []


def test_an_index_refers_to_a_subject_that_nobody_has(address: str) -> None:
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [],
        "annotations": NOTES,
        "subject": {"mediaType": OCI_MANIFEST, "digest": MISSING, "size": 7},
    }
    data = json.dumps(index).encode()
    assert put(address, "a", "x", data, OCI_INDEX).headers["OCI-Subject"] == MISSING
    assert referrers(address, MISSING) == [{**descriptor(OCI_INDEX, data), "annotations": NOTES}]


def test_a_referrer_that_is_deleted_refers_no_longer(address: str) -> None:
    push_blob(address, "a", b"{}")
    one = referrer(address)
    assert len(referrers(address)) == 1
    assert ask(address, "DELETE", f"/v2/a/manifests/{one['digest']}").status == 202
    assert referrers(address) == []


def test_what_an_older_client_listed_under_the_fallback_tag_is_found_too(address: str) -> None:
    """Such a client pushes the referrer as any manifest, and an index of all under the subject's digest."""
    push_blob(address, "a", b"{}")
    one = referrer(address, artifactType="application/vnd.sbom")
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [{**one, "artifactType": "application/vnd.sbom"}],
    }
    tag = digest_of(SUBJECT).replace(":", "-")
    assert put(address, "a", tag, json.dumps(index).encode(), OCI_INDEX).status == 201
    assert ask(address, "GET", f"/v2/a/manifests/{tag}").json()["manifests"] == referrers(address)
    assert tag in tags(address)
