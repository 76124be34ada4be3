"""What chapter 06 shows, in a real browser: the wire view while it grows, and its bodies opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from kit.images import seed
from kit.images.store import Store
from tests.browser.test_chapter04 import ERRORS, RUN_ALL
from tests.browser.test_chapter05 import SCREENSHOTS, jupyterlab
from tests.browser.test_chapter07 import PLACES

pytestmark = [pytest.mark.needs("root"), pytest.mark.timeout(300)]

CELLS = """\
import time
import docker
from kit import lab
from kit.engine import serve
engine = serve({socket!r}, {root!r})
client = docker.DockerClient("unix://" + {socket!r})
---
with lab.wire(engine, "one after the other"):
    web = client.containers.create("busybox", ["sh", "-c", "sleep 2; echo hi"], name="web")
    for step in (client.ping, web.start, lambda: list(web.attach(stream=True)), web.wait):
        step()
        time.sleep(0.7)
---
web.start()
lab.found(engine, "web")
---
view = lab.stats(engine, "web", seconds=1)
view.wait()
---
web.remove(force=True)
lab.lifecycle(engine, "web")
---
lab.starts({{"processes": [0.0006, 0.0007, 0.0009], "containers": [0.041, 0.038, 0.05]}})
---
processes = {{"start": 0.0101, "memory": 2.1e6, "disk": 1.1e6}}
lab.costs({{"processes": processes, "containers": {{"start": 0.0242, "memory": 3e6, "disk": 1.2e6}}}})
---
client.close()
engine.close()
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_an_engine_at_work(tmp_path: Path, dark: bool) -> None:
    seed(Store(tmp_path / "data" / "images"), ["busybox"])
    names = {"socket": str(tmp_path / "kit.sock"), "root": str(tmp_path / "data")}
    notebook = new_notebook(cells=[new_code_cell(code) for code in CELLS.format(**names).split("---\n")])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    with jupyterlab(tmp_path, notebook, dark=dark) as tab:
        tab.evaluate(RUN_ALL)
        rows = ".kit-wire [role=row]"
        tab.wait_for_function(f"() => [2, 3, 4].includes(document.querySelectorAll('{rows}').length)")
        tab.wait_for_function("() => window.finished", timeout=60_000)
        assert tab.evaluate(ERRORS) == []
        create = tab.locator(rows).filter(has_text="/containers/create").first
        assert not create.locator("pre").first.is_visible()
        create.locator("summary").first.click()
        assert '"Image": "busybox"' in create.locator("pre").first.inner_text()
        assert tab.locator(".kit-wire .kit-stream").count() >= 1

        # An arrow begins and ends at the line of who speaks, and nothing is wider than the page.
        for left, right, arrows in tab.evaluate(PLACES):
            assert all(left <= start < end <= right for start, end in arrows)
        for view in tab.locator(".kit-wire, .kit-wire pre").all():
            assert view.evaluate("(one) => one.scrollWidth <= one.clientWidth")
        assert tab.locator("img.kit-picture").count() == 4
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        tab.locator(".kit-wire").scroll_into_view_if_needed()
        tab.screenshot(path=SCREENSHOTS / f"chapter06-{'dark' if dark else 'light'}.png")
