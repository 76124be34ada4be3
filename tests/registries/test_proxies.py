"""The way through a proxy that the environment names, and the ways that have none."""

from __future__ import annotations

import base64
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kit.registries import Client
from kit.registries.refusals import Unreachable
from kit.registries.server import serve
from kit.registries.transport import proxy_for
from tests.registries.debian import certificate
from tests.registries.scripted import Asked, Say, Scripted, Wire, nobody

FAR = "registry.example"  # which no name server knows: see RFC 2606


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Tunnel(Wire):
    """A proxy that knows CONNECT only (RFC 9110, 9.3.6), and leads everybody to one address."""

    def __init__(self, address: str) -> None:
        self.asked: list[str] = []
        super().__init__(address, after=0, cuts=0)

    def _carry(self, client: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        self.asked.append(head.decode())
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        super()._carry(client)


def test_who_needs_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_for(f"https://{FAR}/v2/") == ""
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://other.example")
    assert proxy_for(f"https://{FAR}/v2/") == "http://proxy.example:3128"
    assert proxy_for(f"http://{FAR}/v2/") == "http://other.example"
    for here in ("127.0.0.1:5000", "localhost", "[::1]:5000"):
        assert proxy_for(f"http://{here}/v2/") == proxy_for(f"https://{here}/v2/") == ""
    monkeypatch.setenv("NO_PROXY", f"other.example, {FAR}")
    assert proxy_for(f"https://{FAR}/v2/") == proxy_for(f"https://a.{FAR}:5000/v2/") == ""
    assert proxy_for("https://registry.other/v2/") != ""
    monkeypatch.setenv("NO_PROXY", "*")
    assert proxy_for("https://registry.other/v2/") == ""


def test_plain_http_is_handed_to_the_proxy_that_wants_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scripted(lambda _: Say(200, b"there")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:a%20b@{proxy.address}")
        with Client(FAR, insecure=[FAR]) as client:
            assert client.get("/v2/x").body == b"there"
            assert all("Proxy-Authorization" not in str(one) for one in client.exchanges)
    assert proxy.asked[-1].path == f"http://{FAR}/v2/x"
    secret = base64.b64encode(b"me:a b").decode()
    sent = {name.lower(): value for name, value in proxy.asked[-1].headers.items()}
    assert sent["proxy-authorization"] == f"Basic {secret}"


@pytest.mark.needs("openssl")
def test_tls_goes_through_a_tunnel_to_the_registry_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = certificate(tmp_path, FAR)
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    with serve(tmp_path / "r", tls=files) as registry, Tunnel(registry.address) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        with Client(FAR) as client:
            assert client.get("/v2/").status == 200
            assert client.get("/v2/_catalog").status in (200, 404)
        assert [one.split()[:2] for one in proxy.asked] == [["CONNECT", f"{FAR}:443"]]
        assert registry.log[0].path == "/v2/"


def test_a_proxy_that_does_not_help_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    refuses = Scripted(lambda asked: Say(403))  # it knows no CONNECT at all: 501
    with refuses, nobody() as away:
        for address in (refuses.address, away):
            monkeypatch.setenv("HTTPS_PROXY", f"http://{address}")
            with (
                Client(FAR) as client,
                pytest.raises(Unreachable, match=r"proxy does not lead to .*NO_PROXY"),
            ):
                client.get("/v2/")
        monkeypatch.setenv("HTTPS_PROXY", f"socks5://{away}")
        with Client(FAR) as client, pytest.raises(Unreachable, match="proxy"):
            client.get("/v2/")


def test_a_redirect_to_another_host_takes_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(asked: Asked) -> Say:
        away = {"Location": f"http://{here.address}/layer"}
        return Say(307, headers=away) if asked.path.endswith("/x") else Say()

    with Scripted(lambda _: Say(200, b"layer")) as here, Scripted(answer) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        with Client(FAR, insecure=[FAR]) as client:
            assert client.get("/v2/x").body == b"layer"
    assert here.paths() == ["/layer"] and len(proxy.asked) == 2


def test_the_client_alone_loads_no_server() -> None:
    code = "import sys, kit.registries; assert 'aiohttp' not in sys.modules; kit.registries.serve"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
