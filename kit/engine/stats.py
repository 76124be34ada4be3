"""What a container uses, once a second, under the names of the Docker Engine API ("Get container stats")."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

from aiohttp import web

from kit.engine import asked
from kit.engine.logs import stamp
from kit.images.documents import Document

if TYPE_CHECKING:
    from kit.engine.container import Container
    from kit.engine.server import Engine

_CPU = {"total_usage": "usage", "usage_in_usermode": "user", "usage_in_kernelmode": "system"}
_NEVER = "0001-01-01T00:00:00Z"


def _cpu(used: dict[str, int]) -> Document:
    """Times in nanoseconds."""
    return {
        "cpu_usage": {name: used.get(f"cpu_{key}_usec", 0) * 1000 for name, key in _CPU.items()},
        "throttling_data": {
            "periods": used.get("cpu_nr_periods", 0), "throttled_periods": used.get("cpu_nr_throttled", 0),
            "throttled_time": used.get("cpu_throttled_usec", 0) * 1000,
        },
    }  # fmt: skip


def _now(container: Container) -> Document:
    """The part of the answer that is measured."""
    task, plugged = container.task, container.plugged
    if task is None:  # one that does not run uses nothing
        return {
            "pids_stats": {},
            "cpu_stats": _cpu({}),
            "memory_stats": {},
            "blkio_stats": {},
            "networks": {},
        }
    used = task.stats()
    io = [
        {"major": 0, "minor": 0, "op": op, "value": used.get(key, 0)}
        for op, key in (("read", "io_rbytes"), ("write", "io_wbytes"))
    ]
    machine = {"system_cpu_usage": _machine(), "online_cpus": len(os.sched_getaffinity(0))}
    return {
        "pids_stats": {"current": used.get("pids", 0), "limit": used.get("pids_limit", 0)},
        "cpu_stats": {**_cpu(used), **machine},
        "memory_stats": {
            "usage": used.get("memory_bytes", 0), "limit": used.get("memory_limit_bytes", 0),
            "stats": {"inactive_file": used.get("memory_inactive_file_bytes", 0)},
        },
        "blkio_stats": {"io_service_bytes_recursive": io},
        "networks": {one.interface: one.stats() for one in plugged.endpoints.values()} if plugged else {},
    }  # fmt: skip


def _machine() -> int:
    """Nanoseconds that all CPUs have spent, in the first line of /proc/stat: see proc(5)."""
    with open("/proc/stat") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return sum(ticks) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@asked.route("GET", "/containers/{id}/stats")
async def tell_stats(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Every second, or once, each with what was a second before; ``one-shot``: without waiting for that."""
    container, once = engine.find(request), not asked.flag(request, "stream", True)
    at_once = not once or asked.flag(request, "one-shot") or container.task is None
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    about: Document = {"name": f"/{container.name}", "id": container.id, "num_procs": 0, "storage_stats": {}}
    before, then = _cpu({}), _NEVER
    while True:
        found, now = await asyncio.to_thread(_now, container), stamp()
        if at_once or then != _NEVER:
            document = {"read": now, "preread": then, **about, **found, "precpu_stats": before}
            await response.prepare(request)
            await response.write(json.dumps(document).encode() + b"\n")
            if once:
                return response
        before, then = found["cpu_stats"], now
        await asyncio.sleep(1)
        if container.removed.is_set():
            return response
