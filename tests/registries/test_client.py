"""Single requests: what is sent where, what is sent again, what is followed, and what an exchange shows."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from kit.images.errors import BadReference
from kit.registries import Client, pull, serve
from kit.registries.credentials import Credentials
from kit.registries.refusals import NotInRegistry, RegistryError, Unauthorized, Unreachable, check
from tests.registries.debian import certificate, docker_registry, jwt
from tests.registries.scripted import Asked, Say, Scripted, Wire, nobody

ME = Credentials("me", "secret word")


def sequence(*answers: Say) -> Scripted:
    """A server that says these things one after the other, after an empty answer to the first question."""
    left = [Say(), *answers]
    return Scripted(lambda asked: left.pop(0))


# What it shows


def test_an_exchange_shows_both_sides_and_no_secret() -> None:
    body = json.dumps({"tags": ["1\x1b[2J"]}).encode()
    with sequence(Say(200, body, {"Content-Type": "application/json"})) as server:
        with Client(server.address, credentials=ME) as client:
            found = client.get("/v2/x/tags/list", {"Authorization": "Bearer mine"})
    text = str(found)
    assert f"> GET http://{server.address}/v2/x/tags/list" in text
    assert "< 200 OK" in text and '"tags"' in text and "< Content-Type: application/json" in text
    assert "mine" not in text and "Authorization: Bearer …" in text
    assert "\x1b" not in text
    assert server.asked[-1].headers["Authorization"] == "Bearer mine"
    shown = found._repr_mimebundle_()
    assert shown["text/plain"] == "GET → 200 OK"  # nothing that another run would not repeat
    assert "x/tags/list" in shown["text/html"]
    assert found.json() == {"tags": ["1\x1b[2J"]}
    assert repr(found) == f"Exchange(method='GET', url={found.url!r}, status=200, reason='OK', whole=True)"


def test_what_is_sent_has_its_length() -> None:
    with sequence(Say(202), Say(201)) as server, Client(server.address) as client:
        assert "> Content-Length: 0" in str(client.post("/v2/x/blobs/uploads/"))
        assert "> Content-Length: 4" in str(client.put("/v2/x/manifests/1", b"some"))


def test_binary_and_long_bodies_are_not_poured_out() -> None:
    with sequence(Say(200, bytes(5000)), Say(200, b"a" * 5000)) as server, Client(server.address) as client:
        assert str(client.get("/v2/a")).endswith("(5 kB of binary content)")
        assert str(client.get("/v2/a")).endswith("a…")


def test_an_endless_body_is_cut_short() -> None:
    with Scripted(lambda a: Say() if a.path == "/v2/" else Say(200, b"x" * 65536, forever=True)) as server:
        with Client(server.address) as client:
            found = client.get("/v2/x/blobs/y")
            assert (len(found.body), found.whole) == (4 * 1024 * 1024, False)


def test_a_registrys_refusal_has_its_code_and_message() -> None:
    body = b'{"errors": [{"code": "NAME_UNKNOWN", "message": "no \\u001b[31msuch"}, 7, {"code": ["x"]}]}'
    with sequence(Say(404, body), Say(418, b"[[[[")) as server, Client(server.address) as client:
        with pytest.raises(NotInRegistry, match=r"look: .* says NAME_UNKNOWN \(no �\[31msuch\)") as caught:
            check(client.get("/v2/x"), "look", "r", 200)
        assert (caught.value.status, caught.value.codes) == (404, ("NAME_UNKNOWN",))
        with pytest.raises(RegistryError, match=r"says 418 \(I'm a Teapot\)"):
            check(client.get("/v2/x"), "look", "r", 200)


# To whom it speaks


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:5000", "127.0.0.1:5000/x", "busybox", "", "a b.c", "x.y@z"]
)
def test_a_registry_is_a_host(name: str) -> None:
    with pytest.raises(BadReference):
        Client(name)


def test_nobody_at_the_address_is_said_at_once() -> None:
    with nobody() as address, Client(address) as client:
        start = time.monotonic()
        with pytest.raises(Unreachable, match=r"ECONNREFUSED.*Is the registry running\?"):
            client.get("/v2/")
        assert time.monotonic() - start < 60  # no pauses that somebody would have to sit through
        assert not client.exchanges


def test_only_loopback_and_those_that_are_named_do_without_tls() -> None:
    for name in ("127.0.0.1:5000", "localhost:5000", "[::1]:5000", "127.9.9.9"):
        assert Client(name)._plain_allowed(name), name
    for name in ("192.0.2.1:5000", "registry.example", "localhost.example", "127.0.0.1.example"):
        assert Client(name).base == f"https://{name}"
    assert Client("192.0.2.1:5000", insecure=["192.0.2.1:5000"])._plain_allowed("192.0.2.1:5000")
    assert Client("docker.io").base == "https://registry-1.docker.io"


@pytest.mark.needs("docker-registry", "openssl")
def test_tls_is_found_and_its_certificate_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = certificate(tmp_path)
    with docker_registry(tmp_path / "r", tls=files) as address:
        with (
            Client(address) as client,
            pytest.raises(RegistryError, match=r"not trusted: self-signed.*SSL_CERT"),
        ):
            client.get("/v2/")
        with Client(address, insecure=[address]) as client:
            assert client.get("/v2/").status == 200
        monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
        with Client(address) as client:
            assert client.get("/v2/").status == 200
            assert client.base == f"https://{address}"


# What is sent again


def test_a_busy_registry_is_asked_again() -> None:
    busy = [Say(503), Say(429, headers={"Retry-After": "0"}), Say(502)]
    with sequence(*busy, Say(200, b"there")) as server, Client(server.address) as client:
        assert client.get("/v2/x").body == b"there"
        assert [one.status for one in client.exchanges] == [200, 503, 429, 502, 200]


def test_it_gives_up_after_five_tries() -> None:
    with (
        Scripted(lambda a: Say(200 if a.path == "/v2/" else 503)) as server,
        Client(server.address) as client,
    ):
        assert client.get("/v2/x").status == 503
        assert len(server.paths()) == 5


def test_it_does_not_wait_for_ever() -> None:
    with sequence(Say(429, headers={"Retry-After": "99999"})) as server, Client(server.address) as client:
        with pytest.raises(Unreachable, match="asks for 99999 seconds"):
            client.get("/v2/x")


def test_an_idle_connection_that_was_closed_is_no_failure() -> None:
    hang_up = {"Connection": "close"}
    with Scripted(lambda a: Say(200, b"x", {} if a.path == "/v2/" else hang_up)) as server:
        with Client(server.address) as client:
            for _ in range(3):
                assert client.get("/v2/x").body == b"x"
            assert len(client.exchanges) == 4


def test_all_requests_go_over_one_connection(tmp_path: Path) -> None:
    with serve(tmp_path / "r") as registry, Wire(registry.address, after=0, cuts=0) as wire:
        with Client(wire.address) as client:
            for _ in range(3):
                assert client.head("/v2/x/manifests/1").status == 404
                assert client.get("/v2/x/manifests/1").status == 404
                begun = client.post("/v2/x/blobs/uploads/")
                assert client.patch(begun.headers["Location"], b"some").status == 202
                assert client.get(begun.headers["Location"]).status == 204
                assert client.delete(begun.headers["Location"]).status == 204
        assert wire.connections == 1


def test_threads_that_begin_at_once_find_the_scheme_once(tmp_path: Path) -> None:
    with serve(tmp_path / "r") as registry, Client(registry.address) as client:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(client.head, ["/v2/x/manifests/1"] * 8))
        assert [one.status for one in found] == [404] * 8
        assert len(client.exchanges) == 9


def test_closing_ends_a_request_that_waits() -> None:
    gate = threading.Event()

    def answer(asked: Asked) -> Say:
        if asked.path != "/v2/":
            gate.wait(30)
        return Say()

    failed: list[Exception] = []
    with Scripted(answer) as server:
        client = Client(server.address)

        def ask() -> None:
            try:
                client.get("/v2/x")
            except Unreachable as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        while not server.paths():
            time.sleep(0.01)
        client.close()
        thread.join(10)
        gate.set()
        assert not thread.is_alive() and failed


def test_closing_ends_an_answer_that_does_not_come() -> None:
    """Also one after which the connection is closed, whose socket http.client gives away."""
    reading = threading.Event()

    def serve(listening: socket.socket) -> None:
        for body in (b"Content-Length: 0\r\n\r\n", b"\r\nthe beginning"):
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + body)
                if body.endswith(b"beginning"):
                    reading.set()
                    connection.recv(4096)  # until the client hangs up

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=serve, args=(listening,))
        server.start()
        client = Client(f"127.0.0.1:{listening.getsockname()[1]}")
        asking = threading.Thread(target=lambda: client.get("/v2/x"))
        asking.start()
        assert reading.wait(10)
        client.close()
        asking.join(10)
        server.join(10)
        assert not asking.is_alive() and not server.is_alive()


@pytest.mark.needs("openssl")
def test_closing_ends_an_answer_over_tls_that_does_not_come(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(tmp_path))
    asked = threading.Event()

    def serve(listening: socket.socket) -> None:
        while not asked.is_set():
            connection, _ = listening.accept()
            with connection, suppress(ssl.SSLError):  # the first one is not encrypted
                with context.wrap_socket(connection, server_side=True) as encrypted:
                    encrypted.recv(4096)
                    asked.set()
                    encrypted.recv(4096)  # until the client hangs up

    failed: list[Exception] = []

    def ask() -> None:
        try:
            client.get("/v2/x")
        except Unreachable as error:
            failed.append(error)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        client = Client(address, insecure=[address])
        threads = [threading.Thread(target=serve, args=(listening,)), threading.Thread(target=ask)]
        for one in threads:
            one.start()
        assert asked.wait(10)
        client.close()
        for one in threads:
            one.join(10)
        assert failed and not any(one.is_alive() for one in threads)


# Where a redirect may lead


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://192.0.2.1/x", "gopher://x", "https://me@127.0.0.1/x",
     "https://", "https://127.0.0.1:99999/", "http://127.0.0.1:0/", "http://127.0.0.1/a b", "", "//[::1"],
)  # fmt: skip
def test_a_redirect_elsewhere_is_refused(location: str) -> None:
    with sequence(Say(307, headers={"Location": location})) as server, Client(server.address) as client:
        with pytest.raises(RegistryError, match=r"points to .*, where the kit does not go"):
            client.get("/v2/x")


def test_a_redirect_takes_no_credentials_along() -> None:
    with Scripted(lambda _: Say(200, b"layer")) as other:
        away = Say(307, headers={"Location": f"http://{other.address}/layer"})
        challenge = Say(401, headers={"WWW-Authenticate": 'Basic realm="x"'})

        def answer(asked: Asked) -> Say:
            return away if "Authorization" in asked.headers else challenge

        with Scripted(answer) as server, Client(server.address, credentials=ME) as client:
            assert client.get("/v2/x/blobs/y").body == b"layer"
            assert client.get("/v2/x/blobs/y", {"Authorization": "Basic by hand"}).body == b"layer"
    assert all("Authorization" not in one.headers for one in other.asked)
    assert server.asked[-1].headers["Authorization"] == ME.basic()


def test_a_redirect_in_a_circle_ends() -> None:
    with Scripted(lambda a: Say() if a.path == "/v2/" else Say(302, headers={"Location": a.path})) as server:
        with Client(server.address) as client, pytest.raises(RegistryError, match="redirects more than 5"):
            client.get("/v2/x")


def test_an_upload_that_is_redirected_is_not_followed() -> None:
    with sequence(Say(307, headers={"Location": "/v2/y"})) as server, Client(server.address) as client:
        assert client.put("/v2/x", b"body").status == 307


# Who we are


def test_basic_is_shown_on_demand_and_then_at_once() -> None:
    def answer(asked: Asked) -> Say:
        good = asked.headers.get("Authorization") == ME.basic()
        return Say(200 if good else 401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    with Scripted(answer) as server, Client(server.address, credentials=ME) as client:
        assert [client.get("/v2/x").status for _ in range(2)] == [200, 200]
        assert [one.status for one in client.exchanges][1:] == [401, 200, 200]
        with Client(server.address) as anonymous:
            assert anonymous.get("/v2/x").status == 401
        with Client(server.address, credentials=Credentials("me", "wrong")) as wrong:
            assert wrong.get("/v2/x").status == 401


def test_other_schemes_are_refused_by_name() -> None:
    with sequence(Say(401, headers={"WWW-Authenticate": "Negotiate"})) as server:
        with (
            Client(server.address) as client,
            pytest.raises(RegistryError, match=r"wants negotiate.*Basic and"),
        ):
            client.get("/v2/x")


def bearer(realm: str, scope: str = "repository:x/y:pull") -> Say:
    challenge = f'Bearer realm="{realm}",service="the registry",scope="{scope}"'
    return Say(401, headers={"WWW-Authenticate": challenge})


def token_pair(answer: Say) -> tuple[Scripted, Scripted]:
    """A token server and a registry that wants its token."""
    tokens = Scripted(lambda _: answer)

    def registry(asked: Asked) -> Say:
        good = asked.headers.get("Authorization") == "Bearer abc.def"
        return Say(200, b"ok") if good else bearer(f"http://{tokens.address}/token?a=b")

    return tokens, Scripted(registry)


def test_a_token_is_fetched_once_for_each_purpose() -> None:
    tokens, server = token_pair(Say(200, b'{"token": "abc.def"}'))
    with tokens, server, Client(server.address, credentials=ME) as client:
        for _ in range(3):
            assert client.get("/v2/x/y/manifests/1").body == b"ok"
        assert client.put("/v2/x/y/manifests/1", b"{}").body == b"ok"
        assert len(tokens.asked) == 2
        asked = parse_qs(urlsplit(tokens.asked[0].path).query)
        assert asked == {"a": ["b"], "service": ["the registry"], "scope": ["repository:x/y:pull"]}
        assert tokens.asked[0].headers["Authorization"] == ME.basic()
        assert [one.status for one in client.exchanges][1:4] == [401, 200, 200]  # refused, token, answered
        assert all(ME.secret not in str(one) and "abc.def" not in str(one) for one in client.exchanges)


def test_an_identity_token_buys_a_token_too() -> None:
    tokens, server = token_pair(Say(200, b'{"access_token": "abc.def"}'))
    with tokens, server, Client(server.address, credentials=Credentials("", "identity")) as client:
        assert client.get("/v2/x/y/manifests/1").body == b"ok"
        form = parse_qs(tokens.asked[0].body.decode())
        assert form["grant_type"] == ["refresh_token"] and form["refresh_token"] == ["identity"]
        assert "identity" not in tokens.asked[0].path


@pytest.mark.parametrize(
    ("answer", "match"),
    [(Say(200, b"{}"), "without a token"), (Say(200, b'{"token": "a\\r\\nX: y"}'), "without a token"),
     (Say(500), "status 500"), (Say(401), "kit login")],
)  # fmt: skip
def test_no_good_token_is_an_error(answer: Say, match: str) -> None:
    tokens, server = token_pair(answer)
    with tokens, server, Client(server.address, credentials=ME) as client:
        with pytest.raises(RegistryError, match=match):
            client.get("/v2/x/y/manifests/1")


@pytest.mark.parametrize("realm", ["file:///etc/passwd", "http://192.0.2.1/token", "", "http://[::1/token"])
def test_credentials_go_to_no_unsafe_realm(realm: str) -> None:
    with sequence(bearer(realm)) as server, Client(server.address, credentials=ME) as client:
        with pytest.raises(RegistryError, match="where the kit does not go"):
            client.get("/v2/x")


@pytest.mark.needs("docker-registry", "openssl")
def test_docker_registry_believes_the_tokens_that_we_bring(tmp_path: Path) -> None:
    crt, key = certificate(tmp_path)

    def grant(asked: Asked) -> Say:
        if asked.headers.get("Authorization") != ME.basic():
            return Say(401)
        asked_for = parse_qs(urlsplit(asked.path).query)
        access: list[dict[str, Any]] = []
        for scope in asked_for.get("scope", []):
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims = {"iss": "test", "sub": "me", "aud": asked_for["service"][0], "exp": now + 60, "nbf": now - 5,
                  "iat": now, "jti": "1", "access": access}  # fmt: skip
        return Say(200, json.dumps({"token": jwt(claims, crt, key)}).encode())

    with Scripted(grant) as tokens:
        how = {"realm": f"http://{tokens.address}/token", "service": "s", "issuer": "test"}
        with docker_registry(tmp_path / "r", token={**how, "rootcertbundle": str(crt)}) as address:
            with Client(address, credentials=ME) as client:
                assert client.get("/v2/").status == 200
                begun = client.post("/v2/a/b/blobs/uploads/")
                assert begun.status == 202
                assert client.delete(begun.headers["Location"]).status == 204
            with pytest.raises(Unauthorized, match="kit login"):
                pull(tmp_store(tmp_path), f"{address}/a/b:1")


def tmp_store(tmp_path: Path) -> Any:
    from kit.images.store import Store

    return Store(tmp_path / "store")
