"""What no docker command would send, and what the engine tells of itself."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit.engine import Engine, Exchange, serve
from kit.linux.errors import KernelError

pytestmark = pytest.mark.needs("root")


class Api:
    """Plain requests at the socket."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, method: str, path: str, body: Any = None, version: str = "/v1.44") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("engine")
        connection.sock = self.socket()
        data = body if isinstance(body, bytes | Iterator) or body is None else json.dumps(body).encode()
        connection.request(method, version + path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(text) if is_json and text.strip() else None

    def socket(self) -> socket.socket:
        found = socket.socket(socket.AF_UNIX)
        found.settimeout(20)
        found.connect(str(self.path))
        return found


@pytest.fixture
def api(engine: Engine) -> Api:
    return Api(engine.socket)


def make(api: Api, name: str, *words: str, **more: Any) -> str:
    status, made = api(
        "POST", f"/containers/create?name={name}", {"Image": "busybox", "Cmd": [*words], **more}
    )
    assert status == 201, made
    return str(made["Id"])


def test_ping_says_what_is_served(engine: Engine, api: Api) -> None:
    connection = http.client.HTTPConnection("engine")
    connection.sock = api.socket()
    connection.request("HEAD", "/_ping")
    answer = connection.getresponse()
    headers = {name: answer.headers[name] for name in ("Api-Version", "Ostype", "Builder-Version")}
    assert headers == {"Api-Version": "1.44", "Ostype": "linux", "Builder-Version": "1"}
    connection.close()


def test_versions_are_kept(api: Api) -> None:
    assert api("GET", "/version", version="")[0] == 200
    assert api("GET", "/version", version="/v1.24")[0] == 200
    for version, word in (("/v1.23", "too old"), ("/v1.45", "too new"), ("/v9.99", "too new")):
        status, told = api("GET", "/version", version=version)
        assert status == 400 and word in told["message"]
    assert api("GET", "/nothing") == (404, {"message": "page not found"})
    assert api("PATCH", "/version")[0] == 405


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{", "no JSON"),
        ([], "JSON object"),
        ({"Image": 7}, "Image must be a string"),
        ({"Image": "busybox", "Cmd": [1]}, "Cmd must be a list of strings"),
        ({"Image": "busybox", "Env": "A=b"}, "Env must be a list"),
        ({"Image": "busybox", "HostConfig": {"Memory": "1g"}}, "Memory must be a number"),
        ({"Image": "busybox", "HostConfig": {"Memory": True}}, "Memory must be a number"),
        ({"Image": "busybox", "HostConfig": {"Links": ["a:b"]}}, "Links"),
        ({"Image": "busybox", "HostConfig": {"Mounts": ["x"]}}, "Mounts must be a list of objects"),
        ({"Image": "busybox", "HostConfig": {"BlkioWeight": 5}}, "BlkioWeight"),
        ({"Image": "busybox", "HostConfig": {"RestartPolicy": {"Name": "never"}}}, "restart policy"),
        ({"Image": "busybox", "HostConfig": {"Binds": ["relative"]}}, "SOURCE:TARGET"),
        ({"Image": "busybox", "HostConfig": {"LogConfig": {"Type": "syslog"}}}, "json-file"),
        ({"Image": "busybox", "HostConfig": {"PortBindings": {"x": None}}}, "no port"),
        ({"Image": "busybox", "Healthcheck": {"Test": ["WHAT"]}}, "Healthcheck"),
        ({"Image": "busybox", "HostConfig": {"PortBindings": {"80/tcp": ["x"]}}}, ""),
        ({"Image": "busybox", "HostConfig": {"Ulimits": [{"Name": "nofile"}]}}, "Soft"),
        ({"Image": "busybox", "HostConfig": {"Devices": [{}]}}, "PathOnHost"),
        (
            {
                "Image": "busybox",
                "HostConfig": {"Mounts": [{"Type": "bind", "Source": "/none", "Target": "/x"}]},
            },
            "exist",
        ),
        ({"Image": "busybox", "NetworkingConfig": {"EndpointsConfig": [1]}}, ""),
        ({"Image": "busybox", "ExposedPorts": {"80/tcp": {}}, "Volumes": {"relative": {}}}, "absolute"),
    ],
)
def test_what_can_not_be_is_refused_by_name(engine: Engine, api: Api, body: Any, word: str) -> None:
    status, told = api("POST", "/containers/create", body)
    assert status == 400 and word in told["message"]
    assert engine.containers == [] and list((engine.root / "containers").iterdir()) == []


@pytest.mark.parametrize("name", ["a", "../x", "a/b", "-x", "x" * 2 + "\u00e9", ".hidden", "%00xx"])
def test_names_are_no_paths(api: Api, name: str) -> None:
    from urllib.parse import quote

    assert api("POST", f"/containers/create?name={quote(name)}", {"Image": "busybox"})[0] == 400
    assert api("POST", "/volumes/create", {"Name": name})[0] == (201 if name == "%00xx" * 0 else 400)
    assert api("GET", f"/containers/{quote(name, safe='')}/json")[0] == 404
    assert api("DELETE", f"/volumes/{quote(name, safe='')}")[0] == 404


def test_a_body_has_an_end(engine: Engine, api: Api) -> None:
    assert api("POST", "/containers/create", b"[" * 5_000_000)[0] == 413
    assert api("POST", "/containers/create", b"[" * 100_000)[0] == 400


def test_broken_requests_hurt_nobody(engine: Engine, api: Api) -> None:
    for text in (
        b"POST /v1.44/containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1.44/build HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"GET /v1.44/info HTTP/1.1\r\nHost",
        b"\x16\x03\x01\x02\x00\x01",
    ):
        with api.socket() as client:
            client.sendall(text)
    assert api("GET", "/containers/json")[0] == 200


def test_build_context_can_not_lead_out(engine: Engine, api: Api, tmp_path: Path) -> None:
    import io
    import tarfile

    secret = tmp_path / "secret"
    secret.write_text("FROM secret-image\n")
    for members in (
        [("Dockerfile", tarfile.SYMTYPE, str(secret))],
        [("d", tarfile.SYMTYPE, str(tmp_path)), ("Dockerfile", tarfile.SYMTYPE, "d/secret")],
    ):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            for name, kind, target in members:
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, target
                archive.addfile(info)
        status, told = api("POST", "/build", out.getvalue())
        assert status == 400 and "Cannot locate" in told["message"] and "secret-image" not in str(told)


def test_the_wire_is_seen(engine: Engine, api: Api) -> None:
    heard: list[Exchange] = []
    end = engine.watch(heard.append)
    make(api, "aa", "true")
    api("POST", "/containers/aa/start")
    api("POST", "/containers/aa/wait")
    end()
    api("GET", "/version")
    assert [(one.method, one.status, one.kind) for one in heard] == [
        ("POST", 201, "whole"), ("POST", 204, "whole"), ("POST", 200, "stream"),
    ]  # fmt: skip
    assert '"Image": "busybox"' in heard[0].sent and '"Id"' in heard[0].received


def test_the_socket_is_for_few(engine: Engine, root: Path) -> None:
    mode = os.stat(engine.socket).st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660
    with pytest.raises(KernelError, match="EAGAIN"):
        serve(engine.socket.with_name("other"), root)
    with pytest.raises(KernelError, match="EADDRINUSE"):
        serve(engine.socket, root.with_name("elsewhere"))
    probe = "import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    nobody = ["setpriv", "--reuid", "65534", "--clear-groups"]
    done = subprocess.run(
        [*nobody, "/usr/bin/python3", "-c", probe, str(engine.socket)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert "PermissionError" in done.stderr


def test_attach_half_close_and_frames(engine: Engine, api: Api) -> None:
    make(api, "cat", "cat", OpenStdin=True, StdinOnce=True)
    with api.socket() as client:
        client.sendall(
            b"POST /v1.44/containers/cat/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: x\r\n"
            b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )
        heard = client.recv(4096)
        client.sendall(b"early ")
        assert api("POST", "/containers/cat/start")[0] == 204
        client.sendall(b"late")
        client.shutdown(socket.SHUT_WR)
        heard += b"".join(iter(lambda: client.recv(4096), b""))
    head, _, rest = heard.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 UPGRADED")
    said = b""
    while rest:
        length = int.from_bytes(rest[4:8], "big")
        assert rest[0] == 1
        said, rest = said + rest[8 : 8 + length], rest[8 + length :]
    assert said == b"early late"


def test_many_clients_at_once(engine: Engine, api: Api) -> None:
    failed: list[object] = []

    def client(number: int) -> None:
        try:
            name = f"many{number}"
            make(api, name, "sh", "-c", f"exit {number}")
            assert api("POST", f"/containers/{name}/start")[0] == 204
            assert api("POST", f"/containers/{name}/wait")[1]["StatusCode"] == number
            assert api("DELETE", f"/containers/{name}")[0] == 204
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and engine.containers == []


def test_files_can_not_lead_out(engine: Engine, api: Api, tmp_path: Path) -> None:
    """CVE-2018-15664, CVE-2019-14271: links of the container's making, on the way to what is copied."""
    import io
    import tarfile

    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "secret").write_text("secret")
    links = (
        f"ln -s {tmp_path} /out; ln -s {tmp_path}/host/secret /file; ln -s ../../../../../../..{tmp_path} /up"
    )
    make(api, "evil", "sh", "-c", f"{links}; sleep 100")
    api("POST", "/containers/evil/start")
    while api("GET", "/containers/evil/archive?path=/up")[0] == 404:
        pass
    for path in ("/out/host/secret", "/up/host/secret", "/out/host", "/../../out/host/secret"):
        assert api("HEAD", f"/containers/evil/archive?path={path}")[0] == 404
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("x")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    assert api("PUT", "/containers/evil/archive?path=/out/host", out.getvalue())[0] == 404
    assert os.listdir(tmp_path / "host") == ["secret"]


def test_exec_and_inspect(engine: Engine, api: Api) -> None:
    make(api, "aa", "sleep", "100")
    assert api("POST", "/containers/aa/exec", {"Cmd": ["true"]})[0] == 409
    api("POST", "/containers/aa/start")
    assert api("POST", "/containers/aa/exec", {"Cmd": []})[0] == 400
    status, made = api("POST", "/containers/aa/exec", {"Cmd": ["sh", "-c", "exit 3"]})
    assert status == 201
    assert api("POST", f"/exec/{made['Id']}/start", {"Detach": True})[0] == 200
    while (told := api("GET", f"/exec/{made['Id']}/json")[1])["Running"]:
        pass
    assert told["ExitCode"] == 3
    inspected = api("GET", "/containers/aa/json")[1]
    assert os.path.exists(f"/proc/{inspected['State']['Pid']}")
    assert api("POST", "/containers/aa/stop?t=0")[0] == 204
    assert api("POST", "/containers/aa/stop?t=0")[0] == 304
