"""Deletion, and making room while the registry serves: the OCI distribution-spec, "Content Management"."""

import os
import threading
import time
from pathlib import Path

import pytest

from kit.images.descriptor import digest_of
from kit.registries.server import Registry, serve
from kit.registries.server.collect import collect
from tests.registries.servers import ask, begin, manifest, push, push_blob, put

DATA = b"data" * 1000
DIGEST = digest_of(DATA)


def test_a_tag_goes_and_its_manifest_stays(registry: Registry) -> None:
    address = registry.address
    digest = push(address, "a", "1", DATA)
    assert ask(address, "DELETE", "/v2/a/manifests/1").status == 202
    assert ask(address, "GET", "/v2/a/manifests/1").code == "MANIFEST_UNKNOWN"
    assert ask(address, "GET", f"/v2/a/manifests/{digest}").status == 200
    assert ask(address, "GET", "/v2/a/tags/list").json()["tags"] == []
    assert set(registry.store.tags()) == {f"a@{digest}"}


def test_a_manifest_goes_with_all_its_tags(address: str) -> None:
    digest = push(address, "a", "1", DATA)
    push(address, "a", "2", DATA)
    push(address, "a", "3", b"another")
    push(address, "other", "1", DATA)
    assert ask(address, "DELETE", f"/v2/a/manifests/{digest}").status == 202
    for reference in ("1", "2", digest):
        assert ask(address, "GET", f"/v2/a/manifests/{reference}").code == "MANIFEST_UNKNOWN"
        assert ask(address, "DELETE", f"/v2/a/manifests/{reference}").code == "MANIFEST_UNKNOWN"
    assert ask(address, "GET", "/v2/a/tags/list").json()["tags"] == ["3"]
    assert ask(address, "GET", "/v2/other/manifests/1").status == 200


def test_a_blob_goes_from_one_repository(address: str) -> None:
    push_blob(address, "a", DATA)
    push_blob(address, "other", DATA)
    assert ask(address, "DELETE", f"/v2/a/blobs/{DIGEST}").status == 202
    assert ask(address, "GET", f"/v2/a/blobs/{DIGEST}").code == "BLOB_UNKNOWN"
    reply = ask(address, "DELETE", f"/v2/a/blobs/{DIGEST}")
    assert (reply.status, reply.code) == (404, "BLOB_UNKNOWN")
    assert ask(address, "GET", f"/v2/other/blobs/{DIGEST}").body == DATA


def test_a_blob_that_was_deleted_may_come_again(address: str) -> None:
    push_blob(address, "a", DATA)
    assert ask(address, "DELETE", f"/v2/a/blobs/{DIGEST}").status == 202
    assert put(address, "a", "1", manifest(DATA)).code == "MANIFEST_BLOB_UNKNOWN"
    push(address, "a", "1", DATA)


@pytest.mark.parametrize("what", [f"blobs/{DIGEST}", "manifests/1", "manifests/" + digest_of(manifest(DATA))])
def test_without_deletion(tmp_path: Path, what: str) -> None:
    with serve(tmp_path / "kept", delete=False) as registry:
        push(registry.address, "a", "1", DATA)
        reply = ask(registry.address, "DELETE", f"/v2/a/{what}")
        assert (reply.status, reply.code) == (405, "UNSUPPORTED")
        assert ask(registry.address, "GET", f"/v2/a/{what}").status == 200
        assert ask(registry.address, "DELETE", begin(registry.address, "a")).status == 204
        push(registry.address, "a/blobs/uploads/b", "1", DATA)
        assert ask(registry.address, "DELETE", f"/v2/a/blobs/uploads/b/{what}").status == 405


def test_read_only(tmp_path: Path) -> None:
    with serve(tmp_path / "s") as registry:
        push(registry.address, "a", "1", DATA)
    with serve(tmp_path / "s", read_only=True) as registry:
        for method, path in (
            ("POST", "/v2/a/blobs/uploads/"),
            ("PUT", "/v2/a/manifests/2"),
            ("DELETE", "/v2/a/manifests/1"),
        ):
            reply = ask(registry.address, method, path, b"{}")
            assert (reply.status, reply.code) == (405, "UNSUPPORTED")
        assert ask(registry.address, "GET", f"/v2/a/blobs/{DIGEST}").body == DATA


# Making room


def test_what_no_manifest_needs_is_collected(registry: Registry) -> None:
    address = registry.address
    digest = push(address, "a", "1", DATA, b"shared")
    push(address, "b", "1", b"shared")
    assert ask(address, "DELETE", f"/v2/a/manifests/{digest}").status == 202
    found = registry.collect(younger=0)
    assert set(found.digests) == {DIGEST, digest}
    assert ask(address, "GET", f"/v2/a/blobs/{DIGEST}").code == "BLOB_UNKNOWN"
    assert ask(address, "GET", f"/v2/b/blobs/{digest_of(b'shared')}").body == b"shared"
    assert not (registry.store.directory / "repositories/a/_blobs" / DIGEST.replace(":", "/")).exists()


def test_what_came_within_the_last_hour_stays(registry: Registry) -> None:
    address = registry.address
    push_blob(address, "a", DATA)
    assert registry.collect().digests == ()
    link = registry.store.directory / "repositories/a/_blobs" / DIGEST.replace(":", "/")
    long_ago = time.time() - 4000
    os.utime(link, (long_ago, long_ago))
    assert ask(address, "HEAD", f"/v2/a/blobs/{DIGEST}").status == 200  # who asks may need it soon
    assert registry.collect().digests == ()
    os.utime(link, (long_ago, long_ago))
    assert registry.collect().digests == (DIGEST,)


def test_uploads_are_abandoned_after_a_day(registry: Registry) -> None:
    old, new = begin(registry.address, "a"), begin(registry.address, "a")
    places = {
        one: registry.store.directory / "repositories/a/_uploads" / one.rpartition("/")[2]
        for one in (old, new)
    }
    yesterday = time.time() - 90_000
    os.utime(places[old], (yesterday, yesterday))
    registry.collect()
    assert (places[old].exists(), places[new].exists()) == (False, True)
    reply = ask(registry.address, "PATCH", old, DATA)
    assert (reply.status, reply.code) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_pushes_and_collections_at_once(registry: Registry) -> None:
    """Every image that was acknowledged is whole, however often room was made meanwhile."""
    address, stop = registry.address, threading.Event()
    found: list[Exception] = []

    def sweep() -> None:
        while not stop.is_set():
            try:
                collect(registry.store)
            except Exception as error:
                found.append(error)
            time.sleep(0.01)

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        pushed = {}
        for number in range(20):
            layer = b"layer" * number
            digest = push(address, "a", str(number), layer)
            if number % 3 == 0:
                assert ask(address, "DELETE", f"/v2/a/manifests/{digest}").status == 202
            else:
                pushed[number] = layer
    finally:
        stop.set()
        sweeper.join()
    assert found == []
    registry.collect(younger=0)
    for number, layer in pushed.items():
        assert ask(address, "GET", f"/v2/a/manifests/{number}").body == manifest(layer)
        assert ask(address, "GET", f"/v2/a/blobs/{digest_of(layer)}").body == layer
