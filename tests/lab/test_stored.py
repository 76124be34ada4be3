"""A notebook with live views and sliders agrees with its own stored outputs: strictly, and again."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = [pytest.mark.needs("root"), pytest.mark.timeout(300)]

CELLS = """\
from kit import lab
from kit.cgroups import Cgroup, loads
group = Cgroup("lab-stored")
group["cpu.max"] = (50_000, 100_000)
---
lab.limits(group, memory_max=True)
---
view = lab.live(group, seconds=2)
worker = group.start(loads.busy())
view.wait()
---
view
---
second = lab.live(group, seconds=600)
---
second.stop()
second.wait()
---
lab.live(group, seconds=600).stop()
---
lab.cgroup_tree(group)
---
lab.plot(view, title="the same again")
---
lab.progress()
---
worker.close()
group.close()
"""
IMAGES = """\
from pathlib import Path
from kit import lab
from kit.images import mount, scratch_store, seed
store = scratch_store()
base = seed(store, ["hello-world", "busybox"])
context = Path("context")
context.mkdir(exist_ok=True)
_ = (context / "Dockerfile").write_text("FROM busybox\\nRUN date; sleep 0.5; date > /now\\n")
---
built = lab.build(store, context, tags=["shop"])
---
built = lab.build(store, context, tags=["shop"])
print([step.cached for step in built.steps])
---
lab.explore(built.image, "the shop")
---
with mount(store, built.image) as rootfs:
    (rootfs.path / "etc" / "passwd").unlink()
    picture = lab.overlay(rootfs)
picture
---
lab.sizes(base)
---
lab.shared({**base, "shop": built.image})
---
store.close()
"""
REGISTRIES = """\
from kit import lab
from kit.images import scratch_store, seed
from kit.registries import Client
from kit.registries.server import serve
store, hub_store, mirror_store = scratch_store(), scratch_store(), scratch_store()
base = seed(store, ["hello-world", "busybox"])
hub = serve(hub_store.directory)
mirror = serve(mirror_store.directory, mirror_of=hub.url)
---
name = f"{hub.address}/library/busybox:latest"
store.tag(name, base["busybox"].descriptor)
with lab.watching(hub):
    pushed = lab.push(store, name)
---
with Client(hub.address) as client:
    client.get("/v2/library/busybox/tags/list")
lab.exchanges(client)
---
for _ in range(3):
    with scratch_store() as student:
        image = lab.pull(student, "busybox", mirrors=[mirror.address])
---
lab.saved(mirror)
---
lab.exchanges(mirror, "what the mirror was asked")
---
mirror.close()
hub.close()
for one in (store, hub_store, mirror_store):
    one.close()
"""
CONTAINERS = """\
from pathlib import Path
import docker
from kit import lab
from kit.engine import serve
from kit.images import Store, seed
_ = seed(Store("data/images"), ["busybox"])
engine = serve("kit.sock", "data")
client = docker.DockerClient(f"unix://{Path('kit.sock').absolute()}")
---
with lab.wire(engine, "one run"):
    client.containers.run("busybox", "true", remove=True)
---
busy = ["sh", "-c", "while :; do :; done"]
web = client.containers.run("busybox", busy, name="web", detach=True)
lab.found(engine, "web")
---
view = lab.stats(engine, "web", seconds=1)
view.wait()
---
web.remove(force=True)
lab.lifecycle(engine, "web")
---
lab.starts({"processes": [0.0006, 0.0007], "containers": [0.04]})
---
lab.costs({"processes": {"start": 0.01, "memory": 2e6}, "containers": {"start": 0.02, "memory": 3e6}})
---
client.close()
engine.close()
"""
ROOT = Path(__file__).resolve().parents[2]


def stored(cells, tmp_path, monkeypatch):
    """A notebook that has been run from top to bottom."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.chdir(tmp_path)
    notebook = new_notebook(cells=[new_code_cell(source) for source in cells.split("---\n")])
    NotebookClient(notebook, timeout=60, kernel_name="python3", store_widget_state=False).execute()
    return notebook


def compare(notebook, tmp_path):
    """Run it again, strictly compared with its own outputs, twice."""
    file = tmp_path / "stored.ipynb"
    nbformat.write(notebook, file)
    (tmp_path / "measured.cfg").write_text("regex: (?s)<!--m-->.*?<!--/m-->\nreplace: measured\n")
    options = "-q -p no:cacheprovider --nbval --nbval-cell-timeout=60 --nbval-sanitize-with=measured.cfg"
    for _ in range(2):
        command = [sys.executable, "-m", "pytest", *options.split(), str(file)]
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout[-3000:]


def test_live_views_and_sliders(tmp_path, monkeypatch):
    notebook = stored(CELLS, tmp_path, monkeypatch)
    shown = [output for cell in notebook.cells for output in cell.outputs]
    assert not [output for output in shown if output.output_type in ("error", "stream")]
    live = [output.data for output in shown if output.data["text/plain"].startswith("[live view]")]
    assert len(live) == 4
    for data in live[:3]:
        assert "widget-view" not in str(data.keys()), "a dead widget would stay in the stored notebook"
        assert "<img alt=" in data["text/html"]
        assert len(data["image/png"]) > 10_000
    compare(notebook, tmp_path)


def test_images_and_their_builds(tmp_path, monkeypatch):
    notebook = stored(IMAGES, tmp_path, monkeypatch)
    shown = [output.data for cell in notebook.cells for output in cell.outputs if "data" in output]
    assert [data["text/plain"] for data in shown] == [
        "[build] build of shop",
        "[build] build of shop",
        "[picture] the shop",
        "[explorer] the shop",
        "[picture] one tree out of several",
        "[picture] the size of an image, and of an operating system",
        "[picture] layers that images share",
    ]
    compare(notebook, tmp_path)


def test_registries_and_their_exchanges(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker-config"))
    notebook = stored(REGISTRIES, tmp_path, monkeypatch)
    shown = [output.data for cell in notebook.cells for output in cell.outputs if "data" in output]
    assert [data["text/plain"] for data in shown] == [
        "[exchanges] requests and answers",
        "[push] library/busybox",
        "[exchanges] requests and answers",
        *["[pull] library/busybox"] * 3,
        "[picture] what the mirror saves",
        "[exchanges] what the mirror was asked",
    ]
    compare(notebook, tmp_path)


def test_an_engine_and_its_containers(tmp_path, monkeypatch):
    notebook = stored(CONTAINERS, tmp_path, monkeypatch)
    shown = [output.data for cell in notebook.cells for output in cell.outputs if "data" in output]
    assert [data["text/plain"] for data in shown] == [
        "[wire] one run",
        "a container, from both sides",
        "[live view] what web uses",
        "[picture] the life of a container",
        "[picture] start times",
        "[picture] what isolation costs",
    ]
    compare(notebook, tmp_path)
