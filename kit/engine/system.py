"""The engine about itself: who it is, what it has, how much room that takes. See "System" of the API."""

from __future__ import annotations

import asyncio
import os
import platform
import socket
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from kit.engine import asked
from kit.engine.images import all_images, summary
from kit.engine.logs import stamp
from kit.engine.volumes import size_of
from kit.images.documents import Document

if TYPE_CHECKING:
    from kit.engine.server import Engine

API, OLDEST = "1.44", "1.24"
VERSION = version("kit-containers")
#: Of every answer. The builder is the classic one.
HEADERS = {
    "Api-Version": API, "Ostype": "linux", "Docker-Experimental": "false", "Builder-Version": "1",
    "Server": f"kit/{VERSION} (linux)",
}  # fmt: skip
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@asked.route("GET", "/_ping")
async def ping(engine: Engine, request: web.Request) -> web.Response:
    return web.Response(text="OK", headers={"Cache-Control": "no-cache, no-store, must-revalidate"})


@asked.route("GET", "/version")
async def tell_version(engine: Engine, request: web.Request) -> object:
    machine = os.uname()
    about = {
        "ApiVersion": API, "MinAPIVersion": OLDEST, "Os": "linux", "GitCommit": "", "GoVersion": "",
        "Arch": _MACHINES.get(machine.machine, machine.machine), "KernelVersion": machine.release,
        "BuildTime": "",
    }  # fmt: skip
    component = {"Name": "Engine", "Version": VERSION, "Details": about}
    maker = {"Name": "kit: containers, from the kernel up"}
    return {"Platform": maker, "Version": VERSION, **about, "Components": [component]}


@asked.route("GET", "/info")
async def info(engine: Engine, request: web.Request) -> object:
    from kit.cgroups import hierarchy

    machine, there = os.uname(), hierarchy.available()
    states = [one.state["Status"] for one in engine.containers]
    running, paused = states.count("running"), states.count("paused")
    plugins = {"Volume": ["local"], "Network": ["bridge", "host", "null"], "Log": ["json-file"]}
    indexes = {name: {"Name": name, "Mirrors": [], "Secure": False} for name in engine.insecure}
    registries = {
        "Mirrors": [*engine.mirrors],
        "IndexConfigs": indexes,
        "InsecureRegistryCIDRs": ["127.0.0.0/8"],
    }
    found: Document = {
        "ID": engine.id, "Name": socket.gethostname(), "DockerRootDir": str(engine.root),
        "Containers": len(states), "ContainersRunning": running, "ContainersPaused": paused,
        "ContainersStopped": len(states) - running - paused,
        "Images": len(await asyncio.to_thread(all_images, engine.store)),
        "Driver": "overlay", "DriverStatus": [["Changes", "volatile"]], "LoggingDriver": "json-file",
        "ServerVersion": VERSION, "SystemTime": stamp(), "OSType": "linux",
            "OperatingSystem": platform.freedesktop_os_release().get("PRETTY_NAME", "Linux"),
        "Architecture": machine.machine, "KernelVersion": machine.release,
        "NCPU": len(os.sched_getaffinity(0)),
        "MemTotal": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "2" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "1",
        **dict.fromkeys(("MemoryLimit", "SwapLimit"), "memory" in there), "PidsLimit": "pids" in there,
        **dict.fromkeys(("CPUShares", "CpuCfsPeriod", "CpuCfsQuota"), "cpu" in there),
        "CPUSet": "cpuset" in there, "IPv4Forwarding": True, "OomKillDisable": False,
        "DefaultRuntime": "kit", "Runtimes": {"kit": {"path": "kit"}},
        "SecurityOptions": ["name=seccomp,profile=builtin"], "Plugins": plugins,
        "Swarm": {"LocalNodeState": "inactive"}, "RegistryConfig": registries,
        "IndexServerAddress": "https://index.docker.io/v1/", "LiveRestoreEnabled": False,
        "ExperimentalBuild": False, "Debug": False, "Labels": [], "Warnings": None,
    }  # fmt: skip
    return found


@asked.route("GET", "/system/df")
async def disk_usage(engine: Engine, request: web.Request) -> object:
    def work() -> Document:
        containers, found = engine.containers, all_images(engine.store)
        users = [one.image_id for one in containers]
        volumes = []
        for one in engine.volumes.all():
            count = sum(one["Name"] in container.volumes for container in containers)
            size = size_of(Path(one["Mountpoint"]))
            volumes.append({**one, "UsageData": {"Size": size, "RefCount": count}})
        return {
            "LayersSize": sum(
                {layer.digest: layer.size for one, _ in found.values() for layer in one.layers}.values()
            ),
            "Images": [
                {**summary(*one), "Containers": users.count(image_id), "SharedSize": 0}
                for image_id, one in found.items()
            ],
            "Containers": [{**one.summary(), **one.sizes()} for one in containers],
            "Volumes": volumes,
            "BuildCache": [],
        }

    return await asyncio.to_thread(work)
