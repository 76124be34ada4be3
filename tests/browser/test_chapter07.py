"""What chapter 07 shows, in a real browser: requests and transfers while they go on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from kit.images.entry import Entry
from kit.registries import push
from kit.registries.server import serve
from tests.browser.test_chapter04 import ERRORS, RUN_ALL
from tests.browser.test_chapter05 import SCREENSHOTS, jupyterlab
from tests.lab.test_explorer import directory, image
from tests.registries.scripted import Wire

pytestmark = pytest.mark.timeout(300)

CELLS = """\
import time
from kit import lab
from kit.images.store import Store
from kit.registries import Client
from kit.registries.server import serve
registry = serve("registry", mirror_of={hub!r})
client = Client(registry.address)
---
with lab.watching(registry, "one after the other"):
    for number in range(4):
        client.get("/v2/library/shop/manifests/latest" if number else "/v2/")
        time.sleep(0.7)
---
image = lab.pull(Store("one"), {name!r})
---
image = lab.pull(Store("two"), "shop", mirrors=[registry.address])
image = lab.pull(Store("two"), "shop", mirrors=[registry.address])
---
lab.saved(registry)
---
client.close()
registry.close()
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_what_goes_over_the_wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dark: bool) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker-config"))
    data = Entry("data", "file", 0o644, data=os.urandom(3_000_000))
    made = image(tmp_path, ("ADD base", directory("etc")), ("RUN make data", data))
    with serve(tmp_path / "hub") as hub, Wire(hub.address, after=10_000, cuts=4) as wire:
        names = {"hub": hub.url, "name": f"{wire.address}/library/shop:latest"}
        made.store.tag(name := f"{hub.address}/library/shop:latest", made.descriptor)
        push(made.store, name)
        cells = [new_code_cell(code) for code in CELLS.format(**names).split("---\n")]
        notebook = new_notebook(cells=cells)
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        with jupyterlab(tmp_path, notebook, dark=dark) as tab:
            tab.evaluate(RUN_ALL)
            rows = ".kit-exchanges [role=row]"
            tab.wait_for_function(f"() => [2, 3, 4].includes(document.querySelectorAll('{rows}').length)")
            tab.wait_for_function("() => document.querySelector('.kit-transfer .kit-failed')")
            assert "trying again" in tab.locator(".kit-transfer").inner_text()
            tab.wait_for_function("() => window.finished", timeout=60_000)
            assert tab.evaluate(ERRORS) == []
            assert wire.broken == 4
            assert tab.locator(rows).count() == 5
            assert tab.locator(".kit-transfer .kit-done").count() == 6
            assert tab.locator(".kit-transfer .kit-cached").count() == 3
            assert tab.locator(".kit-transfer [role=row]").count() == 9

            # An arrow begins and ends at the line of who speaks, and nothing is wider than the page.
            for left, right, arrows in tab.evaluate(PLACES):
                assert all(left <= start < end <= right for start, end in arrows)
            for view in tab.locator(".kit-exchanges, .kit-transfer, .kit-state").all():
                assert view.evaluate("(one) => one.scrollWidth <= one.clientWidth")
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            tab.locator(".kit-exchanges").scroll_into_view_if_needed()
            tab.screenshot(path=SCREENSHOTS / f"chapter07-{'dark' if dark else 'light'}.png")


PLACES = """() => [...document.querySelectorAll('.kit-exchanges .kit-arrows')].map((cell) => {
  const box = (one) => one.getBoundingClientRect();
  const arrows = [...cell.querySelectorAll('i')].map((arrow) => [box(arrow).left, box(arrow).right]);
  return [box(cell).left, box(cell).right, arrows];
})"""
