"""Blobs and manifests on their way in: the OCI distribution-spec, "Push"."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.images.descriptor import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    digest_of,
)
from kit.registries.server import Registry
from tests.registries.servers import ask, begin, descriptor, manifest, push, push_blob, put

DATA = bytes(range(256)) * 100
DIGEST = digest_of(DATA)


def holds(address: str, digest: str = DIGEST, data: bytes = DATA, repository: str = "a/b") -> bool:
    reply = ask(address, "GET", f"/v2/{repository}/blobs/{digest}")
    return (reply.status, reply.body) == (200, data)


def test_the_base_says_that_this_is_a_registry(address: str) -> None:
    reply = ask(address, "GET", "/v2/")
    assert (reply.status, reply.headers["Docker-Distribution-API-Version"]) == (200, "registry/2.0")


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_in_two_steps(address: str, algorithm: str) -> None:
    location = begin(address, "a/b")
    digest = digest_of(DATA, algorithm)
    reply = ask(address, "PUT", f"{location}?digest={digest}", DATA)
    assert reply.status == 201
    assert reply.headers["Docker-Content-Digest"] == digest
    assert ask(address, "GET", reply.headers["Location"]).body == DATA
    assert ask(address, "GET", location).code == "BLOB_UPLOAD_UNKNOWN"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("data", [DATA, b"", b"{}"])
def test_in_one_step(address: str, algorithm: str, data: bytes) -> None:
    digest = digest_of(data, algorithm)
    reply = ask(address, "POST", f"/v2/a/b/blobs/uploads/?digest={digest}", data)
    assert reply.status == 201
    assert holds(address, digest, data)


def test_as_a_stream_without_a_length(address: str) -> None:
    location = begin(address, "a/b")
    reply = ask(address, "PATCH", location, iter([DATA[:1000], DATA[1000:]]))
    assert (reply.status, reply.headers["Range"]) == (202, f"0-{len(DATA) - 1}")
    assert ask(address, "PUT", f"{reply.headers['Location']}?digest={DIGEST}").status == 201
    assert holds(address)


@pytest.mark.parametrize("last", ["PATCH", "PUT"])
def test_in_chunks(address: str, last: str) -> None:
    location = begin(address, "a/b")
    for first, end in ((0, 9999), (10000, 19999)):
        reply = ask(address, "PATCH", location, DATA[first : end + 1], {"Content-Range": f"{first}-{end}"})
        assert (reply.status, reply.headers["Range"]) == (202, f"0-{end}")
        location = reply.headers["Location"]
        now = ask(address, "GET", location)
        assert (now.status, now.headers["Range"], now.headers["Location"]) == (204, f"0-{end}", location)
    rest, of_rest = DATA[20000:], {"Content-Range": f"20000-{len(DATA) - 1}"}
    if last == "PATCH":
        assert ask(address, "PATCH", location, rest, of_rest).status == 202
        rest, of_rest = b"", {}
    assert ask(address, "PUT", f"{location}?digest={DIGEST}", rest, of_rest).status == 201
    assert holds(address)


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize(
    "content_range", ["5-9", "15-19", "0-9", "10-", "bytes 10-19", "19-10", "-1-8", "٣-9"]
)
def test_a_chunk_out_of_order_is_refused_and_changes_nothing(
    address: str, method: str, content_range: str
) -> None:
    location = begin(address, "a/b")
    assert ask(address, "PATCH", location, DATA[:10], {"Content-Range": "0-9"}).status == 202
    where = f"{location}?digest={DIGEST}"
    headers = {"Content-Range": content_range.encode().decode("latin-1")}
    reply = ask(address, method, where, DATA[10:20], headers)
    assert (reply.status, reply.code, reply.headers["Range"]) == (416, "BLOB_UPLOAD_INVALID", "0-9")
    assert ask(address, "GET", location).headers["Range"] == "0-9"
    assert ask(address, "PUT", where, DATA[10:]).status == 201
    assert holds(address)


@pytest.mark.parametrize("body", [DATA[:5], iter([DATA[:5]]), iter([DATA[:15]])])
def test_a_chunk_of_another_length_than_it_says(address: str, body: bytes | Iterator[bytes]) -> None:
    location = begin(address, "a/b")
    reply = ask(address, "PATCH", location, body, {"Content-Range": "0-9"})
    assert (reply.status, reply.code) == (400, "SIZE_INVALID")
    assert ask(address, "PUT", f"{location}?digest={DIGEST}", DATA).status == 201


@pytest.mark.parametrize("way", ["POST", "PUT", "PATCH"])
def test_other_bytes_than_the_digest_says(registry: Registry, tmp_path: Path, way: str) -> None:
    address, wrong = registry.address, DATA + b"oh no"
    if way == "POST":
        reply = ask(address, "POST", f"/v2/a/b/blobs/uploads/?digest={DIGEST}", wrong)
    else:
        location = begin(address, "a/b")
        if way == "PATCH":
            assert ask(address, "PATCH", location, wrong).status == 202
        reply = ask(address, "PUT", f"{location}?digest={DIGEST}", wrong if way == "PUT" else b"")
        assert ask(address, "GET", location).status == 404
    assert (reply.status, reply.code) == (400, "DIGEST_INVALID")
    assert ask(address, "HEAD", f"/v2/a/b/blobs/{DIGEST}").status == 404
    assert list((tmp_path / "storage/repositories/a/b/_uploads").iterdir()) == []
    assert registry.store.digests() == {}


@pytest.mark.parametrize(
    "digest", ["", "?digest=", "?digest=sha256:00", "?digest=md5:00", f"?digest={DIGEST}0"]
)
def test_an_upload_without_a_digest(address: str, digest: str) -> None:
    location = begin(address, "a/b")
    reply = ask(address, "PUT", f"{location}{digest}", DATA)
    assert (reply.status, reply.code) == (400, "DIGEST_INVALID")
    assert ask(address, "GET", location).status == 204


def test_an_upload_is_given_up(address: str) -> None:
    location = begin(address, "a/b")
    assert ask(address, "PATCH", location, DATA).status == 202
    assert ask(address, "DELETE", location).status == 204
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        reply = ask(address, method, f"{location}?digest={DIGEST}")
        assert (reply.status, reply.code) == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("name", ["..", "%2e%2e%2fx", "x", "00000000-0000-0000-0000-000000000000"])
def test_an_upload_that_is_none(address: str, name: str) -> None:
    begin(address, "a/b")
    reply = ask(address, "PATCH", f"/v2/a/b/blobs/uploads/{name}", DATA)
    assert (reply.status, reply.code) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_an_upload_of_another_repository(address: str) -> None:
    mine = begin(address, "a/b")
    begin(address, "c")
    reply = ask(address, "PUT", f"{mine.replace('/a/b/', '/c/')}?digest={DIGEST}", DATA)
    assert (reply.status, reply.code) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_a_blob_of_another_repository_is_mounted(registry: Registry) -> None:
    address = registry.address
    push_blob(address, "a/b", DATA)
    assert ask(address, "GET", f"/v2/c/blobs/{DIGEST}").status == 404
    reply = ask(address, "POST", f"/v2/c/blobs/uploads/?mount={DIGEST}&from=a/b")
    assert reply.status == 201
    assert ask(address, "GET", reply.headers["Location"]).body == DATA
    assert ask(address, "POST", f"/v2/d/blobs/uploads/?mount={DIGEST}").status == 201  # wherever it is
    assert len(registry.store.digests()) == 1


@pytest.mark.parametrize("source", ["&from=empty", "&from=a/b", ""])
def test_what_can_not_be_mounted_is_uploaded(address: str, source: str) -> None:
    push_blob(address, "a/b", b"another")
    reply = ask(address, "POST", f"/v2/c/blobs/uploads/?mount={DIGEST}{source}")
    assert reply.status == 202
    assert ask(address, "PUT", f"{reply.headers['Location']}?digest={DIGEST}", DATA).status == 201
    assert holds(address, repository="c")


@pytest.mark.parametrize(
    "name",
    ["A", "a/B", "a//b", "/a", "..", "a/..", "a/%2e%2e/b", "-a", "a_", "a" * 256, "a/_blobs", "a" * 3000],
)
def test_a_name_that_no_repository_has(address: str, name: str) -> None:
    for method, path in (("POST", "blobs/uploads/"), ("GET", f"blobs/{DIGEST}"), ("GET", "manifests/x")):
        reply = ask(address, method, f"/v2/{name}/{path}")
        assert (reply.status, reply.code) == (400, "NAME_INVALID")


@pytest.mark.parametrize(
    "name", ["a", "a" * 255, "a-b_c.d__e---f", "blobs/uploads/a", "a/manifests/tags/list"]
)
def test_a_name_that_a_repository_may_have(address: str, name: str) -> None:
    digest = push(address, name, "1", DATA)
    assert holds(address, repository=name)
    assert ask(address, "GET", f"/v2/{name}/manifests/1").headers["Docker-Content-Digest"] == digest
    assert ask(address, "GET", f"/v2/{name}/tags/list").json() == {"name": name, "tags": ["1"]}


# Manifests


def test_a_manifest_by_tag_and_by_digest(registry: Registry) -> None:
    address = registry.address
    push_blob(address, "a/b", DATA)
    push_blob(address, "a/b", b"{}")
    data = manifest(DATA)
    digest = digest_of(data)
    by_digest = put(address, "a/b", digest, data)
    assert by_digest.status == 201
    assert set(registry.store.tags()) == {f"a/b@{digest}"}
    by_tag = put(address, "a/b", "1.0", data)
    assert (by_tag.status, by_tag.headers["Docker-Content-Digest"]) == (201, digest)
    assert set(registry.store.tags()) == {"a/b:1.0", f"a/b@{digest}"}
    for where in (by_tag.headers["Location"], by_digest.headers["Location"], "/v2/a/b/manifests/1.0"):
        reply = ask(address, "GET", where)
        assert (reply.status, reply.body, reply.headers["Content-Type"]) == (200, data, OCI_MANIFEST)


def test_a_manifest_with_the_longer_digest_and_tags_for_it(address: str) -> None:
    layer = push_blob(address, "a", DATA, "sha512")
    push_blob(address, "a", b"{}")
    data = manifest(layers=[{"mediaType": "application/x", "digest": layer, "size": len(DATA)}])
    digest = digest_of(data, "sha512")
    reply = put(address, "a", f"{digest}?tag=x&tag=y", data)
    assert (reply.status, reply.headers["Docker-Content-Digest"]) == (201, digest)
    assert reply.headers["OCI-Tag"] == "x, y"
    for tag in ("x", "y", digest):
        got = ask(address, "GET", f"/v2/a/manifests/{tag}")
        assert (got.body, got.headers["Docker-Content-Digest"]) == (data, digest)


def test_a_tag_moves_and_a_digest_does_not(registry: Registry) -> None:
    address = registry.address
    old, new = push(address, "a", "latest", b"old"), push(address, "a", "latest", b"new")
    assert ask(address, "HEAD", "/v2/a/manifests/latest").headers["Docker-Content-Digest"] == new
    assert ask(address, "GET", f"/v2/a/manifests/{old}").body == manifest(b"old")
    assert set(registry.store.tags()) == {"a:latest", f"a@{old}", f"a@{new}"}
    assert ask(address, "GET", "/v2/a/tags/list").json()["tags"] == ["latest"]


def test_a_manifest_with_other_bytes_than_its_digest_says(address: str) -> None:
    push(address, "a", "1", DATA)
    data = manifest(DATA)
    reply = put(address, "a", digest_of(data), data + b"  ")
    assert (reply.status, reply.code) == (400, "DIGEST_INVALID")
    assert put(address, "a", "sha256:baddigeststring", data).code == "DIGEST_INVALID"
    assert put(address, "a", ".x", data).code == "MANIFEST_INVALID"


def test_a_manifest_whose_blobs_are_not_there(address: str) -> None:
    push_blob(address, "other", DATA)
    push_blob(address, "a", b"{}")
    reply = put(address, "a", "1", manifest(DATA))
    assert (reply.status, reply.code) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert reply.json()["errors"][0]["detail"] == {"digests": [DIGEST]}
    index = {"schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST, b"nowhere")]}
    reply = put(address, "a", "2", json.dumps(index).encode(), OCI_INDEX)
    assert (reply.status, reply.code) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert ask(address, "GET", "/v2/a/manifests/1").code == "MANIFEST_UNKNOWN"


@pytest.mark.parametrize(
    "change",
    [
        {"schemaVersion": 1},
        {"mediaType": OCI_INDEX},
        {"config": None},
        {"config": {"mediaType": "x/y", "digest": "sha256:00", "size": 1}},
        {"layers": {}},
        {"layers": [{"mediaType": "x/y", "digest": DIGEST, "size": -1}]},
        {"subject": {"digest": DIGEST}},
        {"subject": "x"},
    ],
)
def test_a_manifest_that_is_malformed(address: str, change: dict[str, object]) -> None:
    push(address, "a", "1", DATA)
    reply = put(address, "a", "2", manifest(DATA, **change))
    assert (reply.status, reply.code) == (400, "MANIFEST_INVALID")
    assert ask(address, "GET", "/v2/a/tags/list").json()["tags"] == ["1"]


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b'{"a":' * 2000, b"null"])
def test_a_manifest_that_is_no_json_object(address: str, data: bytes) -> None:
    reply = put(address, "a", "1", data)
    assert (reply.status, reply.code) == (400, "MANIFEST_INVALID")


def test_a_media_type_that_is_not_supported_is_named(address: str) -> None:
    reply = put(address, "a", "1", b"{}", "application/vnd.docker.distribution.manifest.v1+prettyjws")
    assert reply.code == "MANIFEST_INVALID"
    assert "v1+prettyjws' is not supported" in reply.json()["errors"][0]["message"]


def test_parameters_of_the_media_type_are_ignored_and_it_may_be_missing(address: str) -> None:
    push(address, "a", "1", DATA)
    assert put(address, "a", "2", manifest(DATA), f"{OCI_MANIFEST}; charset=utf-8").status == 201
    assert ask(address, "PUT", "/v2/a/manifests/3", manifest(DATA)).status == 201
    for tag in ("2", "3"):
        assert ask(address, "GET", f"/v2/a/manifests/{tag}").headers["Content-Type"] == OCI_MANIFEST


def test_a_manifest_may_have_four_mebibytes_and_no_more(address: str) -> None:
    push(address, "a", "1", DATA)
    room = 4 * 1024 * 1024 - len(manifest(DATA, annotations={"x": ""}))
    assert put(address, "a", "2", manifest(DATA, annotations={"x": "y" * room})).status == 201
    longer = manifest(DATA, annotations={"x": "y" * (room + 1)})
    reply = put(address, "a", "3", longer)
    assert (reply.status, reply.code) == (413, "SIZE_INVALID")
    reply = ask(address, "PUT", "/v2/a/manifests/3", iter([longer]), {"Content-Type": OCI_MANIFEST})
    assert (reply.status, reply.code) == (413, "SIZE_INVALID")


def test_an_image_without_layers_and_one_whose_layers_may_not_be_pushed(address: str) -> None:
    push(address, "a", "empty")
    foreign = descriptor(
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", b"x", urls=["https://x"]
    )
    assert put(address, "a", "foreign", manifest(layers=[foreign])).status == 201


def test_docker_manifests_and_lists(address: str) -> None:
    for data in (DATA, b"{}"):
        push_blob(address, "a", data)
    image = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": descriptor(DOCKER_CONFIG, b"{}"),
        "layers": [descriptor(DOCKER_LAYER_GZIP, DATA)],
    }
    data = json.dumps(image, indent=3).encode()
    assert put(address, "a", digest_of(data), data, DOCKER_MANIFEST).status == 201
    entry = descriptor(DOCKER_MANIFEST, data, platform={"os": "linux", "architecture": "amd64"})
    index = {"schemaVersion": 2, "mediaType": DOCKER_INDEX, "manifests": [entry]}
    listed = json.dumps(index).encode()
    assert put(address, "a", "1", listed, DOCKER_INDEX).status == 201
    reply = ask(address, "GET", "/v2/a/manifests/1")
    assert (reply.body, reply.headers["Content-Type"]) == (listed, DOCKER_INDEX)


def test_the_log_tells_what_was_asked_in_its_order(registry: Registry) -> None:
    push(registry.address, "a", "1", DATA)
    assert [(one.method, one.status) for one in registry.log] == [("POST", 202), ("PUT", 201)] * 2 + [
        ("PUT", 201)
    ]
    assert registry.log[1].received == len(DATA)
    assert "Authorization" not in registry.log[0].request_headers
