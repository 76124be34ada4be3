"""A cell interrupted, a kernel killed in the middle of each demonstration: after kit clean nothing stays."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.leaks import left_since, look

ROOT = Path(__file__).resolve().parents[1]


def demonstrations() -> Iterator[tuple[str, str, list[str]]]:
    """(name, the chapter's first code cell, the code cells of one numbered section) for each section."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        first, title, section = "", "", []
        for cell in json.loads(path.read_text())["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown" and (heading := re.search(r"^## (.+)$", source, re.MULTILINE)):
                if section:
                    yield title, first, section
                title, section = f"{path.stem} {heading[1]}", []
            elif cell["cell_type"] == "code":
                if not first:
                    first = source
                elif re.search(r" \d+ · ", title):
                    section.append(source)


def busy(client: BlockingKernelClient, code: str) -> str:
    """Send code and wait until the kernel works on it; the message's id."""
    sent = client.execute(code)
    while True:
        message = client.get_iopub_msg(timeout=60)
        ours = message["parent_header"].get("msg_id") == sent
        if ours and message["header"]["msg_type"] == "execute_input":
            return sent


def idle(client: BlockingKernelClient, sent: str) -> None:
    while True:
        message = client.get_iopub_msg(timeout=120)
        ours = message["parent_header"].get("msg_id") == sent
        if ours and message["content"].get("execution_state") == "idle":
            return


@pytest.mark.needs("root")
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "first", "section"), list(demonstrations()), ids=lambda value: str(value)[:60]
)
def test_interrupted_then_killed(name, first, section, tmp_path):
    before = look()
    env = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(ROOT / "notebooks"), env={**env, "XDG_STATE_HOME": str(tmp_path)})
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        idle(client, client.execute(first))
        for number, code in enumerate(section):
            sent = busy(client, code)
            if number == 0:
                time.sleep(0.15)  # somewhere in the middle: wherever that is, nothing may stay
                manager.interrupt_kernel()
            if number == len(section) - 1:
                time.sleep(0.15)
            else:
                idle(client, sent)
        os.kill(manager.provisioner.pid, signal.SIGKILL)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    clean = subprocess.run([sys.executable, "-m", "kit", "clean"], cwd=ROOT, capture_output=True, text=True)
    assert clean.returncode == 0, clean.stderr
    assert not left_since(before)
    listed = subprocess.run(
        [sys.executable, "-m", "kit", "clean", "--dry-run"], cwd=ROOT, capture_output=True
    )
    assert listed.stdout == b""
