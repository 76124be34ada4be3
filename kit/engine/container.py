"""A container as the engine knows it: a document on disk, and what belongs to it while it runs.

    <data root>/containers/<id>/config.json   what `docker inspect` tells, replaced in one step
                                upper         what the container changed
                                merged        what it sees, while it runs or somebody looks
                                work          the kernel's own: see mount(8)

Like those of :mod:`kit.images.rootfs`, the mounts are volatile: nothing waits for the disk when one ends, and
after a power cut changes may be lost.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kit import owner
from kit.engine.logs import Log, stamp
from kit.engine.options import DEFAULTS
from kit.engine.streams import Audience, Stdio
from kit.engine.volumes import size_of
from kit.images.blob import sync
from kit.images.descriptor import Descriptor
from kit.images.directory import diff
from kit.images.documents import Document
from kit.images.entry import Entry
from kit.images.image import Image
from kit.images.rootfs import overlay
from kit.images.shown import age
from kit.images.snapshots import Held, Snapshots, new_root
from kit.images.store import Store
from kit.linux.remove import remove_path

if TYPE_CHECKING:
    from kit.containers import Container as Task
    from kit.engine.execs import Run
    from kit.engine.networks import Plugged

NEVER = "0001-01-01T00:00:00Z"
CREATED: Document = {
    "Status": "created", "Running": False, "Paused": False, "Restarting": False, "OOMKilled": False,
    "Dead": False, "Pid": 0, "ExitCode": 0, "Error": "", "StartedAt": NEVER, "FinishedAt": NEVER,
}  # fmt: skip


class Container:
    """One container. Everything but its disk belongs to the engine's loop."""

    def __init__(self, store: Store, directory: Path, document: Document) -> None:
        self.document, self.directory = document, directory
        self.id: str = document["Id"]
        self.image_id: str = document["Image"]
        self.disk = Disk(directory, Image(store, Descriptor.from_json(document["Manifest"])))
        self.log = Log(directory / f"{self.id}-json.log", self.host["LogConfig"])
        self.audience = Audience(self.log)
        self.task: Task | None = None  # the runtime's, while it runs
        self.stdio: Stdio | None = None
        self.plugged: Plugged | None = None
        self.lock = asyncio.Lock()  # one change at a time
        self.started, self.stopped, self.removed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.stopped.set()
        self.going = False  # about to be removed
        self.pause = 0.05  # seconds before the next restart, doubled with each
        self.next_exit = asyncio.Event()  # set and replaced at each end
        self.execs: dict[str, Run] = {}
        self.jobs: set[asyncio.Task[None]] = set()  # its supervisor, and its health check

    @property
    def name(self) -> str:
        return str(self.document["Name"]).lstrip("/")

    @property
    def config(self) -> Document:
        return self.document["Config"]  # type: ignore[no-any-return]

    @property
    def host(self) -> Document:
        return self.document["HostConfig"]  # type: ignore[no-any-return]

    @property
    def state(self) -> Document:
        return self.document["State"]  # type: ignore[no-any-return]

    @property
    def words(self) -> list[str]:
        """What it runs."""
        return [*(self.config.get("Entrypoint") or []), *(self.config.get("Cmd") or [])]

    @property
    def terminal(self) -> bool:
        return bool(self.config.get("Tty"))

    @property
    def running(self) -> bool:
        return bool(self.state["Running"])

    @property
    def volumes(self) -> list[str]:
        """The names of its volumes."""
        return [mount["Name"] for mount in self.document["Mounts"] if mount["Type"] == "volume"]

    @property
    def binds(self) -> list[tuple[str, str, str]]:
        """What is mounted into it from elsewhere: bind mounts and volumes, as the runtime takes them."""
        return [
            (one["Source"], one["Destination"], "rw" if one["RW"] else "ro")
            for one in self.document["Mounts"]
        ]

    def sizes(self) -> Document:
        """Bytes of what it changed, and of all its files."""
        changed = size_of(self.disk.upper)
        return {"SizeRw": changed, "SizeRootFs": changed + self.disk.image.size}

    def save(self, lasting: bool = False) -> None:
        """Replace the document on disk; a reader sees the old one or the new one.

        With ``lasting`` a power cut does no harm either. It need not be so for what only says that it runs,
        which is not true after one.
        """
        temporary = self.directory / ".config.json"
        with temporary.open("w") as file:
            file.write(json.dumps(self.document))
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, self.directory / "config.json")
        if lasting:
            sync(self.directory)

    def attributes(self, **more: str) -> dict[str, str]:
        """What events tell of it."""
        return {"image": self.config["Image"], "name": self.name, **(self.config.get("Labels") or {}), **more}

    def began(self, pid: int) -> None:
        """Note that it runs."""
        running = {"Status": "running", "Running": True, "Pid": pid, "StartedAt": stamp()}
        self.document["State"] = {**CREATED, "FinishedAt": self.state["FinishedAt"], **running}
        self.document["StoppedByHand"] = False
        self.stopped.clear()
        self.started.set()
        self.save()

    def over(self, status: int, out_of_memory: bool = False, error: str = "") -> None:
        """Note that it has ended."""
        ended = {"Status": "exited", "Running": False, "Paused": False, "Restarting": False, "Pid": 0}
        self.started.clear()
        self.state.update(ended, ExitCode=status, OOMKilled=out_of_memory, FinishedAt=stamp(), Error=error)
        self.save()

    # As the API shows it

    def inspect(self) -> Document:
        """GET /containers/{id}/json."""
        ours = ("Manifest", "StoppedByHand", "Networks")
        files = {f"{name}Path": str(self.directory / file) for name, file in _FILES.items()}
        return {
            **{key: value for key, value in self.document.items() if key not in ours},
            "HostConfig": {**DEFAULTS, **self.host}, **files,
            "LogPath": str(self.log.path), "Path": self.words[0], "Args": self.words[1:],
            "GraphDriver": {"Name": "overlay", "Data": {"UpperDir": str(self.disk.upper)}},
            "ExecIDs": [one for one, run in self.execs.items() if run.running] or None,
            "NetworkSettings": self.network_settings(), "Platform": "linux", "Driver": "overlay",
            "MountLabel": "", "ProcessLabel": "", "AppArmorProfile": "",
        }  # fmt: skip

    def network_settings(self) -> Document:
        """Its networks and ports."""
        networks = {name: {**_UNPLUGGED, **wish} for name, wish in self.document["Networks"].items()}
        ports: Document = dict.fromkeys(self.config.get("ExposedPorts") or {})
        if self.plugged:
            for name, endpoint in self.plugged.settings().items():
                networks[name] = {**networks.get(name, {}), **endpoint}
            ports |= self.plugged.ports()
        first = networks.get("bridge", _UNPLUGGED)
        return {"Networks": networks, "Ports": ports, "SandboxKey": "", **{key: first[key] for key in _FIRST}}

    def summary(self) -> Document:
        """A line of GET /containers/json."""
        settings, ports = self.network_settings(), []
        for name, places in settings["Ports"].items() if self.running else ():
            private, _, protocol = name.partition("/")
            port: Document = {"PrivatePort": int(private), "Type": protocol or "tcp"}
            public = [{"IP": one["HostIp"], "PublicPort": int(one["HostPort"])} for one in places or ()]
            ports += [{**port, **one} for one in public or [{}]]
        return {
            "Id": self.id, "Names": [f"/{self.name}"],
            "Image": self.config["Image"], "ImageID": self.image_id,
            "Command": shlex.join(self.words), "Ports": ports, "Labels": self.config.get("Labels") or {},
            "Created": int(datetime.fromisoformat(self.document["Created"]).timestamp()),
            "State": self.state["Status"], "Status": self.status(), "Mounts": self.document["Mounts"],
            "HostConfig": {"NetworkMode": self.host["NetworkMode"]},
            "NetworkSettings": {"Networks": settings["Networks"]},
        }  # fmt: skip

    def status(self) -> str:
        """The STATUS of `docker ps`."""
        state = self.state
        if state["Status"] == "created":
            return "Created"
        if state["Restarting"]:
            return f"Restarting ({state['ExitCode']}) {age(state['FinishedAt'])}"
        if not state["Running"]:
            return f"Exited ({state['ExitCode']}) {age(state['FinishedAt'])}"
        text = f"Up {age(state['StartedAt'], datetime.now(UTC)).removesuffix(' ago')}"
        if health := state.get("Health"):
            shown = "health: starting" if health["Status"] == "starting" else health["Status"]
            text += f" ({shown})"
        return f"{text} (Paused)" if state["Paused"] else text


_FILES = {"Hostname": "hostname", "Hosts": "hosts", "ResolvConf": "resolv.conf"}
_UNPLUGGED: Document = {
    "IPAMConfig": None, "Links": None, "Aliases": None, "NetworkID": "", "EndpointID": "", "Gateway": "",
    "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
    "MacAddress": "", "DriverOpts": None,
}  # fmt: skip
_FIRST = ("EndpointID", "Gateway", "IPAddress", "IPPrefixLen", "MacAddress")


_OURS = ("etc/hostname", "etc/hosts", "etc/resolv.conf")


class Disk:
    """The files of one container, made from ``image``."""

    def __init__(self, directory: Path, image: Image) -> None:
        self.image, self.directory = image, directory
        self.path, self.upper = directory / "merged", directory / "upper"
        self._held: Held | None = None
        self._users, self._lock = 0, threading.Lock()
        self._mounted = ExitStack()

    def hold(self) -> list[Path]:
        """The image's snapshots, topmost first, which stay as long as the container. Raises as their hold."""
        if self._held is None:
            self._held = Snapshots(self.image.store).hold(self.image)
        if not self.upper.exists():
            new_root(self.upper, self._held.lower_dirs)
            self.path.mkdir(exist_ok=True)
        return self._held.lower_dirs

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """The merged tree; mounted by the first, unmounted by the last who uses it. Raises KernelError."""
        with self._lock:
            if not self._users:
                self._mount(self.hold())
            self._users += 1
        try:
            yield self.path
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._mounted.close()

    def _mount(self, lower_dirs: list[Path]) -> None:
        work = self.directory / "work"
        if work.exists():  # it says that it was volatile, and could not be mounted again
            remove_path(work)
        work.mkdir()
        with ExitStack() as cleanup:
            cleanup.enter_context(owner.owns("mount", str(self.path)))
            overlay(self.directory, lower_dirs)
            self._mounted = cleanup.pop_all()

    def entries(self) -> list[Entry]:
        """What the container changed, without the empty files that the engine's own were mounted over."""
        found = [one for one in diff(self.upper) if one.name not in _OURS or _is_used(one)]
        below = any(one.name.startswith("etc/") for one in found)
        return [one for one in found if one.name != "etc" or below or not (self.hold()[-1] / "etc").exists()]

    def changes(self) -> list[Document]:
        """What `docker diff` tells: 0 changed, 1 added, 2 deleted."""
        found = []
        for entry in self.entries():
            parent, _, name = entry.name.rpartition("/")
            gone = name.startswith(".wh.")
            if name == ".wh..wh..opq":
                continue
            path = f"{parent}/{name.removeprefix('.wh.')}" if gone else entry.name
            there = any(os.path.lexists(lower / path.lstrip("/")) for lower in self.hold())
            found.append({"Path": f"/{path.lstrip('/')}", "Kind": 2 if gone else 0 if there else 1})
        return sorted(found, key=lambda one: str(one["Path"]))

    def close(self) -> None:
        """Let go of the snapshots."""
        if self._held:
            self._held.close()
            self._held = None


def _is_used(entry: Entry) -> bool:
    return entry.kind != "file" or entry.source is None or entry.source.stat().st_size > 0
