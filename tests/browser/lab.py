"""A real JupyterLab in a real Chromium, in directories of their own: the user's own are left alone."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REQUIRE_PRIVILEGES

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(home: Path, *, dark: bool = False) -> Iterator[str]:
    """JupyterLab serving the directory ``home/notebooks``. Yields the address of a page, token and all."""
    work, config = home / "notebooks", home / "config"
    work.mkdir(parents=True, exist_ok=True)
    (config / "labconfig").mkdir(parents=True)
    off = {"@jupyterlab/apputils-extension:announcements": True}
    (config / "labconfig" / "page_config.json").write_text(json.dumps({"disabledExtensions": off}))
    theme = {"theme": "JupyterLab Dark" if dark else "JupyterLab Light"}
    whole = {"windowingMode": "none"}  # else a cell out of sight is not in the page
    for name, values in {"apputils-extension/themes": theme, "notebook-extension/tracker": whole}.items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values))
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "XDG_STATE_HOME": str(home / "state"),
        "PYTHONPATH": str(ROOT),
    }
    port, token = free_port(), secrets.token_hex(16)
    command = (
        f"-m jupyterlab --no-browser --allow-root --ip=127.0.0.1 --port={port} --ServerApp.port_retries=0 "
        f"--IdentityProvider.token={token} --expose-app-in-browser --ServerApp.root_dir={work}"
    )
    log = open(home / "server.log", "wb")  # noqa: SIM115  it lives as long as the server
    process = subprocess.Popen(
        [sys.executable, *command.split()], cwd=work, env=environment, stdout=log, stderr=log
    )
    try:
        _answers(f"http://127.0.0.1:{port}/api?token={token}", process, home / "server.log")
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token={token}"
    finally:
        process.terminate()  # it shuts its kernels down
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()
        # The server kills a kernel that is slow to go; what that leaves is for kit clean.
        subprocess.run(
            [sys.executable, "-m", "kit", "clean"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
        )


def _answers(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not answer: {log.read_text()[-2000:]}")


def need_chromium() -> None:
    """Skip a test where there is no Chromium, or fail where there must be one."""
    if CHROMIUM is None:
        reason = "needs a Chromium: install Debian's package chromium"
        pytest.fail(reason, pytrace=False) if REQUIRE_PRIVILEGES else pytest.skip(reason)


@contextmanager
def page(home: Path, *, width: int = 1280, height: int = 900) -> Iterator[Any]:
    """A page of a headless Chromium with a profile of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            str(home / "browser"), executable_path=CHROMIUM, headless=True, args=QUIET,
            viewport={"width": width, "height": height}, device_scale_factor=2,
        )  # fmt: skip
        try:
            yield browser.pages[0]
        finally:
            browser.close()


READY = """async () => {
  const until = async (what) => { while (!what()) await new Promise((done) => setTimeout(done, 50)); };
  await until(() => window.jupyterapp?.shell?.currentWidget?.context);
  const panel = window.jupyterapp.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  await until(() => panel.sessionContext.session?.kernel);
  await panel.sessionContext.session.kernel.info;
}"""


def open_notebook(page: Any, address: str, name: str) -> None:
    """Open a notebook and wait until its kernel answers (the idle indicator lies)."""
    page.goto(address.format(name))
    page.evaluate(READY)
