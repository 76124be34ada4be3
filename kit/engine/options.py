"""What a client asks of a container: its shape, and how the runtime takes it.

See "Create a container" of the Docker Engine API. Clients send all options; one that the engine does not have
is refused by its name, unless it is empty or says what is so anyway.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kit.engine import asked
from kit.engine.asked import bad
from kit.engine.logs import limits
from kit.images.documents import Document

_WORDS = [str]
_ENDPOINT: Document = {
    "IPAMConfig": {"IPv4Address": str}, "Aliases": [str], "MacAddress": str,
    # What inspect tells of an endpoint may be sent back:
    **dict.fromkeys(("NetworkID", "EndpointID", "Gateway", "IPAddress"), str),
    "IPPrefixLen": int, "DNSNames": [str],
}  # fmt: skip
_MOUNT: Document = {
    **dict.fromkeys(("Source", "Target"), str), "ReadOnly": bool, "Type": ("bind", "volume", "tmpfs"),
    "Consistency": ("", "default", "consistent", "cached", "delegated"),
    "BindOptions": {"Propagation": ("", "rprivate")},
    "VolumeOptions": {"NoCopy": bool, "Labels": {str: str}, "DriverConfig": {"Name": ("", "local")}},
    "TmpfsOptions": {"SizeBytes": int, "Mode": int},
}  # fmt: skip
_HOST: Document = {
    **dict.fromkeys("NetworkMode PidMode IpcMode UTSMode CpusetCpus ContainerIDFile".split(), str),
    **dict.fromkeys("AutoRemove Privileged ReadonlyRootfs PublishAllPorts Init".split(), bool),
    **dict.fromkeys("Memory MemorySwap NanoCpus CpuShares CpuPeriod CpuQuota PidsLimit".split(), int),
    **dict.fromkeys("ShmSize OomScoreAdj".split(), int),
    **dict.fromkeys("Binds CapAdd CapDrop Dns DnsOptions DnsSearch ExtraHosts".split(), _WORDS),
    **dict.fromkeys("GroupAdd SecurityOpt VolumesFrom".split(), _WORDS),
    "ConsoleSize": [int], "Tmpfs": {str: str}, "Sysctls": {str: str}, "Mounts": [_MOUNT],
    "PortBindings": {str: [{"HostIp": str, "HostPort": str}]},
    "RestartPolicy": {"Name": str, "MaximumRetryCount": int},
    "LogConfig": {"Type": str, "Config": {str: str}},
    "Devices": [{"PathOnHost": str, "PathInContainer": str, "CgroupPermissions": str}],
    "Ulimits": [{"Name": str, "Soft": int, "Hard": int}],
    # What is so anyway; an empty list of masked paths would mean something else:
    "MemorySwappiness": (-1,), "MaskedPaths": (), "ReadonlyPaths": (), "UsernsMode": ("", "host"),
    "CgroupnsMode": ("", "private"), "Isolation": ("", "default"), "VolumeDriver": ("", "local"),
}  # fmt: skip
_REQUEST: Document = {
    **dict.fromkeys("Hostname Domainname User Image WorkingDir StopSignal MacAddress".split(), str),
    **dict.fromkeys("AttachStdin AttachStdout AttachStderr Tty OpenStdin StdinOnce".split(), bool),
    **dict.fromkeys("Cmd Entrypoint Env".split(), _WORDS), "StopTimeout": int, "Labels": {str: str},
    "ExposedPorts": {str: {}}, "Volumes": {str: {}},
    "Healthcheck": {"Test": [str], **dict.fromkeys(
        "Interval Timeout StartPeriod StartInterval Retries".split(), int)},
    "HostConfig": _HOST, "NetworkingConfig": {"EndpointsConfig": {str: _ENDPOINT}},
}  # fmt: skip
_POLICIES = ("", "no", "always", "unless-stopped", "on-failure")
_SAME = {
    "Memory": "memory", "MemorySwap": "memory_swap", "CpuShares": "cpu_shares", "CpusetCpus": "cpuset",
    "PidsLimit": "pids_limit", "CapAdd": "cap_add", "CapDrop": "cap_drop", "Privileged": "privileged",
    "SecurityOpt": "security_opt", "ReadonlyRootfs": "read_only", "Sysctls": "sysctls",
    "Init": "init", "ShmSize": "shm_size", "OomScoreAdj": "oom_score_adj",
}  # fmt: skip
RESOURCES = (
    "Memory", "MemorySwap", "CpuShares", "CpusetCpus", "PidsLimit", "NanoCpus", "CpuPeriod", "CpuQuota",
)  # fmt: skip
_EMPTY = {str: "", bool: False, int: 0}
#: A HostConfig of which nothing was asked.
DEFAULTS: Document = {key: _EMPTY[kind] for key, kind in _HOST.items() if isinstance(kind, type)} | {
    **{key: None for key, kind in _HOST.items() if isinstance(kind, list | dict)},
    "LogConfig": {"Type": "json-file", "Config": {}}, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
}  # fmt: skip


def check(document: Document) -> None:
    """Raise Refused for what can't be, or what the engine does not have."""
    for key in ("Cmd", "Entrypoint"):
        document[key] = words(document.get(key))
    asked.known(document, _REQUEST)
    if not document.get("Image"):
        raise bad("no image was named")
    number_of(document.get("StopSignal") or "TERM")
    health, host = document.get("Healthcheck") or {}, document.get("HostConfig") or {}
    if (health.get("Test") or ["NONE"])[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise bad("Healthcheck.Test begins with NONE, CMD or CMD-SHELL")
    for key in ("Interval", "Timeout", "StartPeriod", "StartInterval"):
        if (health.get(key) or 10**6) < 10**6:
            raise bad(f"{key} in Healthcheck cannot be less than 1ms")
    check_host(host)
    log = host.get("LogConfig") or {}
    if log.get("Type") not in (None, "", "json-file", "none"):
        raise bad(f"logger: no log driver named '{log['Type']:.40}' is registered")
    limits(log.get("Config") or {})


def check_host(host: Document) -> None:
    """Raise Refused for options of HostConfig that can't be, or that the engine does not have."""
    asked.known(host, _HOST, "HostConfig")
    policy = (host.get("RestartPolicy") or {}).get("Name") or ""
    if policy not in _POLICIES:
        raise bad(f"restart policy {policy!r:.40}: there are {', '.join(_POLICIES[1:])}")
    if host.get("AutoRemove") and policy not in ("", "no"):
        raise bad("can't create 'AutoRemove' container with restart policy")
    if (host.get("Memory") or 6 << 20) < 6 << 20:
        raise bad("Minimum memory limit allowed is 6MB")


def endpoint(wish: Document) -> None:
    """Raise Refused for what a container's place on a network can't have."""
    asked.known(wish, _ENDPOINT, "EndpointConfig")


def words(value: Any) -> Any:
    """A command as words; a single text is split at blanks by the client, or else is one word."""
    return [value] if isinstance(value, str) else value


def number_of(text: str) -> int:
    """A signal by its number or its name; raises Refused."""
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    number = int(text) if re.fullmatch("[0-9]{1,3}", text) else getattr(signal, name, 0)
    if number not in signal.valid_signals():
        raise bad(f"invalid signal: {text:.40}")
    return int(number)


def merged(document: Mapping[str, Any], image: Mapping[str, Any]) -> Document:
    """A container's Config: what was asked for, and from the image what was not."""
    config = {key: value for key, value in document.items() if key not in ("HostConfig", "NetworkingConfig")}
    for key in ("User", "WorkingDir", "StopSignal"):
        config[key] = config.get(key) or image.get(key) or ""
    health = {key: value for key, value in (config.get("Healthcheck") or {}).items() if value}
    config["Healthcheck"] = {**(image.get("Healthcheck") or {}), **health} or None
    if config.get("Entrypoint") is None:
        config["Cmd"] = config.get("Cmd") or image.get("Cmd")
        config["Entrypoint"] = image.get("Entrypoint")
    if config["Entrypoint"] == [""]:  # --entrypoint "" takes the image's away
        config["Entrypoint"] = None
    if not (config["Entrypoint"] or config["Cmd"]):
        raise bad("no command specified")
    given = config.get("Env") or []  # there a name alone means: not that one
    names = {text.partition("=")[0] for text in given}
    config["Env"] = [text for text in image.get("Env") or [] if text.partition("=")[0] not in names] + given
    for key in ("Labels", "ExposedPorts", "Volumes"):
        config[key] = {**(image.get(key) or {}), **(config.get(key) or {})}
    return config


def changed(config: Document, changes: Sequence[str]) -> None:
    """Change a Config by lines of a Dockerfile, as `docker commit --change` does. Raises BadDockerfile."""
    from kit.images.build.dockerfile import parse
    from kit.images.build.instruction import expanded
    from kit.images.build.metadata import configure, environment

    first, *others = parse("\n".join(["FROM scratch", *changes]), "changes").stages
    for one in first.instructions:
        if others or one.name in ("ADD", "ARG", "COPY", "RUN"):
            raise bad(f"{one.name} is not a valid change: it would take a build")
        configure(config, expanded(one, environment(config)))


def resources(host: Mapping[str, Any]) -> Document:
    """The limits, under the runtime's names."""
    found = {_SAME[key]: host[key] for key in RESOURCES if key in _SAME and host.get(key)}
    if host.get("NanoCpus") or host.get("CpuQuota"):
        quota = (host.get("CpuQuota") or 0) / (host.get("CpuPeriod") or 100_000)
        found["cpus"] = (host.get("NanoCpus") or 0) / 1e9 or quota
    return found


def for_runtime(config: Mapping[str, Any], host: Mapping[str, Any], root: Path | None = None) -> Document:
    """Options of :func:`kit.containers.config`, but for those that the engine has prepared itself."""
    from kit import containers

    found = {name: host[key] for key, name in _SAME.items() if host.get(key)} | resources(host)
    found["tmpfs"] = dict(host.get("Tmpfs") or {})
    for one in host.get("Mounts") or ():
        if one["Type"] == "tmpfs":
            more = one.get("TmpfsOptions") or {}
            size = [f"size={more['SizeBytes']}"] if more.get("SizeBytes") else []
            found["tmpfs"][one["Target"]] = ",".join(size + [f"mode={more['Mode']:o}"] * ("Mode" in more))
    found["devices"] = [
        (one["PathOnHost"], one.get("PathInContainer") or one["PathOnHost"],
         one.get("CgroupPermissions") or "rwm")
        for one in host.get("Devices") or ()
    ]  # fmt: skip
    found["ulimits"] = {one["Name"]: (one["Soft"], one["Hard"]) for one in host.get("Ulimits") or ()}
    if root:
        groups = host.get("GroupAdd") or ()
        found |= {"root": root, "group_add": [containers.user(root, f"0:{one}")["gid"] for one in groups]}
    for key, name in (("User", "user"), ("StopSignal", "stop_signal"), ("Domainname", "domainname")):
        if config.get(key):
            found[name] = config[key]
    for key, name in (("PidMode", "pid"), ("IpcMode", "ipc"), ("UTSMode", "uts")):
        if host.get(key) == "host":
            found[name] = "host"
        elif host.get(key) not in (None, "", "private"):
            raise bad(f"{key}={host[key]!r:.40}: there is host")
    return {
        **found,
        "entrypoint": config.get("Entrypoint") or [],
        "cmd": config.get("Cmd") or [],
        "env": [text for text in config["Env"] if "=" in text],
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
