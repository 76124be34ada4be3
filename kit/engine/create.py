"""A new container: what was asked for and what the image says become its document, its directory, its mounts.

See "Create a container" of the Docker Engine API.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from kit.engine import options
from kit.engine.asked import bad
from kit.engine.container import CREATED, Container
from kit.engine.images import found
from kit.engine.logs import stamp
from kit.engine.networks import network_of
from kit.images.documents import Document
from kit.linux.errors import KernelError
from kit.linux.openat2 import openat2

if TYPE_CHECKING:
    from kit.engine.server import Engine


def make(engine: Engine, container_id: str, name: str, document: Document) -> Container:
    """In a thread: the document, the directory, the volumes."""
    image = found(engine.store, document["Image"])
    host = document.get("HostConfig") or {}
    config = options.merged(document, image.config.get("config") or {})
    mode = host.get("NetworkMode") or "default"
    hostname = socket.gethostname() if mode == "host" else container_id[:12]
    if mode.startswith("container:"):
        hostname = engine.find(mode.partition(":")[2]).config["Hostname"]
    endpoints = (document.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    networks: Document = {}
    if own := network_of(mode):
        for network in (own, *(other for other in endpoints if other not in (own, mode))):
            wish = endpoints.get(network) or (endpoints.get(mode) if network == own else None)
            networks[engine.networks.find(network)["Name"]] = wish or {}
        if mac := config.get("MacAddress"):
            first = engine.networks.find(own)["Name"]
            networks[first] = {"MacAddress": mac, **networks[first]}
    options.ports(host, config["ExposedPorts"])
    options.for_runtime(config, host)
    config["Hostname"] = config.get("Hostname") or hostname
    log = {**options.DEFAULTS["LogConfig"], **{k: v for k, v in (host.get("LogConfig") or {}).items() if v}}
    host = {**{key: one for key, one in host.items() if one}, "NetworkMode": mode, "LogConfig": log}
    record: Document = {
        "Id": container_id, "Name": f"/{name}", "Created": stamp(), "Image": image.id,
        "Manifest": image.descriptor.to_json(), "Config": config, "HostConfig": host, "State": dict(CREATED),
        "Mounts": _mounts(engine, config, host), "Networks": networks,
        "RestartCount": 0, "StoppedByHand": False,
    }  # fmt: skip
    directory = engine.root / "containers" / container_id
    directory.mkdir(mode=0o700)
    container = Container(engine.store, directory, record)
    container.disk.hold()
    _fill(container)
    container.save(lasting=not host.get("AutoRemove"))
    return container


def _mounts(engine: Engine, config: Document, host: Document) -> list[Document]:
    """What is mounted over the image: bind mounts and volumes, by where they go."""
    by_target: dict[str, Document] = {}

    def put(target: str, source: str, mode: Collection[str], labels: Document | None = None) -> None:
        if not target.startswith("/") or os.path.normpath(target) == "/":
            raise bad(f"invalid mount target {target!r:.80}: it must be an absolute path, and not '/'")
        if others := set(mode) - {"", "rw", "ro", "z", "Z", "rprivate", "nocopy"}:
            raise bad(f"{target!r:.80}: the engine does not have the mode {min(others)}")
        about = {"Destination": os.path.normpath(target), "RW": "ro" not in mode, "Mode": ",".join(mode)}
        if source.startswith("/"):
            about |= {"Type": "bind", "Source": source, "Propagation": "rprivate"}
        else:
            volume = engine.volumes.make(source, labels)
            about |= {"Type": "volume", "Name": volume["Name"], "Source": volume["Mountpoint"]}
            about |= {"Driver": "local", "Anonymous": not source}
        by_target[os.path.normpath(target)] = about

    for text in host.get("VolumesFrom") or ():
        name, _, mode = text.partition(":")
        if mode not in ("", "rw", "ro", "z", "Z"):
            raise bad(f"{text!r:.80}: the engine does not have the mode {mode}")
        for one in engine.find(name).document["Mounts"]:
            by_target[one["Destination"]] = {**one, "RW": one["RW"] and mode != "ro"}
    for text in host.get("Binds") or ():
        source, _, rest = text.partition(":")
        target, _, mode = rest.partition(":")
        if not rest:  # a place alone: an anonymous volume
            source, target = "", text
        put(target, source, mode.split(","))
        if source.startswith("/") and not Path(source).exists():
            Path(source).mkdir(parents=True, exist_ok=True)
    for one in host.get("Mounts") or ():
        kind, source, more = one.get("Type"), one.get("Source") or "", one.get("VolumeOptions") or {}
        if (kind == "bind") != source.startswith("/") or (kind == "tmpfs" and source):
            raise bad(f"a mount of type {kind!r:.20} can't be from {source!r:.80}")
        if kind == "bind" and not Path(source).exists():
            raise bad(f'invalid mount config for type "bind": bind source path does not exist: {source}')
        if kind != "tmpfs":
            mode = ["ro" if one.get("ReadOnly") else "rw"] + ["nocopy"] * bool(more.get("NoCopy"))
            put(one.get("Target") or "", source, mode, more.get("Labels"))
    for target in config["Volumes"]:
        if os.path.normpath(target) not in by_target and target not in (host.get("Tmpfs") or {}):
            put(target, "", [])
    return list(by_target.values())


def _fill(container: Container) -> None:
    """A volume that is empty gets what the image has at its place, with owner and mode."""
    volumes = [
        one for one in container.document["Mounts"]
        if one["Type"] == "volume" and "nocopy" not in one["Mode"] and not os.listdir(one["Source"])
    ]  # fmt: skip
    if not volumes:
        return
    with container.disk.mounted() as path:
        top = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for one in volumes:
                try:
                    fd = openat2(top, one["Destination"], os.O_RDONLY | os.O_DIRECTORY)
                except KernelError:  # the image has no such directory
                    continue
                try:
                    words = ["cp", "--archive", f"/proc/self/fd/{fd}/.", one["Source"]]
                    subprocess.run(words, pass_fds=(fd,), check=True, capture_output=True)
                finally:
                    os.close(fd)
        finally:
            os.close(top)
