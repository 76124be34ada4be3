"""Clients that stop, dawdle, send without end or come all at once; a full disk."""

import errno
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kit.images import ImageError, Store
from kit.images.descriptor import digest_of
from kit.linux.errors import KernelError
from kit.registries.server import Registry, bodies, serve
from tests.registries.debian import free_port
from tests.registries.servers import ask, begin, program, push, push_blob

DATA = bytes(range(256)) * 4000  # 1 MB
DIGEST = digest_of(DATA)


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def reached(address: str, location: str, size: int) -> None:
    """Wait until an upload has so many bytes."""
    for _ in range(500):
        if ask(address, "GET", location).headers["Range"] == f"0-{size - 1}":
            return
        time.sleep(0.01)
    raise AssertionError(ask(address, "GET", location).headers["Range"])


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_client_that_stops_in_the_middle_may_go_on(registry: Registry, method: str, reset: bool) -> None:
    location = begin(registry.address, "a")
    path = location if method == "PATCH" else f"{location}?digest={DIGEST}"
    with connect(registry.address) as client:
        client.sendall(head(method, path, f"Content-Length: {len(DATA)}") + DATA[:300_000])
        reached(registry.address, location, 300_000)
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert ask(registry.address, "HEAD", f"/v2/a/blobs/{DIGEST}").status == 404
    rest = {"Content-Range": f"300000-{len(DATA) - 1}"}
    assert ask(registry.address, "PATCH", location, DATA[300_000:], rest).status == 202
    assert ask(registry.address, "PUT", f"{location}?digest={DIGEST}").status == 201
    assert ask(registry.address, "GET", f"/v2/a/blobs/{DIGEST}").body == DATA


def test_one_step_that_stops_in_the_middle_leaves_nothing(registry: Registry) -> None:
    with connect(registry.address) as client:
        path = f"/v2/a/blobs/uploads/?digest={DIGEST}"
        client.sendall(head("POST", path, f"Content-Length: {len(DATA)}") + DATA[:300_000])
        place = registry.store.directory / "repositories/a/_uploads"
        while not place.exists() or not any(one.stat().st_size == 300_000 for one in place.iterdir()):
            time.sleep(0.01)
    while list(place.iterdir()):  # the test's own time limit ends this
        time.sleep(0.01)
    assert registry.store.digests() == {}


def test_a_client_that_falls_silent_is_let_go(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "IDLE", 0.2)
    location = begin(registry.address, "a")
    with connect(registry.address) as client:
        client.sendall(head("PATCH", location, "Content-Length: 100") + b"x" * 50)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.status == 408
    reached(registry.address, location, 50)


def test_others_are_served_while_one_is_slow(registry: Registry) -> None:
    push_blob(registry.address, "a", DATA)
    location = begin(registry.address, "a")
    with connect(registry.address) as slow:
        slow.sendall(head("PATCH", location, "Content-Length: 100") + b"x")
        for _ in range(5):
            assert ask(registry.address, "GET", f"/v2/a/blobs/{DIGEST}").body == DATA
            slow.sendall(b"x")
        slow.sendall(b"x" * 94)
        answer = http.client.HTTPResponse(slow)
        answer.begin()
        assert (answer.status, answer.headers["Range"]) == (202, "0-99")


@pytest.mark.parametrize("body", [b"zz\r\n", b"5\r\nabc", b"-1\r\n\r\n", b"ffffffffffffffffffff\r\n"])
def test_a_body_that_is_no_http(registry: Registry, body: bytes) -> None:
    location = begin(registry.address, "a")
    with connect(registry.address) as client:
        client.sendall(head("PATCH", location, "Transfer-Encoding: chunked") + body)
        client.shutdown(socket.SHUT_WR)
        client.recv(1000)
    assert ask(registry.address, "PUT", f"{location}?digest={digest_of(b'')}").status in (201, 400)
    assert push_blob(registry.address, "a", DATA) == DIGEST


def test_two_at_the_same_upload(registry: Registry) -> None:
    """One after the other: the second finds that its chunk is not the next one any more."""
    location = begin(registry.address, "a")
    half = len(DATA) // 2
    chunk = {"Content-Range": f"0-{half - 1}"}
    with ThreadPoolExecutor(2) as both:
        replies = list(
            both.map(lambda _: ask(registry.address, "PATCH", location, DATA[:half], chunk), range(2))
        )
    assert sorted(reply.status for reply in replies) == [202, 416]
    assert ask(registry.address, "PUT", f"{location}?digest={DIGEST}", DATA[half:]).status == 201


def test_two_that_end_the_same_upload(registry: Registry) -> None:
    location = begin(registry.address, "a")
    assert ask(registry.address, "PATCH", location, DATA).status == 202
    with ThreadPoolExecutor(4) as several:
        paths = [f"{location}?digest={DIGEST}"] * 4
        replies = list(several.map(lambda path: ask(registry.address, "PUT", path), paths))
    assert sorted(reply.status for reply in replies) == [201, 404, 404, 404]
    assert ask(registry.address, "GET", f"/v2/a/blobs/{DIGEST}").body == DATA


def test_the_same_blob_from_several_at_once(registry: Registry) -> None:
    with ThreadPoolExecutor(8) as all_of_them:
        found = set(all_of_them.map(lambda one: push_blob(registry.address, f"r{one % 3}", DATA), range(16)))
    assert found == {DIGEST}
    for one in range(3):
        assert ask(registry.address, "GET", f"/v2/r{one}/blobs/{DIGEST}").body == DATA
    assert len(registry.store.digests()) == 1


def test_many_tags_at_once(registry: Registry) -> None:
    push(registry.address, "a", "0", DATA)
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda one: push(registry.address, "a", str(one), str(one).encode()), range(1, 30)))
    tags = ask(registry.address, "GET", "/v2/a/tags/list").json()["tags"]
    assert tags == sorted(map(str, range(30)))


def test_two_hundred_clients_at_once(registry: Registry) -> None:
    push_blob(registry.address, "a", DATA)
    together = threading.Barrier(200, timeout=60)

    def client(number: int) -> bytes:
        with connect(registry.address) as connection:
            together.wait()
            connection.sendall(head("GET", f"/v2/a/blobs/{DIGEST}"))
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            body = answer.read()
            assert push_blob(registry.address, f"r{number % 10}", str(number).encode())
            return body

    with ThreadPoolExecutor(200) as clients:
        assert set(clients.map(client, range(200))) == {DATA}


def test_a_body_without_end_stays_out_of_memory(tmp_path: Path) -> None:
    Store(tmp_path / "storage")
    piece = b"x" * 1_000_000
    with program(tmp_path / "storage") as server:
        location = begin(server.address, "a")
        before = server.memory()
        ask(server.address, "PATCH", location, (piece for _ in range(200)))
        assert server.memory() - before < 20_000_000
        assert ask(server.address, "GET", location).headers["Range"] == "0-199999999"
        assert ask(server.address, "DELETE", location).status == 204
        assert list((tmp_path / "storage/repositories/a/_uploads").iterdir()) == []


@pytest.fixture
def little_room(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    place = tmp_path / "little"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "kit-test", place], check=True)
    try:
        yield place / "storage"
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.needs("root")
def test_a_full_disk(little_room: Path) -> None:
    with serve(little_room) as registry:
        push(registry.address, "a", "1", DATA)
        location = begin(registry.address, "a")
        assert ask(registry.address, "PATCH", location, b"kept").status == 202
        reply = ask(registry.address, "PATCH", location, DATA * 3)
        assert (reply.status, reply.code) == (507, "UNKNOWN")
        assert "ENOSPC" in reply.json()["errors"][0]["message"]
        assert ask(registry.address, "GET", location).headers["Range"] == "0-3"  # what was said yes to
        assert ask(registry.address, "POST", f"/v2/a/blobs/uploads/?digest={DIGEST}", DATA * 3).status == 507
        assert ask(registry.address, "GET", f"/v2/a/blobs/{DIGEST}").body == DATA
        assert (
            ask(
                registry.address, "PUT", f"{location}?digest={digest_of(b'kept and more')}", b" and more"
            ).status
            == 201
        )


def test_an_address_that_is_taken_or_none(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="EADDRINUSE") as caught:
        serve(tmp_path / "other", registry.address)
    assert caught.value.errno == errno.EADDRINUSE
    for text in ("5000", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:http"):
        with pytest.raises(ImageError, match="no address to listen at"):
            serve(tmp_path / "other", text)


def test_ipv6(tmp_path: Path) -> None:
    with serve(tmp_path / "storage", "[::1]:0") as registry:
        assert registry.address.startswith("[::1]:")
        assert ask(registry.address, "GET", "/v2/").status == 200


def test_it_ends_and_begins_again(tmp_path: Path) -> None:
    threads = threading.active_count()
    with serve(tmp_path / "storage") as registry:
        push(registry.address, "a", "1", DATA)
        kept = connect(registry.address)
    registry.close()  # once more: nothing happens
    kept.close()
    assert threading.active_count() == threads
    with serve(tmp_path / "storage", registry.address) as again:
        assert again.address == registry.address
        assert ask(again.address, "GET", "/v2/a/manifests/1").status == 200


def kit(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kit", *arguments], capture_output=True, text=True, timeout=60
    )


def test_the_command_says_what_is_wrong_in_a_line(tmp_path: Path) -> None:
    storage = str(tmp_path / "storage")
    Store(storage)
    (tmp_path / "users").write_text("ann:{SHA}x\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis").write_text("mine")
    for arguments, reason in (
        (["--listen", "nowhere"], "no address to listen at"),
        (["--storage", str(tmp_path / "other")], "holds something that is no image layout"),
        (["--htpasswd", str(tmp_path / "users")], "no bcrypt hash"),
        (["--mirror-of", "docker.io"], "no address of a registry"),
        (["--tls-cert", str(tmp_path / "users")], "go together"),
        (["--tls-cert", str(tmp_path / "users"), "--tls-key", str(tmp_path / "users")], "in PEM"),
    ):
        done = kit("registry", "--storage", storage, "--listen", f"127.0.0.1:{free_port()}", *arguments)
        assert done.returncode in (1, 2)
        assert reason in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stderr.count("Error: ") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_when_it_is_told(tmp_path: Path, number: signal.Signals) -> None:
    Store(tmp_path / "storage")
    with program(tmp_path / "storage", "--no-delete") as server:
        push_blob(server.address, "a", DATA)
        assert ask(server.address, "DELETE", f"/v2/a/blobs/{DIGEST}").status == 405
        os.kill(server.process.pid, number)
        assert server.process.wait(30) == 0
        assert f"/v2/a/blobs/{DIGEST} 405" in server.told.read_text()


@pytest.mark.needs("busybox")
def test_a_new_registry_holds_the_base_images(tmp_path: Path) -> None:
    with program(tmp_path / "storage") as server:
        for name in ("hello-world", "busybox", "python"):
            assert ask(server.address, "GET", f"/v2/library/{name}/tags/list").json()["tags"] == ["latest"]
