"""A transfer that is watched: the same image, a bar for each blob, a table that stays."""

import os
import re
import threading
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from kit import lab
from kit.images.entry import Entry
from kit.images.store import Store
from kit.lab.transfer import TransferView
from kit.registries import pull, push
from kit.registries.progress import Event
from kit.registries.refusals import Unreachable
from tests.lab.conftest import MEASURED
from tests.lab.test_explorer import directory, image
from tests.registries.scripted import nobody

ROOT = Path(__file__).resolve().parents[2]
ONE, OTHER = (f"sha256:{letter * 64}" for letter in "ab")


def cells(html):
    """The rows of the table as text, one cell after the other."""
    found = html.split('<div role="row"')[1:]
    each = (re.split(r'<div role="cell" class="[^"]*">', row)[1:] for row in found)
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in each]


@pytest.fixture
def name(tmp_path, registry):
    """The name of an image of two layers, which is in ``tmp_path / "store"``, in an empty registry."""
    data = Entry("data", "file", 0o644, data=os.urandom(3_000_000))
    made = image(tmp_path, ("ADD base", directory("etc")), ("RUN make data", data))
    name = f"{registry.address}/shop:latest"
    made.store.tag(name, made.descriptor)
    return name


@pytest.fixture
def store(tmp_path, name):
    return Store(tmp_path / "store")


def test_a_push_and_a_pull(tmp_path, store, name):
    view = TransferView("the push")
    push(store, name, progress=view)
    found = cells(view.html())
    assert len(found) == 3
    assert [row[3] for row in found] == ["transferred"] * 3
    assert "3 blobs: 3 MB of 3 MB transferred, for " in view.html()
    view.end()
    assert "3 blobs: 3 MB of 3 MB transferred, in " in view.html()

    again = TransferView("again")
    push(store, name, progress=again)
    assert [row[3] for row in cells(again.html())] == ["there already"] * 3
    assert "0 B of 3 MB transferred, 3 there already" in again.html()

    down = TransferView("the pull")
    image = pull(Store(tmp_path / "other"), name, progress=down)
    down.name(image)
    assert [row[1] for row in cells(down.html())] == ["configuration", "layer 1", "layer 2"]
    assert [row[0] for row in cells(down.html())] == [
        digest[7:19] for digest in (image.config_descriptor.digest, *(one.digest for one in image.layers))
    ]


def test_what_another_repository_has_is_mounted(store, name):
    push(store, name)
    other = name.replace("/shop", "/market")
    store.tag(other, store.resolve(name))
    view = TransferView("t")
    push(store, other, progress=view)
    assert [row[3] for row in cells(view.html())] == ["mounted"] * 3
    assert "3 mounted" in view.html()


def test_a_transfer_on_its_way():
    view = TransferView("t")
    view(Event(ONE, "waiting", 0, 1000))
    view(Event(OTHER, "waiting", 0, 3000))
    view(Event(ONE, "transferring", 250, 1000))
    assert cells(view.html())[0] == ["a" * 12, "", "", "25 %", "1 kB"]
    assert cells(view.html())[1][3] == "waiting"
    assert 'style="width:25%"' in view.html()
    view(Event(ONE, "trying again", 250, 1000))
    assert cells(view.html())[0][3] == "trying again"
    view(Event(ONE, "transferred", 1000, 1000))
    view.end()
    assert [row[3] for row in cells(view.html())] == ["transferred", "✗ stopped"]
    assert "2 blobs: 1 kB of 4 kB transferred, in " in view.html()


def test_outside_of_a_notebook_it_is_printed(tmp_path, store, name, capsys):
    pushed = lab.push(store, name)
    assert capsys.readouterr().out.count(": Pushed\n") == 3
    assert lab.pull(Store(tmp_path / "other"), name).descriptor.digest == pushed.digest
    assert capsys.readouterr().out.count(": Pull complete\n") == 3


def test_nothing_runs_on(tmp_path):
    before = threading.active_count()
    with nobody() as address, pytest.raises(Unreachable):
        lab.pull(Store(tmp_path / "other"), f"{address}/nothing")
    assert threading.active_count() == before


CELLS = """\
from kit import lab
from kit.images.store import Store
store = Store({store!r})
---
pushed = lab.push(store, {name!r})
---
image = lab.pull(Store({other!r}), {name!r})
print(image.descriptor.digest == pushed.digest)
---
import json
from kit.images.descriptor import OCI_INDEX
other = {{"os": "linux", "architecture": "none-of-ours"}}
entry = {{"mediaType": pushed.media_type, "digest": pushed.digest, "size": pushed.size, "platform": other}}
index = json.dumps({{"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}})
store.tag({name!r} + "-index", store.put(index.encode(), OCI_INDEX))
print(lab.push(store, {name!r} + "-index").media_type)
---
try:
    lab.pull(store, {name!r} + "2")
except Exception as why:
    print(type(why).__name__)
"""


@pytest.mark.timeout(180)
def test_the_table_stays_in_a_stored_notebook(tmp_path, store, name, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    names = {"store": str(store.directory), "other": str(tmp_path / "other"), "name": name}
    sources = CELLS.format(**names).split("---\n")
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    _, pushed, pulled, foreign, failed = (cell.outputs for cell in notebook.cells)
    assert [one.data["text/plain"] for one in pushed] == ["[push] shop"], "no port: it is another each time"
    assert pulled[0].data["text/plain"] == "[pull] shop"
    for shown in (pushed, pulled):
        html = shown[0].data["text/html"]
        assert MEASURED.sub("", html) == ""
        assert [row[1] for row in cells(html)] == ["configuration", "layer 1", "layer 2"]
        assert [row[3] for row in cells(html)] == ["transferred"] * 3
    assert pulled[1].text == "True\n"
    assert [row[1] for row in cells(foreign[0].data["text/html"])] == [""] * 3
    assert foreign[1].text == "application/vnd.oci.image.index.v1+json\n"
    assert cells(failed[0].data["text/html"]) == []
    assert failed[1].text == "NotInRegistry\n"
    nbformat.validate(notebook)
