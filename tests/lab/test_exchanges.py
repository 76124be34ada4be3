"""The arrows say what went over the wire, whoever of the two is asked, and no more than was there."""

import re
from collections import deque
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from kit import lab
from kit.images.descriptor import digest_of
from kit.lab.exchanges import MOST
from kit.lab.requests import request_of, short
from kit.registries import Client
from kit.registries.server.log import Access
from tests.lab.conftest import MEASURED

ROOT = Path(__file__).resolve().parents[2]
BLOB = b"0123456789" * 5000
DIGEST = digest_of(BLOB)


def push_by_hand(client):
    """A blob in two parts, then a manifest and what one asks of it."""
    path = client.post("/v2/team/app/blobs/uploads/").headers["Location"]
    for begin, end in ((0, 20_000), (20_000, len(BLOB))):
        headers = {"Content-Range": f"{begin}-{end - 1}"}
        path = client.patch(path, BLOB[begin:end], headers).headers["Location"]
    client.put(f"{path}{'&' if '?' in path else '?'}digest={DIGEST}")
    manifest = (
        b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [], '
    )
    manifest += b'"config": {"mediaType": "text/plain", "digest": "%b", "size": 50000}}' % DIGEST.encode()
    kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
    client.put("/v2/team/app/manifests/1", manifest, kind)
    client.get("/v2/team/app/manifests/1")
    client.head(f"/v2/team/app/blobs/{DIGEST}")
    client.get(f"/v2/team/app/blobs/{DIGEST}", {"Range": "bytes=10-19"})
    client.get("/v2/team/app/manifests/nothing")
    client.head("/v2/team/app/manifests/nothing")
    client.get("/v2/team/app/tags/list")
    client.get(f"/v2/team/app/referrers/{DIGEST}")


@pytest.fixture
def client(registry):
    with Client(registry.address) as made:
        push_by_hand(made)
        yield made


def test_both_sides_tell_the_same(registry, client):
    ours, theirs = lab.exchanges(client).requests, lab.exchanges(registry).requests
    kinds = "base upload upload upload upload manifest manifest blob blob manifest manifest tags referrers"
    assert [one.kind for one in ours] == kinds.split()
    for one, other in zip(ours, theirs, strict=True):
        for name in ("kind", "method", "path", "status", "reason", "up", "down"):
            assert getattr(one, name) == getattr(other, name), (name, one, other)
        assert one.asked == other.asked


def test_what_is_told_of_each(client):
    told = {(one.kind, one.method, one.status): one for one in lab.exchanges(client).requests}
    first, last = told["upload", "PATCH", 202], told["upload", "PUT", 201]
    assert (first.up, first.down) == (30_000, 0)
    assert first.asked == "Content-Range: 20000-49999"
    assert first.answered == "Range: 0-49999", "the Location is where it was sent to"
    assert "Location: /v2/team/app/blobs/uploads/" in told["upload", "POST", 202].answered
    assert "Location" not in last.answered
    assert short(last.path).endswith(f"digest={DIGEST[:19]}…")
    put, get = told["manifest", "PUT", 201], told["manifest", "GET", 200]
    assert put.asked.startswith("application/vnd.oci.image.manifest.v1+json")
    assert get.answered.startswith(
        "application/vnd.oci.image.manifest.v1+json · Docker-Content-Digest: sha256:"
    )
    assert get.down == put.up > 100
    part, head = told["blob", "GET", 206], told["blob", "HEAD", 200]
    assert (part.asked, part.answered) == ("Range: bytes=10-19", "Content-Range: bytes 10-19/50000")
    assert (part.down, head.down) == (10, 0), "the answer to a HEAD has no body"
    assert told["manifest", "GET", 404].answered == "MANIFEST_UNKNOWN"
    assert [told["manifest", method, 404].refused for method in ("GET", "HEAD")] == [True, False]


@pytest.mark.parametrize(
    ("whole", "shown"),
    [
        (f"/v2/a/blobs/{DIGEST}", f"/v2/a/blobs/{DIGEST[:19]}…"),
        (f"/v2/a/manifests/sha512:{'0f' * 64}", "/v2/a/manifests/sha512:0f0f0f0f0f0f…"),
        (f"?digest={DIGEST.replace(':', '%3A')}&mount=1", f"?digest=sha256%3A{DIGEST[7:19]}…&mount=1"),
        ("/v2/a/blobs/uploads/0ac9a508-d448-4bbe-83e5", "/v2/a/blobs/uploads/0ac9a508…"),
        (f"uploads/1?_state={'Ab_-' * 20}%3D", "uploads/1?_state=Ab_-Ab_-…"),
        ("?from=a-long/name-of-a/repository&last=a-tag-of-some-length", "") ,
        ("/v2/a/referrers/x?artifactType=application%2Fexample", ""),
        ("application/vnd.oci.image.index.v1+json · Range: 0-9", "oci.image.index.v1 · Range: 0-9"),
    ],
)  # fmt: skip
def test_what_is_long_is_cut_and_what_one_reads_is_not(whole, shown):
    assert short(whole) == (shown or whole)


def test_the_picture(client):
    shown = lab.exchanges(client, "a push")
    data = shown._repr_mimebundle_()
    assert data["text/plain"] == "[exchanges] a push"
    assert MEASURED.sub("", data["text/html"]) == ""
    rows = data["text/html"].split('<div role="row"')[1:]
    assert len(rows) == len(client.exchanges)
    assert re.findall(r"<b>(\w+)</b> <code>(.+?)</code>", rows[0]) == [("GET", "/v2/")]
    assert f"team/app/blobs/{DIGEST[:19]}…<" in data["text/html"]
    assert f'title="/v2/team/app/blobs/{DIGEST} ' in data["text/html"], "the whole digest is found there"
    assert data["text/html"].count("kit-refused") == 2  # in the style, and for the one no
    assert 'style="width:100.0%"' in data["text/html"]
    text = str(shown)
    assert f"\nHEAD /v2/team/app/blobs/{DIGEST[:19]}… → 200 OK" in text
    assert text.startswith("a push: 13 requests; 50.")


def test_a_list_and_what_strangers_say():
    path = "/v2/<b>/manifests/\x1b[2J\"'"
    shown = lab.exchanges([Access("GET", path, 299, headers={"Docker-Content-Digest": "<i>&"})])
    assert "<b>/manifests" not in shown.html()
    assert "\x1b" not in shown.html() + str(shown)
    assert "Docker-Content-Digest: &lt;i&gt;&amp;" in shown.html()
    assert "no request yet" in lab.exchanges([]).html()


def test_of_very_many_the_latest_are_drawn():
    shown = lab.exchanges([Access("GET", f"/v2/a/tags/list?n={number}", 200) for number in range(MOST + 40)])
    assert shown.html().count('role="row"') == MOST
    assert f"n={MOST + 39}<" in shown.html()
    assert "40 earlier requests not shown" in shown.html()
    assert len(shown.requests) == MOST + 40


def test_a_mirror_says_what_it_had_to_fetch():
    one = request_of(Access("GET", f"/v2/a/blobs/{DIGEST}", 200, sent=5_000, fetched=5_000), "")
    assert (one.down, one.fetched) == (5_000, 5_000)
    shown = lab.exchanges([Access("GET", f"/v2/a/blobs/{DIGEST}", 200, sent=5_000, fetched=5_000)])
    assert "5 kB fetched first" in shown.html()
    assert "5 kB fetched from the one behind it" in shown.html()


def test_watching_sees_what_comes_and_not_what_was(registry, client, capsys):
    with lab.watching(registry, "two more") as view:
        client.get("/v2/")
        client.get("/v2/team/app/tags/list")
    client.get("/v2/")
    assert [one.path for one in view.requests] == ["/v2/", "/v2/team/app/tags/list"]
    assert capsys.readouterr().out.splitlines()[1:] == [
        "GET /v2/ → 200 OK",
        "GET /v2/team/app/tags/list → 200 OK",
    ]


def test_watching_a_log_that_forgets():
    log = deque([Access("GET", "/v2/", 200)], maxlen=2)
    with lab.watching(log) as view:
        log.extend(Access("GET", f"/v2/{name}/tags/list", 200) for name in "abc")
    assert [one.path for one in view.requests] == ["/v2/b/tags/list", "/v2/c/tags/list"]


CELLS = """\
from kit import lab
from kit.registries import Client
from kit.registries.server import serve
registry = serve({directory!r})
client = Client(registry.address)
---
with lab.watching(registry) as view:
    client.get("/v2/")
---
view
---
with lab.watching(client, "a mistake"):
    client.get("/v2/a/tags/list")
    1 / 0
---
client.close()
registry.close()
"""


@pytest.mark.timeout(180)
def test_the_arrows_stay_in_a_stored_notebook(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker-config"))
    sources = CELLS.format(directory=str(tmp_path / "registry")).split("---\n")
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=60, kernel_name="python3", allow_errors=True).execute()
    _, watched, again, mistaken, _ = (cell.outputs for cell in notebook.cells)
    assert [one.data["text/plain"] for one in (*watched, *again)] == ["[exchanges] requests and answers"] * 2
    assert watched[0].data["text/html"] == again[0].data["text/html"]
    assert "<code>/v2/</code>" in again[0].data["text/html"]
    assert mistaken[0].data["text/plain"] == "[exchanges] a mistake"
    assert "NAME_UNKNOWN" in mistaken[0].data["text/html"]
    assert mistaken[1].ename == "ZeroDivisionError"
    nbformat.validate(notebook)
