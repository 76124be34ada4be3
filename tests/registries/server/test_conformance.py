"""What the conformance suite of the OCI distribution-spec 1.1 checks: pull, push, content discovery, content
management. A test here is a check there; what it does with all kinds of content is in test_content.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kit.images.descriptor import OCI_INDEX, OCI_MANIFEST, digest_of
from kit.registries.server import serve
from tests.registries.servers import Reply, ask, begin, created, descriptor, manifest, push, push_blob, put

ONE, TWO = "conformance/repo1", "conformance/repo2"
BLOB = b"Hello, how are you today?" * 123
DIGEST, MISSING = digest_of(BLOB), digest_of(b"hello world")
EMPTY, OCI_EMPTY = b"{}", "application/vnd.oci.empty.v1+json"
TYPE_A, TYPE_B = "application/vnd.example.a", "application/vnd.example.b"
CODES = {
    "BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED",
    "DENIED", "UNSUPPORTED", "TOOMANYREQUESTS",
}  # fmt: skip
algorithms = pytest.mark.parametrize("algorithm", ["sha256", "sha512"])


@pytest.fixture
def image(address: str) -> bytes:
    """The manifest of an image that was pushed, with a tag."""
    push(address, ONE, "tagtest0", BLOB)
    return manifest(BLOB)


def get(address: str, path: str, method: str = "GET", repository: str = ONE, **headers: str) -> Reply:
    return ask(address, method, f"/v2/{repository}/{path}", headers=headers)


def with_digest(location: str, digest: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


# Pull


def test_the_base(address: str) -> None:
    assert ask(address, "GET", "/v2/").status == 200


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_blob_that_is_missing(address: str, method: str) -> None:
    assert get(address, f"blobs/{MISSING}", method).status == 404


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_blob(address: str, image: bytes, method: str) -> None:
    reply = get(address, f"blobs/{DIGEST}", method)
    assert (reply.status, reply.body) == (200, BLOB if method == "GET" else b"")
    assert (reply.headers["Docker-Content-Digest"], reply.headers["Content-Length"]) == (
        DIGEST,
        str(len(BLOB)),
    )


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("reference", [".INVALID_MANIFEST_NAME", "missing-x", MISSING])
def test_a_manifest_that_is_missing(address: str, image: bytes, method: str, reference: str) -> None:
    assert get(address, f"manifests/{reference}", method).status == 404


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("reference", ["tagtest0", digest_of(manifest(BLOB))])
def test_a_manifest(address: str, image: bytes, method: str, reference: str) -> None:
    reply = get(address, f"manifests/{reference}", method, Accept=OCI_MANIFEST)
    assert (reply.status, reply.body) == (200, image if method == "GET" else b"")
    assert reply.headers["Docker-Content-Digest"] == digest_of(image)
    assert (reply.headers["Content-Type"], reply.headers["Content-Length"]) == (OCI_MANIFEST, str(len(image)))


def test_an_error_has_the_form_of_the_specification(address: str) -> None:
    reply = put(address, ONE, "sha256:totallywrong", b"blablabla")
    assert reply.status == 400
    assert {one["code"] for one in reply.json()["errors"]} <= CODES


def test_a_digest_that_is_none(address: str, image: bytes) -> None:
    assert put(address, ONE, "sha256:baddigeststring", image).status == 400
    assert get(address, "manifests/sha256:baddigeststring").status in (400, 404)


@pytest.mark.parametrize(
    "wanted, part",
    [
        ("500-1499", slice(500, 1500)),
        ("500-", slice(500, None)),
        ("-500", slice(2048 - 500, None)),
        ("2000-5000", slice(2000, None)),
        ("500-0", None),
        ("5000-10000", None),
    ],
)
def test_a_range(address: str, wanted: str, part: slice | None) -> None:
    data = bytes(range(256)) * 8
    reply = get(address, f"blobs/{push_blob(address, ONE, data)}", Range=f"bytes={wanted}")
    if part is None:
        assert reply.status == 416
        return
    first, end, _ = part.indices(2048)
    assert (reply.status, reply.body, reply.headers["Content-Length"]) == (206, data[part], str(end - first))
    assert reply.headers["Content-Range"] == f"bytes {first}-{end - 1}/2048"


# Push


@algorithms
def test_a_blob_in_a_stream(address: str, algorithm: str) -> None:
    reply = ask(address, "PATCH", begin(address, ONE), BLOB, {"Content-Type": "application/octet-stream"})
    assert reply.status == 202
    location = with_digest(reply.headers["Location"], digest_of(BLOB, algorithm))
    created(address, ask(address, "PUT", location), BLOB)


@algorithms
@pytest.mark.parametrize("data", [BLOB, b"", EMPTY])
def test_a_blob_in_one_request(address: str, algorithm: str, data: bytes) -> None:
    location = with_digest(f"/v2/{ONE}/blobs/uploads/", digest_of(data, algorithm))
    created(address, ask(address, "POST", location, data), data)


@algorithms
@pytest.mark.parametrize("data", [BLOB, b"", EMPTY])
def test_a_blob_in_two_requests(address: str, algorithm: str, data: bytes) -> None:
    location = with_digest(begin(address, ONE), digest_of(data, algorithm))
    created(address, ask(address, "PUT", location, data), data)


@algorithms
@pytest.mark.parametrize("last", ["PATCH", "PUT"])
@pytest.mark.parametrize("out_of_order", [False, True])
def test_a_blob_in_chunks(address: str, algorithm: str, last: str, out_of_order: bool) -> None:
    digest, location = digest_of(BLOB, algorithm), begin(address, ONE)
    chunks = [(first, min(first + 1024, len(BLOB))) for first in range(0, len(BLOB), 1024)]

    def send(first: int, end: int) -> Reply:
        method = last if end == len(BLOB) else "PATCH"
        where = with_digest(location, digest) if method == "PUT" else location
        return ask(address, method, where, BLOB[first:end], {"Content-Range": f"{first}-{end - 1}"})

    for number, (first, end) in enumerate(chunks):
        if out_of_order:
            assert send(*chunks[number + 1 if number + 1 < len(chunks) else 0]).status == 416
            now = ask(address, "GET", location)
            assert (now.status, now.headers["Range"]) == (204, f"0-{max(first - 1, 0)}")
            location = now.headers["Location"]
        reply = send(first, end)
        if end < len(BLOB) or last == "PATCH":
            assert (reply.status, reply.headers["Range"]) == (202, f"0-{end - 1}")
            location = reply.headers["Location"]
    if last == "PATCH":
        reply = ask(address, "PUT", with_digest(location, digest), headers={"Content-Length": "0"})
    created(address, reply, BLOB)


def test_a_chunk_that_comes_again(address: str) -> None:
    stale, chunk = begin(address, ONE), {"Content-Range": "0-2"}
    assert ask(address, "PATCH", stale, BLOB[:3], chunk).headers["Range"] == "0-2"
    assert ask(address, "PATCH", stale, BLOB[:3], chunk).status == 416
    now = ask(address, "GET", stale)
    assert (now.status, now.headers["Range"], bool(now.headers["Location"])) == (204, "0-2", True)


def test_an_upload_is_cancelled(address: str) -> None:
    location = begin(address, ONE)
    assert ask(address, "DELETE", location).status == 204
    assert ask(address, "PUT", with_digest(location, DIGEST), BLOB).status in (400, 404)


@algorithms
@pytest.mark.parametrize("way", ["POST", "PUT", "PATCH", "chunk"])
def test_a_blob_with_another_digest(address: str, algorithm: str, way: str) -> None:
    digest, wrong = digest_of(BLOB, algorithm), BLOB + b"oh no"
    location = f"/v2/{ONE}/blobs/uploads/" if way == "POST" else begin(address, ONE)
    if way in ("PATCH", "chunk"):
        headers = {"Content-Range": f"0-{len(wrong) - 1}"} if way == "chunk" else {}
        assert ask(address, "PATCH", location, wrong, headers).status == 202
    body = b"" if way in ("PATCH", "chunk") else wrong
    assert ask(address, "POST" if way == "POST" else "PUT", with_digest(location, digest), body).status == 400
    assert get(address, f"blobs/{digest}").status == 404


@algorithms
@pytest.mark.parametrize("source", [f"&from={TWO}", ""])
def test_a_blob_is_mounted(address: str, algorithm: str, source: str) -> None:
    """Without a source too: "automatic content discovery" is what the suite calls it."""
    digest = push_blob(address, TWO, BLOB, algorithm)
    reply = ask(address, "POST", f"/v2/{ONE}/blobs/uploads/?mount={digest}{source}")
    created(address, reply, BLOB)
    assert reply.headers["Location"] == f"/v2/{ONE}/blobs/{digest}"


@pytest.mark.parametrize("source", [f"&from={TWO}", ""])
def test_a_blob_that_can_not_be_mounted_is_uploaded(address: str, source: str) -> None:
    reply = ask(address, "POST", f"/v2/{ONE}/blobs/uploads/?mount={DIGEST}{source}")
    assert reply.status == 202
    assert reply.headers["Location"].startswith(f"/v2/{ONE}/blobs/uploads/")
    created(address, ask(address, "PUT", with_digest(reply.headers["Location"], DIGEST), BLOB), BLOB)


def test_a_manifest_by_several_tags(address: str, image: bytes) -> None:
    for number in range(4):
        created(address, put(address, ONE, f"test{number}", image), image)


@algorithms
def test_a_manifest_with_another_digest(address: str, image: bytes, algorithm: str) -> None:
    assert put(address, ONE, digest_of(image, algorithm), image + b"  ").status == 400


# Content discovery


def test_the_tags_of_nothing(address: str) -> None:
    assert get(address, "tags/list").status in (200, 404)


def test_tags_are_listed(address: str, image: bytes) -> None:
    for number in range(4):
        assert put(address, ONE, f"test{number}", image).status == 201
    every = get(address, "tags/list").json()["tags"]
    assert every == ["tagtest0", "test0", "test1", "test2", "test3"]
    first = get(address, "tags/list?n=2").json()["tags"]
    assert len(first) == 2
    after = get(address, f"tags/list?n=2&last={first[-1]}").json()["tags"]
    assert (len(after), first[-1] in after) == (2, False)


def test_nothing_refers_to_it(address: str) -> None:
    reply = get(address, f"referrers/{MISSING}")
    assert (reply.status, reply.headers["Content-Type"]) == (200, OCI_INDEX)
    assert reply.json() == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


def test_what_refers_to_an_image_was_pushed_before_and_after_it(address: str) -> None:
    """Four artifacts of two types, named by themselves or by their configuration, and an index."""
    subject = descriptor(OCI_MANIFEST, manifest(BLOB))
    push_blob(address, ONE, EMPTY)
    for number, kind in enumerate((TYPE_A, TYPE_A, TYPE_B, TYPE_B)):
        if number == 2:
            push(address, ONE, "tagtest0", BLOB)
        own = {"config": descriptor(kind, EMPTY)} if number % 2 else {"artifactType": kind}
        artifact = manifest(subject=subject, annotations={"n": str(number)}, **own)
        assert put(address, ONE, digest_of(artifact), artifact).headers["OCI-Subject"] == subject["digest"]
    fields = {"schemaVersion": 2, "mediaType": OCI_INDEX, "artifactType": "x/index", "subject": subject}
    entries = [descriptor(OCI_MANIFEST, artifact)]
    index = json.dumps({**fields, "manifests": entries, "annotations": {"n": "4"}}).encode()
    assert put(address, ONE, digest_of(index), index, OCI_INDEX).headers["OCI-Subject"] == subject["digest"]

    found = get(address, f"referrers/{subject['digest']}").json()["manifests"]
    assert len({one["digest"] for one in found}) == 5
    assert {one["annotations"]["n"]: one["artifactType"] for one in found} == {
        "0": TYPE_A, "1": TYPE_A, "2": TYPE_B, "3": TYPE_B, "4": "x/index",
    }  # fmt: skip
    reply = get(address, f"referrers/{subject['digest']}?artifactType={TYPE_A}")
    assert reply.headers["OCI-Filters-Applied"] == "artifactType"
    assert {one["annotations"]["n"] for one in reply.json()["manifests"]} == {"0", "1"}


def test_what_refers_to_a_missing_manifest(address: str) -> None:
    push_blob(address, ONE, EMPTY)
    artifact = manifest(subject={"mediaType": OCI_MANIFEST, "digest": MISSING, "size": 11})
    assert put(address, ONE, digest_of(artifact), artifact).headers["OCI-Subject"] == MISSING
    found = get(address, f"referrers/{MISSING}").json()["manifests"]
    assert [one["digest"] for one in found] == [digest_of(artifact)]


# Content management


def test_a_tag_is_deleted(address: str, image: bytes) -> None:
    assert get(address, "manifests/tagtest0", "DELETE").status == 202
    assert get(address, "manifests/tagtest0").status == 404
    assert get(address, "tags/list").json()["tags"] == []
    assert get(address, f"manifests/{digest_of(image)}", "DELETE").status in (202, 404)
    assert get(address, f"manifests/{digest_of(image)}").status == 404


def test_a_manifest_is_deleted(address: str, image: bytes) -> None:
    assert get(address, f"manifests/{digest_of(image)}", "DELETE").status == 202
    assert get(address, f"manifests/{digest_of(image)}").status == 404
    assert get(address, "manifests/tagtest0").status == 404
    assert get(address, "tags/list").json()["tags"] == []


@pytest.mark.parametrize("manifest_first", [False, True])
def test_blobs_are_deleted_before_and_after_their_manifest(
    address: str, image: bytes, manifest_first: bool
) -> None:
    paths = [f"blobs/{DIGEST}", f"blobs/{digest_of(EMPTY)}", f"manifests/{digest_of(image)}"]
    for path in reversed(paths) if manifest_first else paths:
        assert get(address, path, "DELETE").status == 202
        assert get(address, path).status == 404


def test_without_deletion(tmp_path: Path) -> None:
    with serve(tmp_path / "kept", delete=False) as registry:
        digest = push(registry.address, ONE, "1", BLOB)
        for path in ("manifests/1", f"manifests/{digest}", f"blobs/{DIGEST}"):
            assert get(registry.address, path, "DELETE").status == 405
