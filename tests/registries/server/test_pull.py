"""What a registry gives: the OCI distribution-spec, "Pull"."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.images import Image, Store
from kit.images.descriptor import OCI_MANIFEST, digest_of
from kit.registries.server import Registry, serve
from tests.images.images import image
from tests.registries.servers import ask, manifest, push, push_blob

DATA = bytes(range(256)) * 8  # 2048 bytes
DIGEST = digest_of(DATA)
MISSING = digest_of(b"nowhere")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with serve(tmp_path / "storage") as started:
        push(started.address, "a/b", "1", DATA)
        yield started


def test_a_blob(address: str) -> None:
    reply = ask(address, "GET", f"/v2/a/b/blobs/{DIGEST}")
    assert (reply.status, reply.body) == (200, DATA)
    assert reply.headers["Docker-Content-Digest"] == DIGEST
    assert reply.headers["Content-Type"] == "application/octet-stream"
    assert reply.headers["Accept-Ranges"] == "bytes"


def test_only_its_headers(address: str) -> None:
    reply = ask(address, "HEAD", f"/v2/a/b/blobs/{DIGEST}")
    assert (reply.status, reply.body, reply.headers["Content-Length"]) == (200, b"", str(len(DATA)))
    assert reply.headers["Docker-Content-Digest"] == DIGEST


def test_a_manifest(address: str) -> None:
    data = manifest(DATA)
    for reference in ("1", digest_of(data)):
        for method in ("GET", "HEAD"):
            reply = ask(address, method, f"/v2/a/b/manifests/{reference}", headers={"Accept": OCI_MANIFEST})
            assert (reply.status, reply.body) == (200, data if method == "GET" else b"")
            assert reply.headers["Content-Length"] == str(len(data))
            assert reply.headers["Content-Type"] == OCI_MANIFEST
            assert reply.headers["Docker-Content-Digest"] == digest_of(data)


@pytest.mark.parametrize(
    "wanted, first, last",
    [
        ("500-1499", 500, 1499),
        ("500-", 500, 2047),
        ("-500", 1548, 2047),
        ("2000-5000", 2000, 2047),
        ("0-0", 0, 0),
    ],
)
def test_a_range(address: str, wanted: str, first: int, last: int) -> None:
    reply = ask(address, "GET", f"/v2/a/b/blobs/{DIGEST}", headers={"Range": f"bytes={wanted}"})
    assert (reply.status, reply.body) == (206, DATA[first : last + 1])
    assert reply.headers["Content-Range"] == f"bytes {first}-{last}/2048"


@pytest.mark.parametrize("wanted", ["500-0", "5000-10000", "2048-"])
def test_a_range_that_is_not_there(address: str, wanted: str) -> None:
    reply = ask(address, "GET", f"/v2/a/b/blobs/{DIGEST}", headers={"Range": f"bytes={wanted}"})
    assert (reply.status, reply.headers["Content-Range"]) == (416, "bytes */2048")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "path, status, code",
    [
        (f"a/b/blobs/{MISSING}", 404, "BLOB_UNKNOWN"),
        (f"nowhere/blobs/{DIGEST}", 404, "BLOB_UNKNOWN"),
        ("a/b/blobs/sha256:00", 400, "DIGEST_INVALID"),
        ("a/b/manifests/2", 404, "MANIFEST_UNKNOWN"),
        ("a/b/manifests/.INVALID_MANIFEST_NAME", 404, "MANIFEST_UNKNOWN"),
        (f"a/b/manifests/{DIGEST}", 404, "MANIFEST_UNKNOWN"),
        ("a/b/manifests/sha256:baddigeststring", 400, "DIGEST_INVALID"),
        ("nowhere/manifests/1", 404, "MANIFEST_UNKNOWN"),
        ("a/b/nothing", 404, "UNSUPPORTED"),
    ],
)
def test_what_is_not_there(address: str, method: str, path: str, status: int, code: str) -> None:
    reply = ask(address, method, f"/v2/{path}")
    assert reply.status == status
    assert reply.body == b"" if method == "HEAD" else reply.code == code


def test_what_nobody_may_do(address: str) -> None:
    reply = ask(address, "PUT", "/v2/a/b/tags/list")
    assert (reply.status, reply.code) == (405, "UNSUPPORTED")


def test_a_manifest_of_a_repository_is_not_one_of_another(address: str) -> None:
    digest = digest_of(manifest(DATA))
    push(address, "other", "1", b"another")
    assert ask(address, "GET", f"/v2/other/manifests/{digest}").code == "MANIFEST_UNKNOWN"


def test_the_storage_is_an_image_layout(registry: Registry, tmp_path: Path) -> None:
    """What the kit's other commands put in is served, and they read what was pushed."""
    store = Store(tmp_path / "mine")
    descriptor = image(store, "team/app:1")
    with serve(store.directory) as other:
        reply = ask(other.address, "GET", "/v2/team/app/manifests/1")
        assert reply.headers["Docker-Content-Digest"] == descriptor.digest
        for blob in (*Image.of(store, descriptor).layers, Image.of(store, descriptor).config_descriptor):
            assert ask(other.address, "GET", f"/v2/team/app/blobs/{blob.digest}").status == 200
    assert registry.store.resolve("a/b:1").digest == digest_of(manifest(DATA))


def test_after_a_restart_it_is_all_there(tmp_path: Path) -> None:
    with serve(tmp_path / "s") as one:
        push(one.address, "a", "1", DATA)
        alone = push_blob(one.address, "a", b"without a manifest")
    with serve(tmp_path / "s") as two:
        assert ask(two.address, "GET", "/v2/a/manifests/1").status == 200
        assert ask(two.address, "GET", f"/v2/a/blobs/{alone}").body == b"without a manifest"
        assert ask(two.address, "GET", f"/v2/a/blobs/{DIGEST}").body == DATA


def test_many_requests_on_one_connection(address: str) -> None:
    connection = http.client.HTTPConnection(address)
    for _ in range(20):
        connection.request("GET", f"/v2/a/b/blobs/{DIGEST}")
        assert connection.getresponse().read() == DATA
    connection.close()


def test_the_base_images_under_their_hub_names(tmp_path: Path) -> None:
    with serve(tmp_path / "storage", seed=True) as hub:
        for name in ("hello-world", "busybox", "python"):
            reply = ask(hub.address, "GET", f"/v2/library/{name}/manifests/latest")
            assert reply.status == 200
            for blob in (reply.json()["config"], *reply.json()["layers"]):
                got = ask(hub.address, "HEAD", f"/v2/library/{name}/blobs/{blob['digest']}")
                assert (got.status, got.headers["Content-Length"]) == (200, str(blob["size"]))
        assert all(name.startswith("library/") for name in hub.store.tags())
