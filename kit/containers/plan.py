"""From the config.json of the runtime-spec to what :mod:`kit.linux.contained` does, checked beforehand.

See the runtime-spec's config.md and config-linux.md. What is not supported is refused by name.
"""

from __future__ import annotations

import os
import resource
import stat
from functools import cache
from typing import Any

from kit.cgroups import hierarchy
from kit.containers import resources, seccomp
from kit.containers.config import INIT, capability_set
from kit.containers.errors import BadConfig, known
from kit.images.documents import Document
from kit.linux import capabilities, detached
from kit.linux.spawn import NOT_CONTAINED

_KINDS = ("mount", "network", "pid", "ipc", "uts", "cgroup")
_ATTRIBUTES = {
    "ro": detached.RDONLY, "nosuid": detached.NOSUID, "nodev": detached.NODEV, "noexec": detached.NOEXEC,
    "noatime": detached.NOATIME, "strictatime": detached.STRICTATIME, "nodiratime": detached.NODIRATIME,
}  # fmt: skip
_CLEARED_BY = {"rw": "ro", "suid": "nosuid", "dev": "nodev", "exec": "noexec"}
_USUAL = {"relatime", "atime", "diratime", "async", "private", "rprivate", "bind", "rbind"}
_DEVICES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}  # minor numbers of major 1
_LINKS = {
    "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx", "core": "/proc/kcore",
}  # fmt: skip


def of_container(config: Document, root: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The request for a container's first process, and the namespaces that it joins, by kind.

    Raises :class:`BadConfig`.
    """
    # What the specification doesn't know must be passed over; what it knows and we don't is refused by name.
    for key in ("solaris", "windows", "vm", "zos", "freebsd"):
        known({key: config.get(key)}, "linux", "config")
    known(config.get("hooks") or {}, "prestart createRuntime poststart poststop", "config.hooks")
    version = str(config.get("ociVersion"))
    if not version.startswith(("1.0", "1.1", "1.2", "1.3")):
        raise BadConfig(f"ociVersion {version!r}: the versions 1.0 to 1.3 are supported")
    linux = config.get("linux") or {}
    supported = "namespaces resources devices maskedPaths readonlyPaths sysctl seccomp cgroupsPath"
    known(linux, f"{supported} rootfsPropagation", "linux")
    if linux.get("rootfsPropagation") not in (None, "", "private", "rprivate"):
        raise BadConfig(f"linux.rootfsPropagation {linux['rootfsPropagation']!r}: there is only private")
    if "/" in (linux.get("cgroupsPath") or "").removeprefix("/"):
        raise BadConfig(f"linux.cgroupsPath {linux['cgroupsPath']!r}: it is one name, below no other group")
    new, joined = _namespaces(linux)
    nodev = 0 if resources.all_devices(linux.get("resources") or {}) else detached.NODEV
    attributes: dict[str, int] = {}  # of mounts, given when all is in its place
    mounts = []
    for one in config.get("mounts") or ():
        if one.get("type") == "cgroup":
            mounts += _cgroup_mounts(one, attributes)
        else:
            mounts.append(_mount(one))
    for mounted in mounts:
        if mounted["fstype"] != "devpts" and mounted["target"] != "/dev":
            mounted["attributes"] |= nodev
    dev = {one["fstype"] for one in mounts if one["target"] == "/dev"}
    named = list(map(_device, linux.get("devices") or ()))
    if dev - {"tmpfs"} and (nodev or dev != {None}):
        raise BadConfig("mounts: on /dev comes a tmpfs, or where all devices are allowed a bind")
    if named and not dev:
        raise BadConfig("linux.devices: they are made in a tmpfs on /dev, and mounts has none")
    attributes["/"] = nodev | (detached.RDONLY if (config.get("root") or {}).get("readonly") else 0)
    request = of_process(config, config["process"])
    request["contained"] |= {
        "mounts": mounts,
        "devices": list({one["path"]: one for one in [*_devices(), *named]}.values()),
        "nodev": bool(nodev),
        "links": _LINKS,
        "cwd": request["cwd"],
        "sysctls": _sysctls(linux.get("sysctl") or {}, {*new, *joined}),
        "masked": list(linux.get("maskedPaths") or ()),
        "read_only": list(linux.get("readonlyPaths") or ()),
        "attributes": {path: value for path, value in attributes.items() if value},
        "init": (config.get("annotations") or {}).get(INIT) == "true",
    }
    hostname, domainname = config.get("hostname"), config.get("domainname")
    if (hostname or domainname) and "uts" not in new:
        raise BadConfig("hostname and domainname need a uts namespace of their own")
    request |= {
        "unshare": new,
        "join": list(joined),
        "hostname": hostname,
        "domainname": domainname,
        "loopback": "network" in new,
        "root": root,
    }
    return request, joined


def of_process(config: Document, process: Document) -> dict[str, Any]:
    """The request for one more process of the container. Raises :class:`BadConfig`."""
    names = "terminal consoleSize user args env cwd capabilities rlimits noNewPrivileges oomScoreAdj"
    known(process, names, "process")
    args, cwd, user = process.get("args"), process.get("cwd") or "/", process.get("user") or {}
    known(user, "uid gid umask additionalGids", "process.user")
    if not args or not all(isinstance(word, str) and "\0" not in word for word in args) or not args[0]:
        raise BadConfig(f"process.args is a list of words, the program first, and not {args!r}")
    if not cwd.startswith("/"):
        raise BadConfig(f"process.cwd {cwd!r} must begin with a slash")
    ids = [user.get("uid", 0), user.get("gid", 0), *(user.get("additionalGids") or ())]
    if not all(isinstance(one, int) and 0 <= one < (1 << 32) - 1 for one in ids):
        raise BadConfig(f"process.user {user!r}: ids are numbers from 0 to {(1 << 32) - 2}")
    env = dict(one.partition("=")[::2] for one in process.get("env") or () if one[:1] not in ("=", ""))
    if any("\0" in name + value for name, value in env.items()):
        raise BadConfig("process.env holds a zero byte, with which a string ends for the kernel")
    filtered = (config.get("linux") or {}).get("seccomp")
    size = process.get("consoleSize")
    return {
        **NOT_CONTAINED,
        "argv": args,
        "env": env,
        "cwd": cwd,
        "user": ids[:2],
        "groups": ids[2:],
        "umask": user.get("umask", 0o022),
        "no_new_privs": bool(process.get("noNewPrivileges")),
        "seccomp": seccomp.program(filtered).hex() if filtered else None,
        "root": None,
        "unshare": [],
        "join": [],
        "hostname": None,
        "domainname": None,
        "loopback": False,
        "contained": {
            "tty": bool(process.get("terminal")),
            "size": [size["height"], size["width"]] if size else None,
            "rlimits": [_rlimit(one) for one in process.get("rlimits") or ()],
            "oom_score_adj": process.get("oomScoreAdj"),
            "capabilities": _capabilities(process.get("capabilities") or {}),
            **{"init": False, "mounts": [], "masked": [], "read_only": [], "attributes": {}},
        },
    }


def _namespaces(linux: Document) -> tuple[list[str], dict[str, str]]:
    new, joined = [], {}
    for one in linux.get("namespaces") or ():
        kind, path = one.get("type"), one.get("path")
        if kind not in _KINDS or (path and kind in ("mount", "cgroup")):
            raise BadConfig(f"linux.namespaces: {one} is not supported; supported are {', '.join(_KINDS)}")
        if path:
            joined[kind] = path
        else:
            new.append(kind)
    if "mount" not in new:
        raise BadConfig("linux.namespaces: a container needs a mount namespace of its own")
    return new, joined


def _mount(one: Document) -> dict[str, Any]:
    known(one, "destination type source options", "mounts")
    target, options = one.get("destination"), list(one.get("options") or ())
    if not isinstance(target, str) or not target.startswith("/"):
        raise BadConfig(f"mounts: the destination {target!r} must begin with a slash")
    bind = one.get("type") == "bind" or bool({"bind", "rbind"} & set(options))
    attributes, rest = 0, []
    for option in options:  # a later one overrules an earlier
        if option in _ATTRIBUTES:
            attributes |= _ATTRIBUTES[option]
        elif option in _CLEARED_BY:
            attributes &= ~_ATTRIBUTES[_CLEARED_BY[option]]
        elif option not in _USUAL:
            rest.append(option)
    source = one.get("source") or one.get("type") or ""
    if bind and (rest or not os.path.isabs(source)):
        raise BadConfig(
            f"mounts: {target}: a bind has an absolute source, and the options {rest} are not supported"
        )
    return {
        "source": source,
        "target": target,
        "fstype": None if bind else one.get("type"),
        "bind": bind,
        "recursive": "bind" not in options,
        "attributes": attributes,
        "options": rest,
    }


@cache
def _trees() -> list[hierarchy.Hierarchy]:
    return hierarchy.hierarchies()


def _cgroup_mounts(one: Document, attributes: dict[str, int]) -> list[dict[str, Any]]:
    """The group as the container sees it: cgroup2, or one tree for each of v1's hierarchies."""
    top = _mount(one)
    trees = _trees()
    if all(tree.version == 2 for tree in trees):
        return [top | {"fstype": "cgroup2", "source": "cgroup"}]
    if top["attributes"] & detached.RDONLY:
        attributes[top["target"]] = detached.RDONLY
    writable = top | {"attributes": top["attributes"] & ~detached.RDONLY}
    found = [writable | {"fstype": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}]
    for tree in trees:
        fstype, options = ("cgroup2", []) if tree.version == 2 else ("cgroup", list(tree.controllers))
        place = f"{top['target']}/{tree.mount_point.name}"
        found.append(top | {"fstype": fstype, "source": "cgroup", "target": place, "options": options})
    return found


def _devices() -> list[dict[str, Any]]:
    made = {name: os.makedev(1, minor) for name, minor in _DEVICES.items()} | {"tty": os.makedev(5, 0)}
    return [
        {"path": f"/dev/{name}", "mode": stat.S_IFCHR | 0o666, "device": number, "uid": 0, "gid": 0}
        for name, number in made.items()
    ]


def _device(one: Document) -> dict[str, Any]:
    known(one, "path type major minor fileMode uid gid", "linux.devices")
    kinds = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
    kind = kinds.get(one.get("type", ""))
    path = str(one.get("path"))
    if kind is None or not path.startswith("/dev/") or os.path.normpath(path) != path:
        raise BadConfig(f"linux.devices: {one} is not supported: a path below /dev, and type c, b or p")
    return {
        "path": one["path"],
        "mode": kind | (one["fileMode"] if one.get("fileMode") is not None else 0o666),
        "device": os.makedev(one.get("major") or 0, one.get("minor") or 0),
        "uid": one.get("uid") or 0,
        "gid": one.get("gid") or 0,
    }


def _sysctls(wanted: dict[str, str], namespaces: set[str]) -> dict[str, str]:
    """Those that belong to a namespace of the container's: all others would change the machine."""
    for name in wanted:
        ipc = name.startswith(("kernel.msg", "kernel.shm", "fs.mqueue.")) or name == "kernel.sem"
        kind = "ipc" if ipc else "network" if name.startswith("net.") else None
        if kind not in namespaces:
            raise BadConfig(f"linux.sysctl {name}: it belongs to the machine, not to a namespace of its own")
    return dict(wanted)


def _rlimit(one: Document) -> tuple[int, int, int]:
    number = getattr(resource, str(one.get("type")), None)
    if not str(one.get("type")).startswith("RLIMIT_") or number is None:
        raise BadConfig(f"process.rlimits: there is no {one.get('type')!r}; see setrlimit(2)")
    soft, hard = (-1 if one[key] >= (1 << 63) - 1 else one[key] for key in ("soft", "hard"))
    return number, soft, hard


@cache
def _mask(names: tuple[str, ...]) -> int:
    """These capabilities as bits, but for those that root has not here."""
    kept = capability_set(names, ["ALL"])
    return capabilities.get()[1] & sum(1 << capabilities.number(one) for one in kept)


def _capabilities(sets: Document) -> dict[str, int]:
    names = ("bounding", "effective", "permitted", "inheritable", "ambient")
    known(sets, " ".join(names), "process.capabilities")
    masks = {name: _mask(tuple(sets.get(name) or ())) for name in names}
    masks["ambient"] &= masks["permitted"] & masks["inheritable"]  # more can't be: see capabilities(7)
    return masks
