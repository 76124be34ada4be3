"""From an image's configuration and Docker's options to the config.json of the OCI runtime-spec.

What Docker gives a container unless told otherwise stands at the top: its mounts, its capabilities, what it
may not see and not write. See the runtime-spec's config.md and config-linux.md, and docker-run(1).
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kit.containers import seccomp
from kit.containers.errors import BadConfig
from kit.images.build import users
from kit.images.build.errors import BadDockerfile
from kit.images.documents import Document
from kit.linux import capabilities

OCI_VERSION = "1.0.2"  # nothing here is newer, and crun of Debian 12 takes no newer one
INIT = "org.kit.init"  # annotation: "true" puts a small init before the program
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PERIOD = 100_000  # microseconds of cpu.max

CAPABILITIES = (
    "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD "
    "AUDIT_WRITE SETFCAP"
).split()
MASKED = (
    "/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug "
    "/proc/scsi /proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware"
).split()
READ_ONLY = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger".split()
_QUIET = ["nosuid", "noexec", "nodev"]
_PTS = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]


def config(
    image_config: Document,
    *,
    root: Path | None = None,
    cmd: Sequence[str] | None = None,
    entrypoint: Sequence[str] | None = None,
    env: Iterable[str] = (),
    workdir: str | None = None,
    user: str | None = None,
    group_add: Iterable[int] = (),
    hostname: str | None = None,
    domainname: str | None = None,
    memory: int = 0,
    memory_swap: int = 0,
    cpus: float = 0,
    cpu_shares: int = 0,
    cpuset: str = "",
    pids_limit: int = 0,
    oom_score_adj: int = 0,
    shm_size: int = 64 << 20,
    cap_add: Iterable[str] = (),
    cap_drop: Iterable[str] = (),
    privileged: bool = False,
    security_opt: Iterable[str] = (),
    read_only: bool = False,
    tmpfs: Mapping[str, str] | None = None,
    mounts: Iterable[tuple[str, str, str]] = (),
    devices: Iterable[tuple[str, str, str]] = (),
    ulimits: Mapping[str, tuple[int, int]] | None = None,
    sysctls: Mapping[str, str] | None = None,
    init: bool = False,
    tty: bool = False,
    stop_signal: str | None = None,
    network: str = "none",
    pid: str = "",
    ipc: str = "",
    uts: str = "",
) -> Document:
    """The config.json of a container, from the image's configuration and ``docker run``'s options.

    ``root`` is the mounted image: users named in it are looked up there. ``env`` holds NAME=VALUE.
    ``memory``, ``memory_swap`` (memory and swap together, -1 without limit) and ``shm_size`` are bytes, 0 no
    limit. ``tmpfs`` maps a path to options ("size=64m,exec"); ``mounts`` are (source, target, "ro" or "rw");
    ``devices`` (path here, path inside, "rwm"); ``ulimits`` map "nofile" and the like to (soft, hard), -1
    without limit. ``security_opt`` takes "no-new-privileges", "seccomp=unconfined" and "seccomp=PROFILE"
    (as JSON, Docker's or the runtime-spec's). ``network`` is "none" (only lo), "host", or the path of a
    network namespace; ``pid``, ``ipc`` and ``uts`` are "" (their own), "host" or a path.

    Raises :class:`BadConfig` for what makes no sense, or is not supported.
    """
    image = image_config.get("config") or {}
    args = [*(entrypoint if entrypoint is not None else image.get("Entrypoint") or ())]
    args += cmd if cmd is not None else () if entrypoint is not None else image.get("Cmd") or ()
    if not args:
        raise BadConfig("no command: neither the image nor the caller names one")
    who = _user(root, user if user is not None else image.get("User") or "")
    home = who.pop("home")
    who["additionalGids"] = [*who["additionalGids"], *group_add]
    environment = dict(
        one.partition("=")[::2]
        for one in (
            PATH,
            *([f"HOSTNAME={hostname}"] if hostname else ()),
            *(["TERM=xterm"] if tty else ()),
            f"HOME={home}",
            *(image.get("Env") or ()),
            *env,
        )
    )
    caps = capability_set(cap_add, cap_drop, privileged)
    filtered, no_new_privs = _security(security_opt, frozenset(caps))
    made: Document = {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": tty,
            "user": who,
            "args": args,
            "env": [f"{name}={value}" for name, value in environment.items()],
            "cwd": workdir or image.get("WorkingDir") or "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), caps),
            "rlimits": [
                {"type": f"RLIMIT_{name.upper()}", "soft": _limit(soft), "hard": _limit(hard)}
                for name, (soft, hard) in (ulimits or {}).items()
            ],
            "noNewPrivileges": no_new_privs,
            "oomScoreAdj": oom_score_adj,
        },
        "root": {"path": "rootfs", "readonly": read_only},
        "mounts": _mounts(privileged, ipc, shm_size, tmpfs or {}, mounts),
        "annotations": {INIT: "true"} if init else {},
        "linux": {
            "namespaces": _namespaces(network, pid, ipc, uts),
            "resources": _resources(memory, memory_swap, cpus, cpu_shares, cpuset, pids_limit, privileged),
            "devices": [_device(*one) for one in devices],
            "maskedPaths": [] if privileged else MASKED,
            "readonlyPaths": [] if privileged else READ_ONLY,
            "sysctl": dict(sysctls or {}),
        },
    }
    if privileged:
        made["linux"]["devices"] += _all_devices()
    if stop := stop_signal or image.get("StopSignal"):
        made["annotations"]["org.opencontainers.image.stopSignal"] = stop
    for key, value in (("hostname", hostname), ("domainname", domainname)):
        if value:
            made[key] = value
    if filtered is None and not privileged:
        filtered = seccomp.default(frozenset(caps))
    if filtered:
        made["linux"]["seccomp"] = filtered
    return made


def user(root: Path, text: str) -> Document:
    """``name[:group]`` or numbers as the runtime-spec's ``user``, by /etc/passwd and /etc/group in ``root``.

    Raises :class:`BadConfig` for a name that they do not have.
    """
    found = _user(root, text)
    del found["home"]
    return found


def _user(root: Path | None, text: str) -> Document:
    if root is None:
        uid, _, gid = text.partition(":")
        if not all(part.isdecimal() or not part for part in (uid, gid)):
            raise BadConfig(f"to look up the user {text!r} the image's mounted root is needed")
        return {"uid": int(uid or 0), "gid": int(gid or 0), "additionalGids": [], "home": "/"}
    try:
        found = users.find(root, text)
    except BadDockerfile as error:
        raise BadConfig(str(error)) from None
    return {"uid": found.uid, "gid": found.gid, "additionalGids": [*found.groups], "home": found.home}


def capability_set(add: Iterable[str], drop: Iterable[str], privileged: bool = False) -> list[str]:
    """Docker's default set with some added and dropped, "ALL" for all; in the kernel's order."""
    added, dropped = ({f"CAP_{name.upper().removeprefix('CAP_')}" for name in some} for some in (add, drop))
    try:
        for name in (added | dropped) - {"CAP_ALL"}:
            capabilities.number(name)
    except ValueError as error:
        raise BadConfig(str(error)) from None
    every = capabilities.names(capabilities.get()[1])  # nobody can give more than what root has here
    kept = every if privileged or "CAP_ALL" in added else {f"CAP_{name}" for name in CAPABILITIES}
    kept = (set() if "CAP_ALL" in dropped else kept - dropped) | (added - {"CAP_ALL"})
    return sorted(kept, key=capabilities.number)


def _security(options: Iterable[str], caps: frozenset[str]) -> tuple[Document | None, bool]:
    profile: Document | None = None
    no_new_privs = False
    for option in options:
        name, value = re.fullmatch(r"([^:=]*)[:=]?(.*)", option, re.DOTALL).groups()  # type: ignore[union-attr]
        if name == "no-new-privileges" and value in ("", "true", "false"):
            no_new_privs = value != "false"
        elif name == "seccomp":
            profile = {} if value == "unconfined" else _profile(value, caps)
        elif (name, value) not in (("apparmor", "unconfined"), ("label", "disable")):
            raise BadConfig(f"security_opt {option!r} is not supported: neither AppArmor nor SELinux is used")
    return profile, no_new_privs


def _profile(text: str, caps: frozenset[str]) -> Document:
    try:
        profile = seccomp.resolved(json.loads(text), caps)
        seccomp.program(profile)
    except ValueError as error:
        raise BadConfig(f"the seccomp profile: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise BadConfig(f"the seccomp profile: it is not in Docker's format: {error!r}") from None
    return profile


def _limit(value: int) -> int:
    return value if value >= 0 else (1 << 64) - 1


def _mounts(
    privileged: bool, ipc: str, shm: int, tmpfs: Mapping[str, str], binds: Iterable[tuple[str, str, str]]
) -> list[Document]:
    see = _QUIET if privileged else [*_QUIET, "ro"]
    found = [
        _mount("/proc", "proc", _QUIET),
        _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", _PTS),
        _mount("/sys", "sysfs", see),
        _mount("/sys/fs/cgroup", "cgroup", [*see, "relatime"]),
    ]
    if ipc == "host":
        found += [_bind(path, path, "rw") for path in ("/dev/mqueue", "/dev/shm") if os.path.isdir(path)]
    else:
        found.append(_mount("/dev/mqueue", "mqueue", _QUIET))
        found.append(_mount("/dev/shm", "tmpfs", [*_QUIET, "mode=1777", f"size={shm}"]))
    for path, options in tmpfs.items():
        found.append(_mount(path, "tmpfs", [*_QUIET, *filter(None, options.split(","))]))
    bound = [_bind(*one) for one in binds]
    return found + sorted(bound, key=lambda one: one["destination"].count("/"))


def _mount(path: str, fstype: str, options: list[str]) -> Document:
    return {"destination": path, "type": fstype, "source": fstype, "options": options}


def _bind(source: str, target: str, options: str) -> Document:
    words = [word for word in options.split(",") if word not in ("", "rw", "z", "Z")]
    kind = [] if {"bind", "rbind"} & set(words) else ["rbind"]
    return {"destination": target, "type": "bind", "source": source, "options": [*kind, "rprivate", *words]}


def _namespaces(network: str, pid: str, ipc: str, uts: str) -> list[Document]:
    found: list[Document] = [{"type": "mount"}, {"type": "cgroup"}]
    for kind, wish in (("network", network), ("pid", pid), ("ipc", ipc), ("uts", uts)):
        if wish.startswith("/"):
            found.append({"type": kind, "path": wish})
        elif wish == ("none" if kind == "network" else ""):
            found.append({"type": kind})
        elif wish != "host":
            raise BadConfig(f"{kind}={wish!r}: say 'host', or the path of a namespace")
    return found


def _resources(
    memory: int, swap: int, cpus: float, shares: int, cpuset: str, pids: int, privileged: bool
) -> Document:
    found: Document = {"devices": [{"allow": privileged, "access": "rwm"}]}
    if swap > 0 and (not memory or swap < memory):
        raise BadConfig("memory_swap counts memory and swap together: memory must be set, and not be more")
    if memory:
        found["memory"] = {"limit": memory, **({"swap": swap} if swap else {})}
    cpu: Document = {"shares": shares} if shares else {}
    if cpus:
        cpu |= {"quota": round(cpus * PERIOD), "period": PERIOD}
    if cpu or cpuset:
        found["cpu"] = cpu | ({"cpus": cpuset} if cpuset else {})
    if pids > 0:
        found["pids"] = {"limit": pids}
    return found


def _device(here: str, inside: str, access: str = "rwm") -> Document:
    if set(access) != set("rwm"):
        raise BadConfig(f"the device {here} with {access!r}: only 'rwm' is supported")
    try:
        status = os.stat(here)
    except OSError as error:
        raise BadConfig(f"the device {here}: {error.strerror}") from None
    kind = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        raise BadConfig(f"{here} is no device")
    return {
        "path": inside,
        "type": kind,
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }


def _all_devices() -> list[Document]:
    """The devices of this machine but for terminals and what every container has."""
    found = []
    for entry in os.scandir("/dev"):
        mode = entry.stat(follow_symlinks=False).st_mode
        if (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)) and entry.name not in ("ptmx", "console", "tty"):
            found.append(_device(entry.path, entry.path))
    return found
