"""Who may push, and TLS."""

import base64
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from kit.images import ImageError
from kit.registries.server import Registry, serve
from tests.registries.debian import certificate
from tests.registries.servers import ask, push_blob


def line(name: str, password: str) -> str:
    return f"{name}:{bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()}\n"


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "htpasswd"
    file.write_text("# who may push\n" + line("ann", "sesame") + "\n" + line("bob", "pässwörd:" + "x" * 90))
    return file


@pytest.fixture
def registry(tmp_path: Path, users: Path) -> Iterator[Registry]:
    with serve(tmp_path / "storage") as open_for_all:
        push_blob(open_for_all.address, "a", b"{}")
    with serve(tmp_path / "storage", htpasswd=users) as started:
        yield started


def test_all_may_pull(registry: Registry) -> None:
    push_path = "/v2/a/blobs/sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert ask(registry.address, "GET", push_path).body == b"{}"
    assert ask(registry.address, "GET", push_path, headers=basic("", "")).status == 200  # as skopeo asks
    assert ask(registry.address, "GET", push_path, headers=basic("ann", "sesame")).status == 200
    assert ask(registry.address, "GET", push_path, headers=basic("ann", "x")).status == 401


@pytest.mark.parametrize("headers", [{}, basic("", "")])
def test_who_pushes_is_asked_for_a_name(registry: Registry, headers: dict[str, str]) -> None:
    for method, path in (
        ("POST", "/v2/a/blobs/uploads/"),
        ("PUT", "/v2/a/manifests/1"),
        ("DELETE", "/v2/a/manifests/1"),
        ("GET", "/v2/"),  # where `docker login` finds out whether it was right
    ):
        reply = ask(registry.address, method, path, headers=headers)
        assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
        assert reply.headers["WWW-Authenticate"] == 'Basic realm="kit registry"'


@pytest.mark.parametrize("name, password", [("ann", "sesame"), ("bob", "pässwörd:" + "x" * 90)])
def test_with_the_right_password(registry: Registry, name: str, password: str) -> None:
    for _ in range(2):
        assert ask(registry.address, "GET", "/v2/", headers=basic(name, password)).status == 200
    assert ask(registry.address, "POST", "/v2/a/blobs/uploads/", headers=basic(name, password)).status == 202


@pytest.mark.parametrize(
    "headers",
    [
        basic("ann", "Sesame"),
        basic("ann", ""),
        basic("eve", "sesame"),
        basic("ann\0", "sesame"),
        basic("# who may push", ""),
        {"Authorization": "Basic %%%"},
        {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe").decode()},
        {"Authorization": "Bearer sesame"},
        {"Authorization": "x"},
    ],
)
def test_with_the_wrong_one(registry: Registry, headers: dict[str, str]) -> None:
    reply = ask(registry.address, "GET", "/v2/", headers=headers)
    assert (reply.status, reply.code) == (401, "UNAUTHORIZED")


def test_no_password_is_in_the_log(registry: Registry) -> None:
    ask(registry.address, "GET", "/v2/", headers=basic("ann", "sesame"))
    assert "sesame" not in repr(registry.log)
    assert basic("ann", "sesame")["Authorization"] not in repr(registry.log)


def test_the_file_is_read_again_when_it_changes(registry: Registry, users: Path) -> None:
    assert ask(registry.address, "GET", "/v2/", headers=basic("ann", "sesame")).status == 200
    other = users.with_name("other")
    other.write_text(line("ann", "new"))
    other.replace(users)
    assert ask(registry.address, "GET", "/v2/", headers=basic("ann", "sesame")).status == 401
    assert ask(registry.address, "GET", "/v2/", headers=basic("ann", "new")).status == 200


def test_other_hashes_than_bcrypt_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text("\nann:$apr1$x$y\n")
    with pytest.raises(ImageError, match=r"line 2 holds no bcrypt hash.*htpasswd -B"):
        serve(tmp_path / "storage", htpasswd=tmp_path / "htpasswd")


def test_tls(tmp_path: Path) -> None:
    crt, key = certificate(tmp_path)
    with serve(tmp_path / "storage", tls=(crt, key)) as registry:
        assert registry.url == f"https://{registry.address}"
        trusting = ssl.create_default_context(cafile=crt)
        with urllib.request.urlopen(f"{registry.url}/v2/", context=trusting) as answer:
            assert answer.status == 200
