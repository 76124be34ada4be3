"""A new container: what was asked for and what the image says become its document, its directory, its mounts.

See "Create a container" of the Docker Engine API.
"""

from __future__ import annotations

import socket
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

if TYPE_CHECKING:
    from kit.engine.server import Engine

_HOST: Document = {  # what clients look for, whatever was asked
    "LogConfig": {"Type": "json-file", "Config": {}}, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    "AutoRemove": False, "Privileged": False,
}  # fmt: skip


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
    options.ports(host, config["ExposedPorts"])
    options.for_runtime(config, host)
    config["Hostname"] = config.get("Hostname") or hostname
    host = {**_HOST, **{key: one for key, one in host.items() if one}, "NetworkMode": mode}
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
    container.save()
    return container


def _mounts(engine: Engine, config: Document, host: Document) -> list[Document]:
    """What is mounted over the image: bind mounts and volumes, by where they go."""
    by_target: dict[str, Document] = {}

    def put(target: str, source: str, mode: Collection[str]) -> None:
        if not target.startswith("/") or target == "/":
            raise bad(f"invalid mount target {target!r:.80}: it must be an absolute path, and not '/'")
        if others := set(mode) - {"", "rw", "ro", "z", "Z", "rprivate"}:
            raise bad(f"{target!r:.80}: the engine does not have the mode {min(others)}")
        about = {"Destination": target, "RW": "ro" not in mode, "Mode": ",".join(mode)}
        if source.startswith("/"):
            about |= {"Type": "bind", "Source": source, "Propagation": "rprivate"}
        else:
            volume = engine.volumes.make(source)
            about |= {"Type": "volume", "Name": volume["Name"], "Source": volume["Mountpoint"]}
            about |= {"Driver": "local", "Anonymous": not source}
        by_target[target] = about

    for text in host.get("Binds") or ():
        source, colon, rest = text.partition(":")
        target, _, mode = rest.partition(":")
        if not colon:
            raise bad(f"{text!r:.80}: a bind is SOURCE:TARGET[:ro]")
        put(target, source, mode.split(","))
        if source.startswith("/"):
            Path(source).mkdir(parents=True, exist_ok=True) if not Path(source).exists() else None
    for one in host.get("Mounts") or ():
        given = {key for key, value in one.items() if value}
        if others := given - {"Type", "Source", "Target", "ReadOnly"}:
            raise bad(f"the engine does not have the option Mounts.{min(others)}")
        kind, source = one.get("Type"), one.get("Source") or ""
        if kind not in ("bind", "volume", "tmpfs") or (kind == "bind") != source.startswith("/"):
            raise bad(f"a mount of type {kind!r:.20} from {source!r:.80}: there are bind, volume and tmpfs")
        if kind == "bind" and not Path(source).exists():
            raise bad(f'invalid mount config for type "bind": bind source path does not exist: {source}')
        if kind != "tmpfs":
            put(one.get("Target") or "", source, ["ro" if one.get("ReadOnly") else "rw"])
    for target in config["Volumes"]:
        if target not in by_target and target not in (host.get("Tmpfs") or {}):
            put(target, "", [])
    return list(by_target.values())
