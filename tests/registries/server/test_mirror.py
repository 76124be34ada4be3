"""A mirror in front of another registry, Debian's docker-registry or the kit's."""

import base64
import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kit.images import ImageError
from kit.images.descriptor import digest_of
from kit.registries.server import Registry, serve
from tests.registries.debian import certificate, docker_registry, jwt
from tests.registries.scripted import Asked, Say, Scripted
from tests.registries.servers import ask, manifest, program, push, push_blob, put

LAYER = bytes(range(256)) * 20_000  # 5 MB
DIGEST = digest_of(LAYER)


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Registry]:
    with serve(tmp_path / "origin") as started:
        push(started.address, "team/app", "1", LAYER, b"small")
        started.log.clear()
        yield started


@pytest.fixture
def mirror(tmp_path: Path, origin: Registry) -> Iterator[Registry]:
    with serve(tmp_path / "mirror", mirror_of=origin.url) as started:
        yield started


def asked(registry: Registry, method: str, part: str) -> int:
    return sum(one.method == method and part in one.path for one in registry.log)


def pull(address: str, reference: str = "1") -> bytes:
    """All of the image; its layer."""
    found = ask(address, "GET", f"/v2/team/app/manifests/{reference}")
    assert found.status == 200
    parts = [found.json()["config"], *found.json()["layers"]]
    bodies = [ask(address, "GET", f"/v2/team/app/blobs/{one['digest']}").body for one in parts]
    assert [digest_of(one) for one in bodies] == [one["digest"] for one in parts]
    return bodies[1]


def test_everything_is_fetched_once(origin: Registry, mirror: Registry) -> None:
    for _ in range(3):
        assert pull(mirror.address) == LAYER
    assert asked(origin, "GET", "/blobs/") == 3
    assert asked(origin, "GET", "/manifests/") == 1
    assert sum(one.fetched for one in mirror.log) == sum(one.sent for one in mirror.log) / 3


def test_a_class_that_pulls_at_once_fetches_each_layer_once(origin: Registry, mirror: Registry) -> None:
    with ThreadPoolExecutor(30) as students:
        assert set(students.map(lambda _: pull(mirror.address), range(30))) == {LAYER}
    blobs = [one.fetched for one in mirror.log if "/blobs/" in one.path]
    assert sum(blobs) == len(LAYER) + len(b"small") + len(b"{}")
    assert asked(origin, "GET", f"/blobs/{DIGEST}") == 1


def test_without_the_other_registry_what_was_fetched_is_served(origin: Registry, mirror: Registry) -> None:
    pull(mirror.address)
    origin.close()
    assert pull(mirror.address) == LAYER
    assert pull(mirror.address, digest_of(manifest(LAYER, b"small"))) == LAYER
    reply = ask(mirror.address, "GET", "/v2/team/app/manifests/2")
    assert (reply.status, reply.code) == (502, "UNKNOWN")
    assert "ECONNREFUSED" in reply.json()["errors"][0]["message"]


def test_a_tag_that_moves_there_moves_here(origin: Registry, mirror: Registry) -> None:
    old = pull(mirror.address)
    new = push(origin.address, "team/app", "1", b"new")
    assert pull(mirror.address) == b"new"
    assert pull(mirror.address, digest_of(manifest(LAYER, b"small"))) == old
    assert ask(mirror.address, "HEAD", "/v2/team/app/manifests/1").headers["Docker-Content-Digest"] == new


def test_a_layer_that_two_repositories_share_is_fetched_once(origin: Registry, mirror: Registry) -> None:
    push(origin.address, "other", "1", LAYER)
    pull(mirror.address)
    origin.log.clear()
    assert ask(mirror.address, "GET", f"/v2/other/blobs/{DIGEST}").body == LAYER
    assert ask(mirror.address, "GET", f"/v2/nobody/blobs/{DIGEST}").code == "BLOB_UNKNOWN"
    assert asked(origin, "GET", "/blobs/") == 0


def test_headers_and_ranges_of_what_is_not_there_yet(origin: Registry, mirror: Registry) -> None:
    reply = ask(mirror.address, "HEAD", f"/v2/team/app/blobs/{DIGEST}")
    assert (reply.status, reply.headers["Content-Length"]) == (200, str(len(LAYER)))
    assert asked(origin, "GET", "/blobs/") == 0
    reply = ask(mirror.address, "GET", f"/v2/team/app/blobs/{DIGEST}", headers={"Range": "bytes=100-199"})
    assert (reply.status, reply.body) == (206, LAYER[100:200])


def test_tags_and_referrers_are_those_of_the_other(origin: Registry, mirror: Registry) -> None:
    push(origin.address, "team/app", "2")
    reply = ask(mirror.address, "GET", "/v2/team/app/tags/list?n=1")
    assert reply.json()["tags"] == ["1"]
    assert reply.headers["Link"] == '</v2/team/app/tags/list?n=1&last=1>; rel="next"'
    points = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": DIGEST, "size": 1}
    push(origin.address, "team/app", "about", subject=points)
    found = ask(mirror.address, "GET", f"/v2/team/app/referrers/{DIGEST}").json()["manifests"]
    assert len(found) == 1


@pytest.mark.parametrize(
    "path", ["team/app/manifests/nothing", f"team/app/blobs/{digest_of(b'nothing')}", "x/tags/list"]
)
def test_what_the_other_does_not_have(mirror: Registry, path: str) -> None:
    assert ask(mirror.address, "GET", f"/v2/{path}").status == 404


def test_nothing_is_pushed_to_a_mirror(mirror: Registry) -> None:
    reply = ask(mirror.address, "POST", "/v2/a/blobs/uploads/")
    assert (reply.status, reply.code) == (405, "UNSUPPORTED")
    assert "this is a mirror of" in reply.json()["errors"][0]["message"]


def test_a_mirror_of_nothing_else_is_the_hubs(tmp_path: Path) -> None:
    with program(tmp_path / "mirror", "--mirror-of") as started:
        reply = ask(started.address, "POST", "/v2/a/blobs/uploads/")
    assert "a mirror of https://registry-1.docker.io:" in reply.json()["errors"][0]["message"]


@pytest.mark.parametrize("body", [b"x", b"0123456789", LAYER])
def test_what_is_not_what_its_digest_says_is_not_kept(tmp_path: Path, body: bytes) -> None:
    with Scripted(lambda asked: Say(200, body)) as liar:
        with serve(tmp_path / "mirror", mirror_of=f"http://{liar.address}") as mirror:
            try:
                reply = ask(mirror.address, "GET", f"/v2/a/blobs/{digest_of(b'something')}")
                assert (reply.status, reply.code) == (502, "UNKNOWN")
            except (http.client.IncompleteRead, ConnectionError):  # all but the last byte had been handed on
                assert len(body) > 1
            assert mirror.store.digests() == {}
            assert list((tmp_path / "mirror/repositories/a/_uploads").iterdir()) == []


def test_an_address_that_is_none(tmp_path: Path) -> None:
    for url in ("docker.io", "ftp://x", "https://", "https://x/y"):
        with pytest.raises(ImageError, match="no address of a registry"):
            serve(tmp_path / "mirror", mirror_of=url)


@pytest.mark.needs("docker-registry")
def test_in_front_of_dockers_own(tmp_path: Path) -> None:
    with docker_registry(tmp_path / "docker") as address:
        for data in (LAYER, b"{}"):
            begun = ask(address, "POST", "/v2/team/app/blobs/uploads/").headers["Location"]
            path = begun.partition(address)[2]
            assert ask(address, "PUT", f"{path}&digest={digest_of(data)}", data).status == 201
        assert put(address, "team/app", "1", manifest(LAYER)).status == 201
        with serve(tmp_path / "mirror", mirror_of=f"http://{address}") as mirror:
            assert pull(mirror.address) == LAYER
    with serve(tmp_path / "mirror") as alone:  # what it has is an ordinary registry's
        assert pull(alone.address) == LAYER
        push_blob(alone.address, "team/app", b"x")


@pytest.mark.needs("docker-registry", "openssl")
def test_of_a_registry_that_gives_tokens_the_mirror_is_nobody(
    tmp_path: Path, own_docker_config: Path
) -> None:
    """As the Hub does it: whoever asks gets a token. Our own credentials stay here."""
    crt, key = certificate(tmp_path)

    def grant(asked: Asked) -> Say:
        now = int(time.time())
        access = [{"type": "repository", "name": "team/app", "actions": ["pull"]}]
        claims = {"iss": "test", "aud": "test", "sub": "", "exp": now + 60, "nbf": now - 5, "access": access}
        return Say(200, json.dumps({"token": jwt(claims, crt, key)}).encode())

    with Scripted(grant) as tokens:
        how = {"realm": f"http://{tokens.address}/token", "service": "test", "issuer": "test"}
        with docker_registry(tmp_path / "docker", token={**how, "rootcertbundle": str(crt)}) as address:
            own_docker_config.mkdir()
            mine = {"auths": {address: {"auth": base64.b64encode(b"ann:sesame").decode()}}}
            (own_docker_config / "config.json").write_text(json.dumps(mine))
            with serve(tmp_path / "mirror", mirror_of=f"http://{address}") as mirror:
                reply = ask(mirror.address, "GET", "/v2/team/app/manifests/1")
                assert (reply.status, reply.code) == (404, "MANIFEST_UNKNOWN")
                reply = ask(mirror.address, "GET", "/v2/secret/manifests/1")
                assert (reply.status, reply.code) == (403, "DENIED")
        assert tokens.asked
        assert not any("Authorization" in one.headers for one in tokens.asked)
