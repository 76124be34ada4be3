"""Reading what the kernel says of processes and mounts under /proc.

See proc(5), proc_pid_mountinfo(5), namespaces(7).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

from kit.linux.clone import NS_LINKS
from kit.linux.errors import KernelError


def _read(pid: int | str, name: str) -> str:
    path = f"/proc/{pid}/{name}"
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError as error:
        raise _error(f"read {path}", error, path) from None


def _error(what: str, error: OSError, path: str) -> KernelError:
    refused = KernelError(what, error.errno or 0, path=path)
    refused.remedy = {
        "ENOENT": "No process has that number (any more).",
        "ESRCH": "The process ended meanwhile.",
        "EACCES": "It belongs to someone else: only its owner and root may look.",
        "EPERM": "It belongs to someone else: only its owner and root may look.",
    }.get(refused.errno_name, "")
    return refused


def pids() -> list[int]:
    """The processes that this /proc shows, in order of their numbers.

    Those of the pid namespace that mounted it.
    """
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def _stat(pid: int | str) -> list[str]:
    # The command's name stands in parentheses and may hold spaces and parentheses: cut after the last one.
    return _read(pid, "stat").rpartition(")")[2].split()


def state(pid: int) -> str:
    """One letter: R running, S sleeping, D in uninterruptible sleep, T stopped, Z zombie.

    See proc_pid_stat(5).
    """
    return _stat(pid)[0]


def parent(pid: int) -> int:
    """The number of the parent process; 0 where the parent is in another pid namespace."""
    return int(_stat(pid)[1])


def start_time(pid: int | str) -> int:
    """When the process started, in clock ticks since boot: with the pid it names a process for good."""
    return int(_stat(pid)[19])


def command(pid: int) -> list[str]:
    """The command line; empty for a kernel thread or a zombie."""
    return _read(pid, "cmdline").split("\0")[:-1]


def status(pid: int | str = "self") -> dict[str, str]:
    """The lines of /proc/PID/status as a mapping. See proc_pid_status(5)."""
    pairs = (line.partition(":") for line in _read(pid, "status").splitlines())
    return {name: value.strip() for name, _, value in pairs}


def namespaces(pid: int | str = "self") -> dict[str, int]:
    """The inode number of each namespace that the process is in.

    Equal numbers, same namespace. See namespaces(7).
    """
    found = {}
    for name, link in NS_LINKS.items():
        path = f"/proc/{pid}/ns/{link}"
        try:
            found[name] = int(os.readlink(path).partition("[")[2].rstrip("]"))
        except FileNotFoundError as error:
            if not os.path.isdir(f"/proc/{pid}"):
                raise _error(f"read {path}", error, path) from None
            # else this kernel has no such kind
        except OSError as error:
            raise _error(f"read {path}", error, path) from None
    return found


def uid_map(pid: int | str = "self") -> list[tuple[int, int, int]]:
    """(inside, outside, count) for each range of user ids. See user_namespaces(7)."""
    return [
        (int(i), int(o), int(n)) for i, o, n in (line.split() for line in _read(pid, "uid_map").splitlines())
    ]


def gid_map(pid: int | str = "self") -> list[tuple[int, int, int]]:
    """(inside, outside, count) for each range of group ids. See user_namespaces(7)."""
    return [
        (int(i), int(o), int(n)) for i, o, n in (line.split() for line in _read(pid, "gid_map").splitlines())
    ]


def cgroups(pid: int | str = "self") -> list[tuple[int, list[str], str]]:
    """(hierarchy, controllers, path) per line of /proc/PID/cgroup.

    Hierarchy 0 is cgroup v2. See cgroups(7).
    """
    found = []
    for line in _read(pid, "cgroup").splitlines():
        hierarchy, controllers, path = line.split(":", 2)
        found.append((int(hierarchy), controllers.split(",") if controllers else [], path))
    return found


@dataclass(frozen=True)
class MountInfo:
    """One line of /proc/PID/mountinfo."""

    mount_id: int
    parent_id: int
    root: str
    mount_point: str
    options: str
    propagation: str
    fstype: str
    source: str
    super_options: str


def _unescape(text: str) -> str:
    # Space, tab, newline and backslash are written as \040, \011, \012, \134.
    for octal, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(octal, character)
    return text


def mountinfo(pid: int | str = "self", fstype: str = "") -> list[MountInfo]:
    """The mounts of the namespace that the process is in, in the order they were made; those whose file
    system's type begins with ``fstype``.

    See proc_pid_mountinfo(5).
    """
    return [_mount(line) for line in _read(pid, "mountinfo").splitlines() if f" - {fstype}" in line]


@lru_cache(256)
def _mount(line: str) -> MountInfo:
    left, _, right = line.partition(" - ")
    mount_id, parent_id, _device, root, point, options, *propagation = left.split(" ")
    fstype, source, super_options = right.split(" ", 2)
    return MountInfo(
        int(mount_id),
        int(parent_id),
        _unescape(root),
        _unescape(point),
        options,
        " ".join(propagation),
        fstype,
        _unescape(source),
        super_options,
    )
