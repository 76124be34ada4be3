"""The wire view tells every request that the engine got, by whom, and what went both ways."""

import re
import shutil
import subprocess

import pytest

from kit import lab
from kit.engine import Exchange
from kit.lab.wire import KINDS, Wire, _request
from tests.lab.conftest import MEASURED

pytestmark = pytest.mark.needs("root")
ID = "0123456789ab" + "cd" * 26


def test_the_life_of_a_container(engine, client, capsys):
    client.ping()
    with lab.wire(engine, "one run") as view:
        assert client.containers.run("busybox", ["echo", "hi"], remove=True) == b"hi\n"
    client.ping()
    told = [
        (one.method, re.sub(r"/v1\.\d+|\?.*|[0-9a-f]{64}", "", one.path), one.status) for one in view.requests
    ]
    assert told[0] == ("POST", "/containers/create", 201)
    assert ("POST", "/containers//start", 204) in told
    assert told[-1] == ("DELETE", "/containers/", 204)
    create = view.requests[0]
    assert create.asked.startswith("Docker SDK "), "who asked"
    assert '"Image": "busybox"' in create.bodies[0]
    assert re.fullmatch(r'\{\n  "Id": "[0-9a-f]{64}",\n.*', create.bodies[1], re.DOTALL)
    assert [one.at for one in view.requests] == sorted(one.at for one in view.requests)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(f"one run: {len(told)} requests")
    assert not [line for line in printed if re.search("[0-9a-f]{13}", line)], "a long id"


@pytest.mark.needs("docker")
def test_the_docker_command_and_a_connection_taken_over(engine, tmp_path):
    env = {"DOCKER_HOST": f"unix://{engine.socket}", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [shutil.which("docker"), "run", "--rm", "busybox", "echo", "hi"]
    with lab.wire(engine) as view:
        assert subprocess.run(command, env=env, check=True, capture_output=True).stdout == b"hi\n"
    flows = {one.flow: one for one in view.requests}
    assert "/attach?" in flows["taken over"].path and flows["taken over"].status == 101
    assert "/wait?" in flows["stream"].path
    html = view.html()
    assert html.count('role="row"') == len(view.requests)
    assert html.count("kit-taken-over") == 1 + view.html().count("kit-taken-over .")
    assert "1 taken over" in html and "docker command" in html


def test_a_client_that_is_refused_ends_nothing(engine, client):
    with pytest.raises(ZeroDivisionError), lab.wire(engine) as view:
        assert not client.containers.list(filters={"name": "x"})
        client.api.containers(filters={"name": "<b>"})
        raise ZeroDivisionError
    client.ping()
    assert [one.kind for one in view.requests] == ["containers"] * 2, "it has let go of the engine"
    assert "<code>/v1.44/containers/json" in view.html() and "&quot;&lt;b&gt;" in view.html()
    assert '{"name"' in view.requests[0].path, "the filters can be read"


def test_the_picture():
    sent, received = '{"Cmd": ["<script>"]}', '{"message": "No such container: x\x1b[2J"}'
    command = "Docker-Client/28.2.2 (linux)"
    heard = [
        Exchange("POST", "/v1.44/containers/create?name=x", sent, 404, received, "whole", command),
        Exchange("POST", f"/containers/{ID}/wait", "", 200, "", "stream", "docker-sdk-python/7.1.0"),
        Exchange("GET", "/_ping", "", 200, "OK", "whole", "curl/7.88"),
    ]  # fmt: skip
    view = Wire("engine", "all sorts", [_request(one, number / 8) for number, one in enumerate(heard)])
    data = view._repr_mimebundle_()
    assert data["text/plain"] == "[wire] all sorts"
    assert MEASURED.sub("", data["text/html"]) == ""
    html = data["text/html"]
    rows = html.split('<div role="row"')[1:]
    assert [one.kind for one in view.requests] == ["containers", "containers", "system"]
    assert "docker command 28.2.2" in rows[0] and "Docker SDK 7.1.0" in rows[1] and "curl 7.88" in rows[2]
    assert "<b>clients</b>" in html and "0.125 s" in rows[1]
    assert "&lt;script&gt;" in rows[0] and "<script>" not in html and "\x1b" not in html
    assert rows[0].count("<details>") == 2 and "kit-refused" in rows[0]
    assert f"/containers/{ID[:12]}…/wait<" in rows[1], "the id is cut"
    assert "no request yet" in Wire("engine", "", []).html()
    assert "system" not in KINDS
