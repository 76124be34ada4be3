"""Health checks: a program run inside again and again; its exit status says how the container is.

See HEALTHCHECK in the Dockerfile reference.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from kit.engine.execs import Run
from kit.engine.logs import stamp
from kit.engine.stdio import Client
from kit.images.documents import Document

if TYPE_CHECKING:
    from kit.engine.container import Container
    from kit.engine.server import Engine

_KEPT, _LONGEST = 5, 4096  # results, and characters of each


class _Ear(Client):
    """Keeps the beginning of what is printed."""

    def __init__(self) -> None:
        self.heard, self.gone = bytearray(), asyncio.Event()

    async def hear(self, stream: int, data: bytes) -> None:
        self.heard += data[: _LONGEST - len(self.heard)]


async def watch(engine: Engine, container: Container, check: Document) -> None:
    """Check until the container ends."""
    kind, *words = check.get("Test") or ["NONE"]
    if kind == "NONE" or not words:
        return
    command = ["/bin/sh", "-c", words[0]] if kind == "CMD-SHELL" else words
    interval, timeout = (float(check.get(name) or 30e9) / 1e9 for name in ("Interval", "Timeout"))
    grace, began = float(check.get("StartPeriod") or 0) / 1e9, time.monotonic()
    health = container.state["Health"] = {"Status": "starting", "FailingStreak": 0, "Log": []}
    while not container.stopped.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(container.stopped.wait(), interval)
            return
        result, before = await _probe(container, command, timeout), health["Status"]
        health["Log"] = [*health["Log"], result][-_KEPT:]
        if result["ExitCode"] == 0:
            health |= {"FailingStreak": 0, "Status": "healthy"}
        elif before != "starting" or time.monotonic() - began >= grace:
            health["FailingStreak"] += 1
            if health["FailingStreak"] >= (check.get("Retries") or 3):
                health["Status"] = "unhealthy"
        if health["Status"] != before:
            engine.life.tell(container, f"health_status: {health['Status']}")


async def _probe(container: Container, command: list[str], timeout: float) -> Document:
    start, run, ear = stamp(), Run(container, {"Cmd": command}), _Ear()

    try:
        run.audience.clients.add(ear)
        await run.start()
        await asyncio.wait_for(run.ended.wait(), timeout)
        status = run.status or 0
    except TimeoutError:
        run.kill()
        status = -1
        ear.heard[:] = f"Health check exceeded timeout ({timeout:g}s)".encode()
    except Exception as error:  # the check itself can't be run: that is a result too
        status, ear.heard[:] = -1, str(error).encode()
    said = ear.heard.decode("utf-8", "replace")
    return {"Start": start, "End": stamp(), "ExitCode": status, "Output": said}
