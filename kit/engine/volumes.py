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
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from kit.engine import asked
from kit.engine.asked import bad, conflict, missing
from kit.images.documents import Document
from kit.linux.remove import remove_path

if TYPE_CHECKING:
    from kit.engine.server import Engine

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_ANONYMOUS = "com.docker.volume.anonymous"


class Volumes:
    """The volumes below a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o711, exist_ok=True)

    def get(self, name: str) -> Document:
        """What the API tells of a volume; raises Refused."""
        if not _NAME.fullmatch(name) or not (self.directory / name).is_dir():
            raise missing(f"get {name}: no such volume")
        place = self.directory / name
        about: Document = json.loads((place / "volume.json").read_bytes())
        fixed = {"Name": name, "Driver": "local", "Scope": "local"}
        return {**about, **fixed, "Mountpoint": str(place / "_data")}

    def all(self) -> list[Document]:
        """Every volume, by name."""
        return [self.get(one.parent.name) for one in sorted(self.directory.glob("*/volume.json"))]

    def make(self, name: str = "", labels: dict[str, str] | None = None) -> Document:
        """The volume of this name, made if it isn't there; without a name a new one. Raises Refused."""
        labels = labels if name else {_ANONYMOUS: "", **(labels or {})}
        name = name or secrets.token_hex(32)
        if not _NAME.fullmatch(name):
            raise bad(f"{name!r:.80} can't name a volume: use letters, digits, '_', '.' and '-'")
        place = self.directory / name
        if not (place / "volume.json").exists():
            (place / "_data").mkdir(parents=True, exist_ok=True)
            created = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
            about = {"CreatedAt": created, "Labels": labels, "Options": None}
            temporary = place / ".volume.json"
            temporary.write_text(json.dumps(about))
            os.replace(temporary, place / "volume.json")
        return self.get(name)

    def remove(self, name: str) -> None:
        """Remove it with all that it holds."""
        remove_path(Path(self.get(name)["Mountpoint"]).parent)


def _users(engine: Engine, name: str) -> list[str]:
    return [one.id for one in engine.containers if name in one.volumes]


@asked.route("GET", "/volumes")
async def list_volumes(engine: Engine, request: web.Request) -> object:
    tests = {
        "name": lambda one, text: text in one["Name"],
        "label": lambda one, text: asked.labelled(one["Labels"], text),
        "driver": lambda one, text: text == "local",
        "dangling": lambda one, text: asked.is_true(text) != bool(_users(engine, one["Name"])),
    }
    return {"Volumes": asked.chosen(request, engine.volumes.all(), tests), "Warnings": None}


@asked.route("POST", "/volumes/create")
async def create_volume(engine: Engine, request: web.Request) -> web.Response:
    document = await asked.body(request)
    types = {"Name": str, "Driver": str, "DriverOpts": dict, "Labels": dict, "ClusterVolumeSpec": dict}
    asked.check(document, types)
    if document.get("Driver") not in (None, "", "default", "local"):
        raise bad(f"volume driver {document['Driver']!r:.40}: there is local")
    if document.get("DriverOpts") or document.get("ClusterVolumeSpec"):
        raise bad("the driver local takes no options here: bind-mount a directory instead")
    found = engine.volumes.make(document.get("Name") or "", document.get("Labels"))
    engine.events.tell("volume", "create", found["Name"], {"driver": "local"})
    return asked.reply(found, status=201)


@asked.route("GET", "/volumes/{name}")
async def inspect_volume(engine: Engine, request: web.Request) -> object:
    return engine.volumes.get(request.match_info["name"])


@asked.route("DELETE", "/volumes/{name}")
async def delete_volume(engine: Engine, request: web.Request) -> None:
    name = request.match_info["name"]
    found = engine.volumes.get(name)
    if users := _users(engine, name):
        raise conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
    await asyncio.to_thread(engine.volumes.remove, found["Name"])
    engine.events.tell("volume", "destroy", name, {"driver": "local"})


@asked.route("POST", "/volumes/prune")
async def prune_volumes(engine: Engine, request: web.Request) -> object:
    """Remove volumes that no container has: the anonymous ones, or with the filter ``all`` every one."""
    every = [asked.is_true(text) for text in asked.filters(request, ("all", "label")).get("all", ())]
    tests = {
        "label": lambda one, text: asked.labelled(one["Labels"], text),
        "all": lambda one, text: True,
    }
    removed, size = [], 0
    for one in asked.chosen(request, engine.volumes.all(), tests):
        if not _users(engine, one["Name"]) and (any(every) or _ANONYMOUS in (one["Labels"] or {})):
            size += await asyncio.to_thread(size_of, Path(one["Mountpoint"]))
            await asyncio.to_thread(engine.volumes.remove, one["Name"])
            removed.append(one["Name"])
    return {"VolumesDeleted": removed, "SpaceReclaimed": size}


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
