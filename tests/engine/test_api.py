"""What no docker command would send, and what the engine tells of itself."""

from __future__ import annotations

import http.client
import json
import os
import resource
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

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
        ({"Image": "busybox", "HostConfig": {"Binds": ["relative"]}}, "absolute path"),
        ({"Image": "busybox", "HostConfig": {"LogConfig": {"Type": "syslog"}}}, "no log driver named"),
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
    assert api("POST", "/volumes/create", {"Name": name})[0] == 400
    assert api("GET", f"/containers/{quote(name, safe='')}/json")[0] == 404
    assert api("DELETE", f"/volumes/{quote(name, safe='')}")[0] == 404


def test_a_body_has_an_end(engine: Engine, api: Api) -> None:
    assert api("POST", "/containers/create", b"[" * 5_000_000)[0] == 413
    assert api("POST", "/containers/create", b"[" * 100_000)[0] == 400


def test_broken_requests_hurt_nobody(engine: Engine, api: Api) -> None:
    chunked = b"HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    lengths = b"HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}"
    for text in (
        b"POST /v1.44/containers/create " + chunked + b"zz\r\n",
        b"POST /v1.44/containers/create " + chunked + b"-5\r\n{}\r\n",
        b"POST /v1.44/containers/create " + lengths,
        b"GET /v1.44/info HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    ):
        with api.socket() as client:
            client.sendall(text)
            assert b" 400 " in client.recv(4096).partition(b"\r\n")[0]
    for text in (b"POST /v1.44/build " + chunked + b"5\r\nabc", b"GET /v1.44/info HTTP/1.1\r\nHost"):
        with api.socket() as client:
            client.sendall(text)
    assert api("GET", "/containers/json")[0] == 200 and engine.containers == []


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


#: For each field of a request to create a container that the engine does not have, a value that would mean
#: something. See "Create a container" of the Docker Engine API 1.44.
NOT_HERE: dict[str, Any] = {
    "ArgsEscaped": True, "NetworkDisabled": True, "OnBuild": ["RUN true"], "Shell": ["/bin/sh"],
    **{f"HostConfig.{key}": value for key, value in {
        "CpuRealtimePeriod": 1, "CpuRealtimeRuntime": 1, "CpusetMems": "0", "CpuCount": 1, "CpuPercent": 1,
        "BlkioWeight": 100, "BlkioWeightDevice": [{"Path": "/dev/sda", "Weight": 1}],
        "BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 1}], "BlkioDeviceWriteBps": [{}],
        "BlkioDeviceReadIOps": [{}], "BlkioDeviceWriteIOps": [{}], "CgroupParent": "/x", "Cgroup": "x",
        "CgroupnsMode": "host", "DeviceCgroupRules": ["c 1:1 rwm"], "DeviceRequests": [{"Count": -1}],
        "IOMaximumIOps": 1, "IOMaximumBandwidth": 1, "Isolation": "hyperv", "KernelMemory": 1,
        "KernelMemoryTCP": 1, "Links": ["a:b"], "MaskedPaths": [], "MemoryReservation": 1,
        "MemorySwappiness": 0, "OomKillDisable": True, "ReadonlyPaths": [], "Runtime": "runsc",
        "StorageOpt": {"size": "1g"}, "UsernsMode": "private", "VolumeDriver": "nfs",
        "Mounts.BindOptions.Propagation": "rshared", "Mounts.BindOptions.NonRecursive": True,
        "Mounts.VolumeOptions.Subpath": "x", "Mounts.ClusterOptions": {"a": 1}, "Mounts.Consistency": "odd",
    }.items()},
    **{f"NetworkingConfig.EndpointsConfig.bridge.{key}": value for key, value in {
        "Links": ["a:b"], "DriverOpts": {"a": "b"}, "GwPriority": 1, "GlobalIPv6Address": "::1",
        "IPAMConfig.IPv6Address": "::1", "IPAMConfig.LinkLocalIPs": ["169.254.1.1"],
    }.items()},
}  # fmt: skip


def test_no_option_is_silently_ignored(engine: Engine, api: Api) -> None:
    for field, value in NOT_HERE.items():
        document: dict[str, Any] = {"Image": "busybox", "Cmd": ["true"]}
        *above, last = field.split(".")
        place = document
        for name in above:
            place = place.setdefault(name, {})
            if name == "Mounts":
                document["HostConfig"]["Mounts"] = [place]
                place.update(Type="volume", Target="/x")
        place[last] = value
        status, told = api("POST", "/containers/create", document)
        assert status == 400 and field in told["message"]
    assert engine.containers == []


def test_what_was_asked_for_is_told(api: Api) -> None:
    """What docker-compose and others compare with what they want."""
    host = {
        "Memory": 64 << 20, "NanoCpus": 10**9, "CapAdd": ["NET_ADMIN"], "LogConfig": {"Type": ""},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "NetworkMode": "none", "PidsLimit": -1,
    }  # fmt: skip
    make(api, "aa", "sleep", "9", HostConfig=host, Env=["A", "B=c"], Labels={"l": "1"}, StopTimeout=0)
    told = api("GET", "/containers/aa/json")[1]
    assert told["HostConfig"] == {
        **told["HostConfig"],
        **host,
        "LogConfig": {"Type": "json-file", "Config": {}},
    }
    assert told["HostConfig"]["Binds"] is None and told["HostConfig"]["Privileged"] is False
    assert told["Config"]["Env"][-2:] == ["A", "B=c"] and told["Config"]["StopTimeout"] == 0
    assert (told["Path"], told["Args"], told["Name"]) == ("sleep", ["9"], "/aa")
    assert told["State"]["Status"] == "created" and told["State"]["Pid"] == 0


def test_the_list_is_filtered(api: Api) -> None:
    ids = [
        make(api, "one", "true", Labels={"a": "b"}, ExposedPorts={"80/tcp": {}}),
        make(api, "two", "sh", "-c", "exit 3", HostConfig={"Binds": ["vol:/v"], "NetworkMode": "none"}),
        make(
            api, "three", "sleep", "100", HostConfig={"PortBindings": {"81/udp": [{"HostIp": "127.0.0.1"}]}}
        ),
    ]
    for name in ("two", "three"):
        assert api("POST", f"/containers/{name}/start")[0] == 204
    api("POST", "/containers/two/wait")

    def found(**filters: list[str]) -> str:
        query = urlencode({"all": 1, "filters": json.dumps(filters)})
        status, rows = api("GET", f"/containers/json?{query}")
        assert status == 200, rows
        return " ".join(row["Names"][0][1:] for row in rows)

    assert found() == "three two one" and found(id=[ids[0][:10]]) == "one"
    assert found(status=["created", "running"]) == "three one" and found(exited=["3"]) == "two"
    assert found(label=["a=b"]) == found(expose=["79-80/tcp"]) == found(before=["two"]) == "one"
    assert found(since=["two"]) == found(publish=["81/udp"]) == "three"
    assert found(volume=["vol"]) == found(volume=["/v"]) == found(network=["none"]) == "two"
    assert found(health=["none"]) == found(ancestor=["busybox"]) == found(ancestor=["busybox:latest"])
    assert found(ancestor=["nothing"]) == found(health=["healthy"]) == found(status=["paused"]) == ""
    for wrong in ({"status": ["odd"]}, {"is-task": ["true"]}, {"before": ["nobody"]}):
        query = urlencode({"filters": json.dumps(wrong)})
        assert api("GET", f"/containers/json?{query}")[0] in (400, 404)
    assert api("POST", '/containers/prune?filters={"until":["1h"]}')[1]["ContainersDeleted"] is None
    assert api("POST", '/containers/prune?filters={"until":["soon"]}')[0] == 400
    assert api("POST", '/containers/prune?filters={"label!":["a"]}')[1]["ContainersDeleted"] == [ids[1]]
    assert api("GET", "/containers/json?limit=1&all=0")[1][0]["Names"] == ["/three"]
    assert api("GET", "/containers/json?size=1")[1][0]["SizeRootFs"] > 0


def test_states_have_their_status(api: Api) -> None:
    make(api, "aa", "sleep", "100")
    for action, statuses in (
        ("kill", [409]), ("pause", [409]), ("stop", [304]), ("start", [204, 304]), ("pause", [204, 409]),
        ("start", [409]), ("unpause", [204, 409]), ("kill?signal=nope", [400]), ("kill?signal=0", [400]),
        ("stop?t=nan", [400]), ("stop?signal=KILL&t=60", [204, 304]), ("rename?name=aa", [409]),
        ("rename?name=", [400]), ("resize?h=1&w=1", [409]), ("wait?condition=odd", [400]),
    ):  # fmt: skip
        for status in statuses:
            assert (action, api("POST", f"/containers/aa/{action}")[0]) == (action, status)
    for path in ("json", "top", "logs?stdout=1", "stats?stream=0", "changes", "archive?path=/"):
        assert api("GET", f"/containers/nobody/{path}")[0] == 404


def test_killed_means_ended(api: Api) -> None:
    make(api, "aa", "sleep", "100")
    api("POST", "/containers/aa/start")
    assert api("POST", "/containers/aa/kill")[0] == 204
    state = api("GET", "/containers/aa/json")[1]["State"]
    assert (state["Running"], state["ExitCode"]) == (False, 137)


def test_a_removed_container_keeps_nobody_waiting(api: Api) -> None:
    for condition in ("next-exit", "removed"):
        make(api, "aa", "true")
        with api.socket() as client:
            client.sendall(
                b"POST /v1.44/containers/aa/wait?condition=%b HTTP/1.1\r\nHost: x\r\n\r\n"
                % condition.encode()
            )
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
            assert api("DELETE", "/containers/aa")[0] == 204
            assert b'"StatusCode":0' in client.recv(4096)


def framed(text: bytes) -> list[tuple[int, bytes]]:
    found = []
    while text:
        length = int.from_bytes(text[4:8], "big")
        found.append((text[0], text[8 : 8 + length]))
        text = text[8 + length :]
    return found


def attach(api: Api, path: str, body: bytes = b"") -> tuple[socket.socket, bytes]:
    """A connection that was taken over, and what came with the answer."""
    client = api.socket()
    head = f"POST /v1.44/{path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    client.sendall(head.encode() + body)
    heard = b""
    while b"\r\n\r\n" not in heard:
        heard += client.recv(4096)
    return client, heard.partition(b"\r\n\r\n")[2]


def rest_of(client: socket.socket) -> bytes:
    with client:
        return b"".join(iter(lambda: client.recv(4096), b""))


def test_attach_tells_the_past(api: Api) -> None:
    make(api, "aa", "sh", "-c", "echo one; echo two >&2; printf three; sleep 100")
    api("POST", "/containers/aa/start")
    told: set[tuple[int, bytes]] = set()
    while (1, b"three") not in told:
        client, heard = attach(api, "containers/aa/attach?logs=1&stdout=1&stderr=1")
        told = set(framed(heard + rest_of(client)))
    assert told == {(1, b"one\n"), (2, b"two\n"), (1, b"three")}


@pytest.mark.parametrize(("query", "keys"), [("", b"\x10\x11"), ("&detachKeys=ctrl-x,a", b"\x18a")])
def test_keys_detach(api: Api, query: str, keys: bytes) -> None:
    make(api, "aa", "cat", OpenStdin=True, Tty=True)
    api("POST", "/containers/aa/start")
    client, heard = attach(api, f"containers/aa/attach?stream=1&stdin=1&stdout=1{query}")
    client.sendall(keys[:1] + b"x\n" + keys[:1])  # the first key alone means nothing
    while b"x\r\n" not in heard:
        heard += client.recv(4096)
    client.sendall(keys[1:] + b"never seen")
    assert b"never" not in rest_of(client)
    assert api("GET", "/containers/aa/json")[1]["State"]["Running"]


def test_input_that_nobody_reads(api: Api) -> None:
    """Two clients type more than the pipe holds; the end of one's input is the end of the container's."""
    make(api, "aa", "sh", "-c", "sleep 1; cat >/dev/null; echo done", OpenStdin=True, StdinOnce=True)
    api("POST", "/containers/aa/start")
    clients = [attach(api, "containers/aa/attach?stream=1&stdin=1&stdout=1")[0] for _ in range(2)]
    for client in clients:
        client.setblocking(False)
        with suppress(BlockingIOError):
            client.sendall(b"x" * 300_000)
        client.setblocking(True)
    clients[0].shutdown(socket.SHUT_WR)
    assert [framed(rest_of(client)) for client in clients] == [[(1, b"done\n")]] * 2
    assert api("POST", "/containers/aa/wait")[1]["StatusCode"] == 0


def test_the_client_says_how_it_reads_an_exec(api: Api) -> None:
    """docker-py makes one with a terminal and starts it without saying so: then it wants frames."""
    make(api, "aa", "sleep", "100")
    api("POST", "/containers/aa/start")
    for tty in (False, True):
        asked = {"Cmd": ["echo", "hi"], "Tty": True, "AttachStdout": True}
        run = api("POST", "/containers/aa/exec", asked)[1]["Id"]
        client, heard = attach(api, f"exec/{run}/start", json.dumps({"Tty": tty}).encode())
        heard += rest_of(client)
        assert heard == b"hi\r\n" if tty else framed(heard) == [(1, b"hi\r\n")]


def test_stats_have_their_shape(api: Api) -> None:
    make(api, "aa", "sh", "-c", "while :; do :; done")
    api("POST", "/containers/aa/start")
    once = api("GET", "/containers/aa/stats?stream=0&one-shot=1")[1]
    assert once["precpu_stats"]["cpu_usage"]["total_usage"] == 0 and once["preread"].startswith("0001")
    both = api("GET", "/containers/aa/stats?stream=0")[1]
    now, before = both["cpu_stats"], both["precpu_stats"]
    assert 0 < before["cpu_usage"]["total_usage"] < now["cpu_usage"]["total_usage"]
    assert before["system_cpu_usage"] < now["system_cpu_usage"] and both["networks"]["eth0"]
    api("POST", "/containers/aa/kill")
    assert api("GET", "/containers/aa/stats?stream=0")[1]["cpu_stats"]["cpu_usage"]["total_usage"] == 0


def test_events_are_told_until(api: Api) -> None:
    make(api, "aa", "sh", "-c", "exit 3")
    api("POST", "/containers/aa/start")
    api("POST", "/containers/aa/wait")
    api("DELETE", "/containers/aa")

    def told(**query: Any) -> list[Any]:
        query["filters"] = json.dumps({"container": ["aa"], "type": ["container"]})
        connection = http.client.HTTPConnection("engine")
        connection.sock = api.socket()
        connection.request("GET", f"/events?{urlencode(query)}")
        return [json.loads(line) for line in connection.getresponse().read().splitlines()]

    events = told(since=0, until=time.time())
    assert [one["Action"] for one in events] == ["create", "start", "die", "destroy"]
    attributes = events[2]["Actor"]["Attributes"]
    assert attributes == {**attributes, "exitCode": "3", "image": "busybox", "name": "aa"}
    assert told(since=0, until=events[0]["timeNano"] / 1e9 - 1) == []


def test_a_hundred_megabytes_are_refused(engine: Engine, api: Api) -> None:
    """They are not kept in memory either."""

    def pieces() -> Iterator[bytes]:
        yield b'{"Image": "'
        for _ in range(100):
            yield b"x" * (1 << 20)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in ("/containers/create", "/networks/create", "/volumes/create"):
        with suppress(ConnectionError):  # it need not hear all
            assert api("POST", path, pieces())[0] == 413
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
    assert api("GET", "/containers/json")[0] == 200


def test_half_a_request_hinders_nobody(root: Path, tmp_path: Path) -> None:
    with serve(tmp_path / "kit.sock", root) as engine:
        api = Api(engine.socket)
        halves = [api.socket() for _ in range(50)]
        for client in halves:
            client.sendall(
                b"POST /v1.44/containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
            )
        assert api("GET", "/containers/json")[0] == 200
    for client in halves:  # the engine has ended all the same
        with client, suppress(ConnectionError):
            assert client.recv(4096) == b""


def test_a_log_flood_is_kept_small(engine: Engine, api: Api) -> None:
    log = {"Type": "json-file", "Config": {"max-size": "64k", "max-file": "2"}}
    container = make(api, "aa", "sh", "-c", "yes flood | head -c 2000000", HostConfig={"LogConfig": log})
    api("POST", "/containers/aa/start")
    api("POST", "/containers/aa/wait")
    files = list((engine.root / "containers" / container).glob("*-json.log*"))
    assert len(files) == 2 and all(file.stat().st_size < 128 << 10 for file in files)
    make(api, "bb", "echo", "x", HostConfig={"LogConfig": {"Type": "none"}})
    api("POST", "/containers/bb/start")
    api("POST", "/containers/bb/wait")
    assert api("GET", "/containers/bb/logs?stdout=1")[0] == 501
