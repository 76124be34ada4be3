"""Pulling and pushing: what travels and what does not, what goes on after a cut, what is not believed."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import bcrypt
import pytest

from kit.images import documents
from kit.images.descriptor import OCI_INDEX, OCI_LAYER_GZIP, Descriptor, Platform, digest_of
from kit.images.errors import (
    BadManifest,
    BadReference,
    BlobCorrupt,
    ImageError,
    NoSuchPlatform,
    UnknownImage,
)
from kit.images.image import Image, write_image
from kit.images.store import Store
from kit.linux.errors import KernelError
from kit.linux.mount import mount, umount
from kit.registries import Client, credentials, pull, push, tags
from kit.registries.progress import Event
from kit.registries.refusals import NotInRegistry, RegistryError, Unauthorized, Unreachable
from kit.registries.server import serve
from tests.images.images import image, layer
from tests.registries.debian import certificate, docker_registry
from tests.registries.scripted import Asked, Say, Scripted, Wire, nobody, of_store
from tests.registries.servers import Program


@contextmanager
def kit_registry(directory: Path) -> Iterator[str]:
    """The kit's own."""
    with serve(directory) as started:
        yield started.address


REAL = pytest.mark.parametrize(
    "registry",
    [
        pytest.param(docker_registry, marks=pytest.mark.needs("docker-registry"), id="docker-registry"),
        pytest.param(kit_registry, id="kit"),
    ],
)
Registry = Callable[[Path], AbstractContextManager[str]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(tmp_path / "other")


def large(store: Store, name: str, *sizes: int) -> Descriptor:
    """An image with layers of random bytes, which nobody unpacks."""
    layers = [
        (store.put(random.Random(size).randbytes(size), OCI_LAYER_GZIP), digest_of(b"%d" % size))
        for size in sizes
    ]
    return image(store, name, *layers)


def multi(store: Store, name: str, *platforms: str) -> Descriptor:
    """An index with an image for each platform."""
    entries = []
    for text in platforms:
        platform = Platform.parse(text)
        own = write_image(store, [layer(store, platform=text.encode())], platform.to_json())
        entries.append({**own.to_json(), "platform": platform.to_json()})
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    descriptor = store.put(documents.encode(index), OCI_INDEX)
    store.tag(name, descriptor)
    return descriptor


class Heard(list[Event]):
    """What a transfer told."""

    __call__ = list.append

    def states(self, digest: str = "") -> set[str]:
        return {one.state for one in self if digest in one.digest}


def unfinished(store: Store) -> list[Path]:
    return list(store.unfinished.iterdir()) if store.unfinished.exists() else []


# There and back


@REAL
def test_there_and_back(store: Store, other: Store, tmp_path: Path, registry: Registry) -> None:
    with registry(tmp_path / "r") as address:
        name = f"{address}/some/thing:1"
        shared = layer(store, shared=b"x" * 1000)
        pushed = image(store, name, shared, layer(store, own=b"y"))
        heard = Heard()
        assert push(store, name, progress=heard) == pushed
        assert heard.states() == {"waiting", "transferring", "transferred"}
        heard.clear()
        assert push(store, name, progress=heard) == pushed
        assert heard.states() == {"waiting", "there already"}

        found = pull(other, name, progress=heard)
        assert found.descriptor.digest == other.resolve(name).digest == pushed.digest
        assert [other.read(one) for one in found.layers] == [store.read(one) for one in found.layers]
        assert tags(name) == ["1"]

        image(store, f"{address}/some/thing:2", shared)
        heard.clear()
        push(store, f"{address}/some/thing:2", progress=heard)
        assert heard.states(shared[0].digest) == {"waiting", "there already"}
        heard.clear()
        pull(other, f"{address}/some/thing:2", progress=heard)
        assert heard.states(shared[0].digest) == {"waiting", "there already"}
        assert sorted(tags(name)) == ["1", "2"]


@REAL
def test_what_another_repository_has_is_mounted(store: Store, tmp_path: Path, registry: Registry) -> None:
    with registry(tmp_path / "r") as address:
        shared = layer(store, shared=b"x" * 1000)
        image(store, f"{address}/one:1", shared)
        push(store, f"{address}/one:1")
        image(store, f"{address}/two:1", shared, layer(store, own=b"y"))
        store.tag("a name that no registry has".replace(" ", "-"), store.resolve(f"{address}/one:1"))
        heard = Heard()
        push(store, f"{address}/two:1", progress=heard)
        assert heard.states(shared[0].digest) == {"waiting", "mounted"}
        image(store, f"{address}/three:1", shared)
        image(store, f"{address}/not/pushed:1", layer(store, new=b"z"))
        image(store, f"{address}/four:1", layer(store, new=b"z"))
        heard.clear()
        push(store, f"{address}/four:1", progress=heard)  # the source has never been pushed: it is sent
        assert heard.states() == {"waiting", "transferring", "transferred"}


@REAL
def test_a_tag_moves_and_a_digest_does_not(
    store: Store, other: Store, tmp_path: Path, registry: Registry
) -> None:
    with registry(tmp_path / "r") as address:
        first = image(store, f"{address}/x:1", layer(store, a=b"1"))
        push(store, f"{address}/x:1")
        second = image(store, f"{address}/x:1", layer(store, a=b"2"))
        push(store, f"{address}/x:1")
        assert pull(other, f"{address}/x:1").descriptor.digest == second.digest
        assert pull(other, f"{address}/x@{first.digest}").descriptor.digest == first.digest
        assert Image.find(other, f"{address}/x@{first.digest}").descriptor.digest == first.digest
        with pytest.raises(BadReference, match="pushed by a tag"):
            push(other, f"{address}/x@{first.digest}")


@REAL
def test_the_platform_that_is_wanted(store: Store, other: Store, tmp_path: Path, registry: Registry) -> None:
    with registry(tmp_path / "r") as address:
        name, here, arm = f"{address}/multi:1", Platform.here(), Platform("linux", "arm", "v7")
        index = multi(store, name, str(here), "linux/arm/v7")
        assert push(store, name) == index
        mine = pull(other, name)
        assert mine.platform == here and other.resolve(name) == index
        with pytest.raises(NoSuchPlatform, match="There is one for"):
            pull(other, name, platform=Platform("linux", "s390x"))
        assert other.resolve(name) == index
        # With one image missing, what is there is pushed alone.
        assert push(other, f"{address}/multi:1") == mine.descriptor
        push(store, name)
        theirs = pull(other, name, platform=arm)
        assert theirs.platform == arm and Image.find(other, name).descriptor == theirs.descriptor
        assert push(store, name, platform=arm).digest == theirs.descriptor.digest


@REAL
def test_sha512(store: Store, other: Store, tmp_path: Path, registry: Registry) -> None:
    data = b"long digest" * 100
    blob = store.put(data, OCI_LAYER_GZIP, "sha512")
    with registry(tmp_path / "r") as address:
        image(store, f"{address}/long:1", (blob, digest_of(b"1")))
        push(store, f"{address}/long:1")
        assert other.read(pull(other, f"{address}/long:1").layers[0]) == data


def test_an_unknown_image_is_not_pushed(store: Store) -> None:
    with nobody() as address, pytest.raises(UnknownImage):
        push(store, f"{address}/x")


def test_a_name_that_the_registry_has_not(store: Store) -> None:
    with of_store(store) as server:
        with pytest.raises(NotInRegistry, match=r"NAME_UNKNOWN.*kit tags"):
            pull(store, f"{server.address}/nothing:here")
    assert store.tags() == {}


@pytest.mark.needs("openssl")
def test_all_may_pull_and_who_is_known_may_push_over_tls(
    store: Store, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, users = certificate(tmp_path), tmp_path / "htpasswd"
    users.write_text(f"me:{bcrypt.hashpw(b'right', bcrypt.gensalt(5)).decode()}\n")
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    with serve(tmp_path / "r", tls=files, htpasswd=users) as registry:
        name = f"{registry.address}/x:1"
        pushed = image(store, name)
        with pytest.raises(Unauthorized, match=f"kit login {registry.address}"):
            push(store, name)
        credentials.store(registry.address, credentials.Credentials("me", "wrong"))
        with pytest.raises(Unauthorized):
            push(store, name)
        credentials.store(registry.address, credentials.Credentials("me", "right"))
        push(store, name)
        credentials.erase(registry.address)
        assert pull(other, name).descriptor.digest == pushed.digest


# Damage at home


@REAL
def test_a_pull_heals_what_is_damaged_and_a_push_tells(
    store: Store, tmp_path: Path, registry: Registry
) -> None:
    with registry(tmp_path / "r") as address:
        name = f"{address}/x:1"
        image(store, name, layer(store, a=b"1" * 1000))
        push(store, name)
        found = Image.find(store, name)
        path = store.path(found.layers[0].digest)
        whole = path.read_bytes()
        path.write_bytes(bytes(len(whole)))
        with pytest.raises(BlobCorrupt, match=r"DIGEST_INVALID.*Load, pull or build"):
            store.tag(f"{address}/y:1", found.descriptor)
            store.untag(name)  # or the registry would mount its own
            push(store, f"{address}/y:1")
        with Client(address) as client:
            assert client.head("/v2/y/manifests/1").status == 404
        pull(store, name)
        assert path.read_bytes() == whole


# Cut wires


@REAL
def test_a_pull_goes_on_where_the_wire_broke(
    store: Store, other: Store, tmp_path: Path, registry: Registry
) -> None:
    size = 20_000_000
    with registry(tmp_path / "r") as address:
        large(store, f"{address}/x:1", size)
        push(store, f"{address}/x:1")
        heard = Heard()
        with Wire(address, after=6_000_000, cuts=2) as wire:
            pull(other, f"{wire.address}/x:1", progress=heard)
            assert wire.broken == 2
            # Nothing twice, but for what was on its way in the buffers of sockets.
            assert wire.down < size + 2 * 8_000_000
        assert "trying again" in heard.states()


@REAL
def test_a_push_goes_on_where_the_wire_broke(
    store: Store, tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.registries.transfer.PART", 1 << 20)  # bytes: docker-registry keeps whole parts
    size = 12_000_000
    with registry(tmp_path / "r") as address, Wire(address, after=5_000_000, cuts=2) as wire:
        name = f"{wire.address}/x:1"
        pushed = large(store, name, size)
        heard = Heard()
        push(store, name, progress=heard)
        assert wire.broken == 2 and "trying again" in heard.states()
        with Client(address) as client:
            assert client.head("/v2/x/manifests/1", {"Accept": pushed.media_type}).status == 200


def test_a_push_goes_on_in_the_middle_of_a_part(store: Store, tmp_path: Path) -> None:
    size = 20_000_000
    with kit_registry(tmp_path / "r") as address, Wire(address, after=6_000_000, cuts=2) as wire:
        large(store, f"{wire.address}/x:1", size)
        push(store, f"{wire.address}/x:1")
        assert wire.broken == 2
        assert wire.up < size + 2 * 8_000_000  # nothing twice, but for what was in the buffers of sockets


def test_a_push_survives_the_death_of_the_registry(store: Store, tmp_path: Path) -> None:
    size, storage = 20_000_000, tmp_path / "r"
    Store(storage)
    running = [Program(storage)]
    try:
        with Wire(running[0].address, after=0, cuts=0) as wire:
            name = f"{wire.address}/x:1"
            large(store, name, size)

            def kill(event: Event) -> None:
                if event.done > 8_000_000 and len(running) == 1:
                    running[0].kill()
                    running.append(Program(storage))
                    wire.to = running[1].address

            push(store, name, progress=kill)
            assert len(running) == 2
            assert wire.up < size + 8_000_000  # nothing twice, but for what was in the buffers of sockets
        with Client(running[1].address) as client:
            assert client.get("/v2/x/tags/list").json()["tags"] == ["1"]
    finally:
        for one in running:
            one.kill()


def test_an_upload_that_had_arrived_is_only_ended(store: Store) -> None:
    """Also where the registry went away before it said so."""
    came: dict[str, bytes] = {}

    def answer(asked: Asked) -> Say:
        where = asked.path.partition("?")[0]
        if asked.method == "POST":
            return Say(202, headers={"Location": f"{where}{len(server.asked)}"})
        if asked.method == "PUT" and "/uploads/" in where and where not in came:
            came[where] = asked.body
            return Say(503)
        if where in came and asked.method == "GET":
            return Say(204, headers={"Range": f"0-{len(came[where]) - 1}"})
        return Say({"GET": 200, "HEAD": 404, "PUT": 201}[asked.method])

    with Scripted(answer) as server:
        image(store, f"{server.address}/x:1")
        push(store, f"{server.address}/x:1")
    ends = [one for one in server.asked if "digest=" in one.path and not one.body]
    assert len(came) == len(ends) > 0
    assert all("Content-Range" not in one.headers for one in server.asked)


def test_what_may_not_be_mounted_is_sent(store: Store, other: Store, tmp_path: Path) -> None:
    with kit_registry(tmp_path / "r") as address:
        shared = layer(store, shared=b"x" * 1000)
        hidden = image(store, f"{address}/hidden:1", shared)
        heard = Heard()

        def answer(asked: Asked) -> Say:
            if "mount=" in asked.path:
                return Say(403, b'{"errors": [{"code": "DENIED", "message": "not yours"}]}')
            with Client(address) as client:
                kept = {"Content-Type", "Content-Range"} & asked.headers.keys()
                headers = {name: asked.headers[name] for name in kept}
                said = client.request(asked.method, asked.path, headers, asked.body or None)
            passed = {"Location", "Docker-Content-Digest"} & set(said.headers.keys())
            return Say(said.status, said.body, {name: said.headers[name] for name in passed})

        with Scripted(answer) as strict:
            store.tag(f"{strict.address}/hidden:1", hidden)
            store.tag(f"{strict.address}/mine:1", hidden)
            push(store, f"{strict.address}/mine:1", progress=heard)
            assert any("mount=" in path for path in strict.paths())
        assert heard.states(shared[0].digest) == {"waiting", "transferring", "transferred"}
        assert pull(other, f"{address}/mine:1").descriptor.digest == hidden.digest


def test_a_wire_that_always_breaks_is_given_up(store: Store, other: Store) -> None:
    name = "docker.io/library/x:1"
    large(store, name, 3_000_000)
    with of_store(store) as server, Wire(server.address, after=100_000, cuts=1000) as wire:
        with pytest.raises(Unreachable):
            pull(other, f"{wire.address}/library/x:1")
    assert other.tags() == {} and unfinished(other) == []


def test_a_server_without_ranges_is_read_from_the_start(store: Store, other: Store) -> None:
    large(store, "docker.io/library/x:1", 3_000_000)
    cut = [True]

    def change(asked: Asked, said: Say) -> Say:
        if len(said.body) > 2_000_000 and cut:
            cut.clear()
            return Say(200, said.body[:2_000_000], length=len(said.body))
        return said

    with of_store(store, change) as server:
        pull(other, f"{server.address}/library/x:1")
        ranges = [one.headers.get("Range") for one in server.asked]
    assert "bytes=2000000-" in ranges


@pytest.mark.parametrize("answer", ["bytes 2500000-2999999/3000000", "", "bytes x"])
def test_another_range_than_was_asked_for_is_refused(store: Store, other: Store, answer: str) -> None:
    large(store, "docker.io/library/x:1", 3_000_000)

    def change(asked: Asked, said: Say) -> Say:
        if "Range" in asked.headers:
            return Say(206, said.body[2_500_000:], {"Content-Range": answer})
        return Say(200, said.body[:2_000_000], length=3_000_000) if len(said.body) > 2_000_000 else said

    with of_store(store, change) as server, pytest.raises(RegistryError, match="does not begin at 2000000"):
        pull(other, f"{server.address}/library/x:1")


# Hostile registries

Change = Callable[[Asked, Say], Say]


def manifests(change: Callable[[Say], Say]) -> Change:
    return lambda asked, said: change(said) if "/manifests/" in asked.path else said


def blobs(change: Callable[[Say], Say]) -> Change:
    return lambda asked, said: change(said) if "/blobs/" in asked.path else said


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+json"
OTHER = {"Content-Type": OCI_INDEX}
HOSTILE = {
    "a changed blob": (blobs(lambda s: Say(200, flipped(s.body))), BlobCorrupt, "bytes of the digest"),
    "a longer blob": (blobs(lambda s: Say(200, s.body + b"x")), BlobCorrupt, "more than the"),
    "an endless blob": (blobs(lambda s: Say(200, b"x" * 65536, forever=True)), BlobCorrupt, "more than the"),
    "a short blob": (blobs(lambda s: Say(200, s.body[:-1])), Unreachable, "bytes came"),
    "no blob": (blobs(lambda s: Say(404)), NotInRegistry, "fetch the blob"),
    "a blob from a file": (
        blobs(lambda s: Say(307, headers={"Location": "file:///etc/passwd"})), RegistryError, "does not go",
    ),
    "a changed manifest": (
        manifests(lambda s: Say(200, s.body.replace(b"2", b"3", 1), s.headers)), BlobCorrupt, "arrives for",
    ),
    "a manifest too long": (
        manifests(lambda s: Say(200, b" " * 5_000_000, s.headers)), BadManifest, "too many for a manifest",
    ),
    "an endless manifest": (
        manifests(lambda s: Say(200, b" " * 65536, forever=True)), BadManifest, "too many for a manifest",
    ),
    "no JSON": (manifests(lambda s: Say(200, b"<html>")), BadManifest, "no readable JSON"),
    "another type": (manifests(lambda s: Say(200, s.body, OTHER)), BadManifest, "the manifest's own is"),
    "no digest": (
        manifests(lambda s: Say(200, s.body, {**s.headers, "Docker-Content-Digest": "sha256:x"})),
        ImageError, "no digest",
    ),
    "schema 1": (
        manifests(lambda s: Say(200, b"{}", {"Content-Type": SCHEMA_1})),
        BadManifest, "no image manifest but",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", HOSTILE)
def test_a_hostile_registry_is_caught(how: str, store: Store, other: Store) -> None:
    change, error, match = HOSTILE[how]
    image(store, "docker.io/library/x:1")
    with of_store(store, change) as server, pytest.raises(error, match=match):
        pull(other, f"{server.address}/library/x:1")
    assert other.tags() == {} and unfinished(other) == []


def test_an_index_is_not_believed_about_its_images(store: Store, other: Store) -> None:
    index = multi(store, "docker.io/library/x:1", str(Platform.here()))
    document = store.document(index)
    document["manifests"][0]["size"] += 1
    store.tag("docker.io/library/x:1", store.put(documents.encode(document), OCI_INDEX))
    with of_store(store) as server, pytest.raises(BadManifest, match="another size or type"):
        pull(other, f"{server.address}/library/x:1")


def test_an_artifact_is_no_image(store: Store, other: Store) -> None:
    found = Image.of(store, image(store, "docker.io/library/x:1"))
    document = {**found.manifest, "config": {**found.manifest["config"], "mediaType": "application/x.y"}}
    store.tag("docker.io/library/x:1", store.put(documents.encode(document), found.descriptor.media_type))
    with of_store(store) as server, pytest.raises(BadManifest, match="artifact"):
        pull(other, f"{server.address}/library/x:1")


@pytest.mark.needs("root")
def test_a_full_disk(store: Store, tmp_path: Path) -> None:
    large(store, "docker.io/library/x:1", 8_000_000)
    small = tmp_path / "small"
    small.mkdir()
    mount("small", str(small), "tmpfs", data="size=4m")
    try:
        other = Store(small / "store")
        with of_store(store) as server, pytest.raises(KernelError, match="ENOSPC"):
            pull(other, f"{server.address}/library/x:1")
        assert other.tags() == {} and unfinished(other) == []
    finally:
        umount(str(small))


def test_an_interrupt_ends_all_transfers(store: Store, other: Store) -> None:
    large(store, "docker.io/library/x:1", *range(3_000_000, 3_000_008))

    def stop(event: Event) -> None:
        if event.state == "transferring" and event.total >= 3_000_000:
            raise KeyboardInterrupt

    with of_store(store) as server, pytest.raises(KeyboardInterrupt):
        pull(other, f"{server.address}/library/x:1", progress=stop)
    assert not [one.name for one in threading.enumerate() if one.name.startswith("transfer")]
    assert other.tags() == {} and unfinished(other) == []


def test_the_first_failure_ends_the_others(store: Store, other: Store) -> None:
    large(store, "docker.io/library/x:1", 100, 3_000_000)
    gate = threading.Event()

    def change(asked: Asked, said: Say) -> Say:
        if len(said.body) == 3_000_000:
            gate.wait(60)  # until the test is over
        return Say(500) if len(said.body) == 100 else said

    with of_store(store, change) as server:
        with pytest.raises(RegistryError, match="says 500"):
            pull(other, f"{server.address}/library/x:1")
        gate.set()


def test_blobs_travel_four_at_once(store: Store, other: Store) -> None:
    large(store, "docker.io/library/x:1", *range(1000, 1008))
    four = threading.Barrier(4, timeout=30)

    def change(asked: Asked, said: Say) -> Say:
        if 1000 <= len(said.body) < 1008 and "/blobs/" in asked.path:
            four.wait()  # broken, and an error, unless four come together
        return said

    with of_store(store, change) as server:
        pull(other, f"{server.address}/library/x:1")


# Mirrors, tags


@REAL
def test_a_mirror_serves_what_is_the_hubs(
    store: Store, other: Store, tmp_path: Path, registry: Registry
) -> None:
    with registry(tmp_path / "r") as mirror, nobody() as away:
        name = f"{mirror}/library/x:1"
        pushed = image(store, name)
        push(store, name)
        found = pull(other, "x:1", mirrors=[away, mirror])
        assert found.descriptor.digest == pushed.digest
        assert list(other.tags()) == ["docker.io/library/x:1"]
        with pytest.raises(Unreachable) as caught:  # the name says another registry, which no mirror is for
            pull(other, f"{away}/library/x:1", mirrors=[mirror])
        assert away in str(caught.value)


def test_a_hostile_mirror_is_passed_over(store: Store, other: Store) -> None:
    image(store, "docker.io/library/x:1")
    change = HOSTILE["a changed blob"][0]
    with of_store(store, change) as bad, of_store(store) as good:
        assert pull(other, "x:1", mirrors=[bad.address, good.address])
        assert len(bad.paths()) == 2 and good.paths()


def test_tags_come_in_pages() -> None:
    def answer(asked: Asked) -> Say:
        page = {"/v2/x/tags/list?n=1000": ["a", "b"], "/v2/x/tags/list?last=b": ["c"]}.get(asked.path)
        link = {"Link": '</v2/x/tags/list?last=b>; rel="next"'} if page == ["a", "b"] else {}
        return Say(200, json.dumps({"name": "x", "tags": page}).encode(), link)

    with Scripted(answer) as server:
        assert tags(f"{server.address}/x") == ["a", "b", "c"]


@pytest.mark.parametrize("page", ['["a", 1]', '"a"', "{}"])
def test_tags_that_are_none(page: str) -> None:
    with Scripted(lambda _: Say(200, f'{{"tags": {page}}}'.encode())) as server:
        if page == "{}":
            assert tags(f"{server.address}/x") == []
        else:
            with pytest.raises(BadManifest, match="list of strings"):
                tags(f"{server.address}/x")


def test_a_next_page_is_not_fetched_from_elsewhere() -> None:
    away = {"Link": '<ftp://example.org/>; rel="next"'}
    with Scripted(lambda _: Say(200, b'{"tags": ["a"]}', away)) as server:
        with pytest.raises(RegistryError, match="does not go"):
            tags(f"{server.address}/x")
