"""Volumes: directories that outlive the containers that use them. See "Volumes" of the Docker Engine API.

<data root>/volumes/<name>/volume.json     labels and time
                           _data           what a container sees
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from kit.engine import asked
from kit.engine.asked import bad, conflict, missing
from kit.images.blob import keep, new_file, sync, write_all
from kit.images.documents import Document
from kit.linux.remove import remove_path

if TYPE_CHECKING:
    from kit.engine.server import Engine

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}")
_ANONYMOUS = "com.docker.volume.anonymous"
_REQUEST = {
    "Name": str, "Driver": ("", "default", "local"), "Labels": {str: str},
    "DriverOpts": {}, "ClusterVolumeSpec": {},
}  # fmt: skip
#: The filters of labels, for what a list or a prune goes through.
LABELS: dict[str, Callable[[Document, str], bool]] = {
    "label": lambda one, text: asked.labelled(one.get("Labels"), text),
    "label!": lambda one, text: not asked.labelled(one.get("Labels"), text),
}
_SINCE_ALL = 42  # of the API, version 1.42: a prune spares volumes with names, unless told ``all``


def store(path: Path, document: Document) -> None:
    """Replace a document on disk: after a power cut it is the old one or the new one. Raises KernelError."""
    with new_file(path.parent) as (fd, temporary):
        write_all(fd, json.dumps(document).encode())
        keep(fd, temporary, path)


class Volumes:
    """The volumes below a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o711, exist_ok=True)

    def get(self, name: str) -> Document:
        """What the API tells of a volume; raises Refused."""
        place = self.directory / name
        if not _NAME.fullmatch(name) or not (place / "volume.json").exists():
            raise missing(f"get {name:.80}: no such volume")
        about: Document = json.loads((place / "volume.json").read_bytes())
        fixed = {"Name": name, "Driver": "local", "Scope": "local", "Options": None}
        return {**about, **fixed, "Mountpoint": str(place / "_data")}

    def all(self) -> list[Document]:
        """Every volume, by name."""
        return [self.get(one.parent.name) for one in sorted(self.directory.glob("*/volume.json"))]

    def make(self, name: str = "", labels: dict[str, str] | None = None) -> Document:
        """The volume of this name, made if it isn't there; without a name a new one. Raises Refused."""
        labels = labels if name else {_ANONYMOUS: "", **(labels or {})}
        name = name or secrets.token_hex(32)
        if not _NAME.fullmatch(name):
            raise bad(f"{name!r:.80} can't name a volume: use up to 255 letters, digits, '_', '.' and '-'")
        place = self.directory / name
        if not (place / "volume.json").exists():
            (place / "_data").mkdir(parents=True, exist_ok=True)
            store(place / "volume.json", {"CreatedAt": f"{datetime.now(UTC):%FT%TZ}", "Labels": labels})
            sync(self.directory)
        return self.get(name)

    def remove(self, name: str) -> None:
        """Remove it with all that it holds."""
        remove_path(Path(self.get(name)["Mountpoint"]).parent)


def _users(engine: Engine, name: str) -> list[str]:
    return [one.id for one in engine.containers if name in one.volumes]


@asked.route("GET", "/volumes")
async def list_volumes(engine: Engine, request: web.Request) -> object:
    tests = {
        **LABELS,
        "name": lambda one, text: text in one["Name"],
        "driver": lambda one, text: text == "local",
        "dangling": lambda one, text: asked.is_true(text) != bool(_users(engine, one["Name"])),
    }
    return {"Volumes": asked.chosen(request, engine.volumes.all(), tests), "Warnings": None}


@asked.route("POST", "/volumes/create")
async def create_volume(engine: Engine, request: web.Request) -> web.Response:
    document = await asked.body(request)
    asked.known(document, _REQUEST)
    name, labels = document.get("Name") or "", document.get("Labels")
    found = await asyncio.to_thread(engine.volumes.make, name, labels)
    engine.events.tell("volume", "create", found["Name"], {"driver": "local"})
    return asked.reply(found, status=201)


@asked.route("GET", "/volumes/{name}")
async def inspect_volume(engine: Engine, request: web.Request) -> object:
    return engine.volumes.get(request.match_info["name"])


@asked.route("DELETE", "/volumes/{name}")
async def delete_volume(engine: Engine, request: web.Request) -> None:
    name = request.match_info["name"]
    if users := _users(engine, name):
        raise conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
    try:
        await _remove(engine, engine.volumes.get(name))
    except asked.Refused:
        if not asked.flag(request, "force"):
            raise


async def _remove(engine: Engine, one: Document) -> int:
    """Remove a volume, and tell of it; the bytes that it took."""
    size = await asyncio.to_thread(size_of, Path(one["Mountpoint"]))
    await asyncio.to_thread(engine.volumes.remove, one["Name"])
    engine.events.tell("volume", "destroy", one["Name"], {"driver": "local"})
    return size


@asked.route("POST", "/volumes/prune")
async def prune_volumes(engine: Engine, request: web.Request) -> object:
    """Remove volumes that no container has: the anonymous ones, or with the filter ``all`` every one."""
    tests = {**LABELS, "all": lambda one, text: True}
    version = int(request.match_info.get("version", "1.99").partition(".")[2])
    every = version < _SINCE_ALL or any(map(asked.is_true, asked.filters(request, tests).get("all", ())))
    removed = {
        one["Name"]: await _remove(engine, one)
        for one in asked.chosen(request, engine.volumes.all(), tests)
        if not _users(engine, one["Name"]) and (every or _ANONYMOUS in (one["Labels"] or {}))
    }
    return {"VolumesDeleted": list(removed), "SpaceReclaimed": sum(removed.values())}


def size_of(directory: Path) -> int:
    """Bytes of all files below a directory; what goes meanwhile is not counted."""
    total = 0
    for _, _, files, fd in os.fwalk(directory, onerror=lambda error: None):
        for name in files:
            try:
                total += os.stat(name, dir_fd=fd, follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
    return total
