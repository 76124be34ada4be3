"""What a client asks of a container, checked by name and type, and as the runtime takes it.

See "Create a container" of the Docker Engine API. Clients send all options; one that the engine does not have
is refused by its name, unless it is empty or says what is so anyway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kit.engine import asked
from kit.engine.asked import bad
from kit.engine.logs import limits
from kit.images.documents import Document

_CONFIG: dict[str, type] = {
    **dict.fromkeys(("Hostname", "Domainname", "User", "Image", "WorkingDir", "StopSignal"), str),
    **dict.fromkeys(("AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce"), bool),
    **dict.fromkeys(("ExposedPorts", "Volumes", "Labels", "Healthcheck"), dict),
    **dict.fromkeys(("HostConfig", "NetworkingConfig"), dict),
    "Env": list, "StopTimeout": int,
}  # fmt: skip
_HOST: dict[str, type] = {
    **dict.fromkeys(("NetworkMode", "PidMode", "IpcMode", "UTSMode", "CpusetCpus"), str),
    **dict.fromkeys(("AutoRemove", "Privileged", "ReadonlyRootfs", "PublishAllPorts", "Init"), bool),
    **dict.fromkeys(("Memory", "MemorySwap", "NanoCpus", "CpuShares", "CpuPeriod", "CpuQuota"), int),
    **dict.fromkeys(("PidsLimit", "ShmSize", "OomScoreAdj"), int),
    **dict.fromkeys(("Binds", "CapAdd", "CapDrop", "Dns", "ExtraHosts"), list),
    **dict.fromkeys(("SecurityOpt",), list),
    **dict.fromkeys(("PortBindings", "RestartPolicy", "Tmpfs", "Sysctls", "LogConfig"), dict),
}  # fmt: skip
_OBJECTS: dict[str, dict[str, type]] = {
    "Mounts": {"Type": str, "Source": str, "Target": str, "ReadOnly": bool},
    "Devices": {"PathOnHost": str, "PathInContainer": str, "CgroupPermissions": str},
    "Ulimits": {"Name": str, "Soft": int, "Hard": int},
}
_ANYWAY = {"MemorySwappiness": -1, "CgroupnsMode": "private", "Isolation": "default", "VolumeDriver": "local"}
_CLIENTS = ("ConsoleSize", "ContainerIDFile")  # for the client's own use
_POLICIES = ("", "no", "always", "unless-stopped", "on-failure")
_SAME = {
    "Memory": "memory", "MemorySwap": "memory_swap", "CpuShares": "cpu_shares", "CpusetCpus": "cpuset",
    "PidsLimit": "pids_limit", "CapAdd": "cap_add", "CapDrop": "cap_drop", "Privileged": "privileged",
    "SecurityOpt": "security_opt", "ReadonlyRootfs": "read_only", "Tmpfs": "tmpfs", "Sysctls": "sysctls",
    "Init": "init", "ShmSize": "shm_size", "OomScoreAdj": "oom_score_adj",
}  # fmt: skip
RESOURCES = (
    "Memory", "MemorySwap", "CpuShares", "CpusetCpus", "PidsLimit", "NanoCpus", "CpuPeriod", "CpuQuota",
)  # fmt: skip


def check(document: Document) -> None:
    """Raise Refused for what can't be, or what the engine does not have."""
    asked.check(document, _CONFIG)
    if others := {key for key, value in document.items() if value} - {*_CONFIG, "Cmd", "Entrypoint"}:
        raise bad(f"the engine does not have the option {min(others)}")
    host = document.get("HostConfig") or {}
    check_host(host)
    for key in ("Cmd", "Entrypoint"):
        document[key] = words(document.get(key), key)
    if not document.get("Image"):
        raise bad("no image was named")
    health = document.get("Healthcheck") or {}
    times = ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")
    asked.check(health, {"Test": list, **dict.fromkeys(times, int)}, "Healthcheck.")
    if (health.get("Test") or ["NONE"])[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise bad("Healthcheck.Test begins with NONE, CMD or CMD-SHELL")
    log = host.get("LogConfig") or {}
    if log.get("Type") not in (None, "", "json-file"):
        raise bad(f"log driver {log['Type']!r:.40}: there is json-file")
    limits(log.get("Config") or {})


def check_host(host: Document) -> None:
    """Raise Refused for options of HostConfig that the engine does not have."""
    asked.check(host, _HOST, "HostConfig.")
    for key, value in host.items():
        if key in _OBJECTS:
            if not isinstance(value or [], list) or not all(isinstance(one, dict) for one in value or []):
                raise bad(f"HostConfig.{key} must be a list of objects")
            for one in value or ():
                asked.check(one, _OBJECTS[key], f"HostConfig.{key}.")
        elif key not in _HOST and key not in _CLIENTS and value and value != _ANYWAY.get(key):
            raise bad(f"the engine does not have the option HostConfig.{key}")
    policy = host.get("RestartPolicy") or {}
    asked.check(policy, {"Name": str, "MaximumRetryCount": int}, "RestartPolicy.")
    if policy.get("Name", "") not in _POLICIES:
        raise bad(f"restart policy {policy['Name']!r:.40}: there are {', '.join(_POLICIES[1:])}")
    if host.get("AutoRemove") and policy.get("Name", "") not in ("", "no"):
        raise bad("can't create 'AutoRemove' container with restart policy")
    if 0 < (host.get("Memory") or 0) < 6 << 20:
        raise bad("Minimum memory limit allowed is 6MB")


def words(value: Any, key: str) -> list[str] | None:
    """A command as words; a single text is split at blanks by the client, or else is one word."""
    if isinstance(value, str):
        return [value]
    asked.check({key: value}, {key: list})
    return value  # type: ignore[no-any-return]


def merged(document: Mapping[str, Any], image: Mapping[str, Any]) -> Document:
    """A container's Config: what was asked for, and from the image what was not."""
    config = {key: value for key, value in document.items() if key not in ("HostConfig", "NetworkingConfig")}
    for key in ("User", "WorkingDir", "StopSignal", "Healthcheck"):
        config[key] = config.get(key) or image.get(key) or ("" if key != "Healthcheck" else None)
    if config.get("Entrypoint") is None:
        config["Cmd"] = config.get("Cmd") or image.get("Cmd")
        config["Entrypoint"] = image.get("Entrypoint")
    if config["Entrypoint"] == [""]:  # --entrypoint "" takes the image's away
        config["Entrypoint"] = None
    if not (config["Entrypoint"] or config["Cmd"]):
        raise bad("no command specified")
    given = [text for text in config.get("Env") or [] if "=" in text]  # a name alone means: not that one
    names = {text.partition("=")[0] for text in config.get("Env") or []}
    config["Env"] = [text for text in image.get("Env") or [] if text.partition("=")[0] not in names] + given
    for key in ("Labels", "ExposedPorts", "Volumes"):
        config[key] = {**(image.get(key) or {}), **(config.get(key) or {})}
    return config


def resources(host: Mapping[str, Any]) -> Document:
    """The limits, under the runtime's names."""
    found = {_SAME[key]: host[key] for key in RESOURCES if key in _SAME and host.get(key)}
    if host.get("NanoCpus") or host.get("CpuQuota"):
        quota = (host.get("CpuQuota") or 0) / (host.get("CpuPeriod") or 100_000)
        found["cpus"] = (host.get("NanoCpus") or 0) / 1e9 or quota
    return found


def for_runtime(config: Mapping[str, Any], host: Mapping[str, Any]) -> Document:
    """Options of :func:`kit.containers.config`, but for those that the engine has prepared itself."""
    found = {name: host[key] for key, name in _SAME.items() if host.get(key)} | resources(host)
    found["tmpfs"] = {
        **(host.get("Tmpfs") or {}),
        **{one["Target"]: "" for one in host.get("Mounts") or () if one.get("Type") == "tmpfs"},
    }
    found["devices"] = [
        (
            one["PathOnHost"],
            one.get("PathInContainer") or one["PathOnHost"],
            one.get("CgroupPermissions") or "rwm",
        )
        for one in host.get("Devices") or ()
    ]
    found["ulimits"] = {one["Name"]: (one["Soft"], one["Hard"]) for one in host.get("Ulimits") or ()}
    for key, name in (("User", "user"), ("StopSignal", "stop_signal"), ("Domainname", "domainname")):
        if config.get(key):
            found[name] = config[key]
    return {
        **found,
        "entrypoint": config.get("Entrypoint") or [],
        "cmd": config.get("Cmd") or [],
        "env": config["Env"],
        "workdir": config.get("WorkingDir") or "/",
        "tty": bool(config.get("Tty")),
    }


PORT = re.compile(r"(\d{1,5})(?:/(tcp|udp))?")


def ports(host: Mapping[str, Any], exposed: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """("80/tcp", address of this machine, its port or 0 for any) for each port to publish. Raises Refused."""
    found = []
    for name, places in (host.get("PortBindings") or {}).items():
        port = PORT.fullmatch(name)
        if not port or not 0 < int(port[1]) < 65536:
            raise bad(f"{name!r:.40} is no port: one is 80/tcp")
        for place in places or [{}]:
            text = str(place.get("HostPort") or 0)
            if not text.isdecimal() or int(text) > 65535:
                raise bad(f"the host's port {text!r:.40} is no number up to 65535")
            found.append((f"{port[1]}/{port[2] or 'tcp'}", str(place.get("HostIp") or "0.0.0.0"), int(text)))
    if host.get("PublishAllPorts"):
        found += [(name, "0.0.0.0", 0) for name in exposed if name not in {one[0] for one in found}]
    return found
