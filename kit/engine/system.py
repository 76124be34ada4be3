"""The engine about itself: who it is, what it has, how much room that takes. See "System" of the API."""

from __future__ import annotations

import asyncio
import os
import platform
import socket
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from kit.engine import asked
from kit.engine.asked import bad
from kit.engine.images import all_images, shared, summary
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
    headers = {"Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache"}
    return web.Response(text="OK", headers=headers)


@asked.route("GET", "/version")
async def tell_version(engine: Engine, request: web.Request) -> object:
    machine = os.uname()
    about = {
        "ApiVersion": API, "MinAPIVersion": OLDEST, "Os": "linux", "GitCommit": "", "GoVersion": "",
        "Arch": _MACHINES.get(machine.machine, machine.machine), "KernelVersion": machine.release,
        "BuildTime": "",
    }  # fmt: skip
    details = {**about, "Experimental": "false"}
    component = {"Name": "Engine", "Version": VERSION, "Details": details}
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
        "DefaultRuntime": "kit", "Runtimes": {"kit": {"path": "kit"}}, "InitBinary": "kit",
        **{f"{name}Commit": {"ID": "", "Expected": ""} for name in ("Containerd", "Runc", "Init")},
        "SecurityOptions": ["name=seccomp,profile=builtin"], "Plugins": plugins,
        "Swarm": {"LocalNodeState": "inactive"}, "RegistryConfig": registries,
        "IndexServerAddress": "https://index.docker.io/v1/", "LiveRestoreEnabled": False,
        "ExperimentalBuild": False, "Debug": False, "Labels": [], "Warnings": None,
    }  # fmt: skip
    return found


@asked.route("GET", "/system/df")
async def disk_usage(engine: Engine, request: web.Request) -> object:
    """What images, containers and volumes take up; by ``type`` only some of them."""
    kinds = ("image", "container", "volume", "build-cache")
    wanted = request.query.getall("type", []) or kinds
    if others := set(wanted) - set(kinds):
        raise bad(f"type={min(others):.40}: there are {', '.join(kinds)}")

    def work() -> Document:
        containers, usage = engine.containers, Document(Images=None, Containers=None, Volumes=None)
        if "image" in wanted:
            found = all_images(engine.store)
            both, users = (
                shared(image for image, _ in found.values()),
                Counter(one.image_id for one in containers),
            )
            layers = {layer.digest: layer.size for image, _ in found.values() for layer in image.layers}
            usage |= {"LayersSize": sum(layers.values()), "Images": [
                {**summary(*one), "Containers": users[image_id], "SharedSize": both[image_id]}
                for image_id, one in found.items()
            ]}  # fmt: skip
        if "container" in wanted:
            usage["Containers"] = [{**one.summary(), **one.sizes()} for one in containers]
        if "volume" in wanted:
            count = Counter(name for one in containers for name in one.volumes)
            usage["Volumes"] = [
                {
                    **one,
                    "UsageData": {"Size": size_of(Path(one["Mountpoint"])), "RefCount": count[one["Name"]]},
                }
                for one in engine.volumes.all()
            ]
        return {**usage, "BuildCache": []}

    return await asyncio.to_thread(work)
