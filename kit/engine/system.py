"""The engine about itself: who it is, what it has, how much room that takes. See "System" of the API."""

from __future__ import annotations

import asyncio
import os
import socket
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from kit.engine import asked
from kit.engine.images import ImageApi
from kit.engine.logs import stamp
from kit.engine.volumes import size_of
from kit.images.documents import Document

if TYPE_CHECKING:
    from kit.engine.server import Engine

API, OLDEST = "1.44", "1.24"
VERSION = version("kit-containers")
HEADERS = {
    "Api-Version": API, "Ostype": "linux", "Docker-Experimental": "false", "Builder-Version": "1",
    "Server": f"kit/{VERSION} (linux)",
}  # fmt: skip


class SystemApi:
    """The requests that concern the engine as a whole."""

    def __init__(self, engine: Engine, images: ImageApi) -> None:
        self.engine, self.images = engine, images

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_ping", self.ping),
            web.get("/version", self.version),
            web.get("/info", self.info),
            web.get("/events", self.engine.events.answer),
            web.get("/system/df", self.disk_usage),
        ]

    async def ping(self, request: web.Request) -> web.Response:
        return web.Response(text="OK", headers={"Cache-Control": "no-cache, no-store, must-revalidate"})

    async def version(self, request: web.Request) -> web.Response:
        machine = os.uname()
        arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine.machine, machine.machine)
        about = {
            "ApiVersion": API,
            "MinAPIVersion": OLDEST,
            "Os": "linux",
            "Arch": arch,
            "GitCommit": "",
            "GoVersion": "",
        }
        about |= {"KernelVersion": machine.release, "BuildTime": ""}
        engine = {"Name": "Engine", "Version": VERSION, "Details": about}
        platform = {"Name": "kit: containers, from the kernel up"}
        return asked.reply({"Platform": platform, "Version": VERSION, **about, "Components": [engine]})

    async def info(self, request: web.Request) -> web.Response:
        from kit.cgroups import hierarchy

        machine, there = os.uname(), hierarchy.available()
        states = [one.state["Status"] for one in self.engine.containers]
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        found: Document = {
            "ID": self.engine.id,
            "Name": socket.gethostname(),
            "Containers": len(states),
            "ContainersRunning": states.count("running"),
            "ContainersPaused": states.count("paused"),
            "ContainersStopped": len(states) - states.count("running") - states.count("paused"),
            "Images": len(await asyncio.to_thread(self.images.all)),
            "Driver": "overlay",
            "DriverStatus": [["Changes", "volatile"]],
            "DockerRootDir": str(self.engine.root),
            "ServerVersion": VERSION,
            "SystemTime": stamp(),
            "OperatingSystem": _system(),
            "OSType": "linux",
            "Architecture": machine.machine,
            "KernelVersion": machine.release,
            "NCPU": len(os.sched_getaffinity(0)),
            "MemTotal": memory,
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": "2" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "1",
            "MemoryLimit": "memory" in there,
            "SwapLimit": "memory" in there,
            "PidsLimit": "pids" in there,
            "CPUShares": "cpu" in there,
            "CpuCfsPeriod": "cpu" in there,
            "CpuCfsQuota": "cpu" in there,
            "CPUSet": "cpuset" in there,
            "IPv4Forwarding": True,
            "OomKillDisable": False,
            "LoggingDriver": "json-file",
            "DefaultRuntime": "kit",
            "Runtimes": {"kit": {"path": "kit"}},
            "SecurityOptions": ["name=seccomp,profile=builtin"],
            "Plugins": {
                "Volume": ["local"],
                "Network": ["bridge", "host", "null"],
                "Authorization": None,
                "Log": ["json-file"],
            },
            "Swarm": {"LocalNodeState": "inactive"},
            "RegistryConfig": {
                "Mirrors": list(self.engine.mirrors),
                "InsecureRegistryCIDRs": ["127.0.0.0/8"],
                "IndexConfigs": {
                    name: {"Name": name, "Mirrors": [], "Secure": False, "Official": False}
                    for name in self.engine.insecure
                },
            },
            "IndexServerAddress": "https://index.docker.io/v1/",
            "LiveRestoreEnabled": False,
            "ExperimentalBuild": False,
            "Debug": False,
            "Labels": [],
            "Warnings": None,
        }
        return asked.reply(found)

    async def disk_usage(self, request: web.Request) -> web.Response:
        def work() -> Document:
            users = [container.image_id for container in self.engine.containers]
            found = self.images.all()
            images = [
                {**self.images.summary(*one), "Containers": users.count(image_id), "SharedSize": 0}
                for image_id, one in found.items()
            ]
            layers = {layer.digest: layer.size for image, _ in found.values() for layer in image.layers}
            containers = [
                {**one.summary(), "SizeRw": size_of(one.disk.upper), "SizeRootFs": one.disk.image.size}
                for one in self.engine.containers
            ]
            volumes = []
            for one in self.engine.volumes.all():
                used = [
                    c
                    for c in self.engine.containers
                    if any(m.get("Name") == one["Name"] for m in c.document["Mounts"])
                ]
                usage = {"Size": size_of(Path(one["Mountpoint"])), "RefCount": len(used)}
                volumes.append({**one, "UsageData": usage})
            size = sum(layers.values())
            return {
                "LayersSize": size,
                "Images": images,
                "Containers": containers,
                "Volumes": volumes,
                "BuildCache": [],
            }

        return asked.reply(await asyncio.to_thread(work))


def _system() -> str:
    """PRETTY_NAME of os-release(5)."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return "Linux"
    return next(
        (line.partition("=")[2].strip('"') for line in lines if line.startswith("PRETTY_NAME=")), "Linux"
    )
