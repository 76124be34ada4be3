"""The tree of a container: its mounts, its devices, what is covered, its terminal.

As :mod:`kit.linux.child`, this runs between clone and exec in a copy of the helper. Copies of what the
container gets from outside are taken first (open_tree(2)); then comes pivot_root(2), and all paths are looked
up after it: whatever links an image or a volume holds, and whoever changes them meanwhile, a path can lead
nowhere but into the container's own root. See pivot_root(2), path_resolution(7), the OCI runtime-spec.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from errno import ENOENT
from functools import cache
from typing import Any, Protocol

from kit.linux import detached, terminal
from kit.linux.mount import MS_PRIVATE, MS_REC, MountFlags, mount
from kit.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2
from kit.linux.pivot_root import pivot_root

_INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS  # /proc/self/fd/N may lead out of the root
_QUIET = detached.NOSUID | detached.NODEV | detached.NOEXEC
_PLAIN = _QUIET | detached.RDONLY  # attributes that have the same number as a flag of mount(2)
_NULL_DEVICE = os.makedev(1, 3)


class Step(Protocol):
    """Names the step under way, so that an error can say what was tried."""

    name: str


def build(root: str, plan: Mapping[str, Any], step: Step) -> None:
    """Make the container's tree and enter it, in a new mount namespace."""
    step.name = "make all mounts private"
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    if plan["oom_score_adj"] is not None:
        step.name = "set oom_score_adj"
        _write(os.open("/proc/self/oom_score_adj", os.O_WRONLY), str(plan["oom_score_adj"]))
    binds = [_copy(one, step) if one["bind"] else -1 for one in plan["mounts"]]
    step.name = f"pivot_root to {root}"
    pivot_root(root)
    new: dict[str, int] = {}
    for one, bind in zip(plan["mounts"], binds, strict=True):
        step.name = f"mount {one['fstype'] or one['source']} on {one['target']}"
        if not _mount_in(new, one):
            mounted = _attach(one, bind)
            if one["fstype"] == "tmpfs":
                new[one["target"]] = mounted
            if one["target"] == "/dev" and not one["bind"]:
                _fill(mounted, plan, step)
    if plan["cwd"] != "/":
        step.name = f"make the working directory {plan['cwd']}"
        os.close(_place(plan["cwd"], True))
    for name, value in plan["sysctls"].items():
        step.name = f"set {name}"
        path = f"/proc/sys/{name.replace('.', '/')}"
        _write(_open(path, os.O_WRONLY, _INSIDE | RESOLVE_NO_SYMLINKS), value)


def close_off(plan: Mapping[str, Any], step: Step) -> None:
    """Cover what may not be seen and protect what may not be written; the terminal is there by now."""
    for path in plan["read_only"]:
        step.name = f"protect {path}"
        if (fd := _find(path)) >= 0:
            copy = detached.tree("", fd, recursive=True)
            detached.set_attributes(copy, detached.RDONLY, recursive=True)
            _put(copy, fd)
    empty = -1
    for path in plan["masked"]:
        step.name = f"cover {path}"
        if (fd := _find(path)) < 0:
            continue
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            _put(detached.tree("", _null()), fd)
        elif empty < 0:  # one new directory with nothing in it, and copies of its mount
            empty = detached.filesystem("tmpfs", "tmpfs", ("size=0",), _QUIET | detached.RDONLY)
            _put(empty, fd, close=False)
        else:
            _put(detached.tree("", empty), fd)
    for path, attributes in plan["attributes"].items():
        step.name = f"protect {path}"
        if (fd := _find(path)) >= 0:
            detached.set_attributes(fd, attributes)
            os.close(fd)


def console(plan: Mapping[str, Any], step: Step, user: tuple[int, int]) -> int:
    """A terminal of the container's own as standard input, output and error; the master's descriptor."""
    step.name = "open a terminal"
    master, slave = terminal.open_pair(_open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY), plan["size"])
    os.fchown(slave, *user)
    if plan["mounts"]:  # not for an exec: its terminal is another one
        _put(detached.tree("", slave), _place("/dev/console", False))
    terminal.control(slave)
    for number in range(3):
        os.dup2(slave, number)
    os.close(slave)
    return master


def enter_directory(path: str, step: Step) -> None:
    """Change directory, by a path that stays inside the root, and is inside it in the end."""
    step.name = f"change directory to {path}"
    fd = _open(path, os.O_PATH | os.O_DIRECTORY)
    os.fchdir(fd)
    os.close(fd)
    os.getcwd()  # ENOENT for a directory that the root does not reach


def _write(fd: int, text: str) -> None:
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _open(path: str, flags: int, resolve: int = _INSIDE) -> int:
    return openat2(_root(), path, flags, resolve=resolve)


@cache
def _root() -> int:
    """The root, opened once it is the container's; exec closes it."""
    return os.open("/", os.O_PATH | os.O_CLOEXEC)


def _find(path: str, resolve: int = _INSIDE | RESOLVE_NO_SYMLINKS) -> int:
    """An existing path, by default one with no link on its way; -1 where there is nothing."""
    return openat2(_root(), path, os.O_PATH, resolve=resolve, maybe=True)


def _place(path: str, directory: bool, resolve: int = _INSIDE) -> int:
    """Open where something is to be mounted; what is missing of the path is made. Links stay in the root."""
    if (there := _find(path, resolve)) >= 0:
        return there
    above, _, name = path.rstrip("/").rpartition("/")
    parent = _place(above or "/", True, resolve)
    try:
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent))
        return openat2(parent, name, os.O_PATH, resolve=resolve)
    finally:
        os.close(parent)


def _put(mount_fd: int, place: int, close: bool = True) -> None:
    detached.attach(mount_fd, place)
    os.close(place)
    if close:
        os.close(mount_fd)


def _copy(one: Mapping[str, Any], step: Step) -> int:
    """A copy of what is to be bound, with its attributes, taken from the host's tree."""
    step.name = f"bind {one['source']}"
    fd = detached.tree(one["source"], recursive=one["recursive"])
    detached.set_attributes(fd, one["attributes"], one["recursive"])
    return fd


def _attach(one: Mapping[str, Any], bind: int) -> int:
    """Mount what is new, or was copied before; the mount, as a descriptor."""
    # A link under /proc or /sys could change between the mount and the covers that come later: none there.
    links = RESOLVE_NO_SYMLINKS if one["fstype"] in ("proc", "sysfs") else 0
    directory = not one["bind"] or stat.S_ISDIR(os.fstat(bind).st_mode)
    place = _place(one["target"], directory, _INSIDE | links)
    if not one["bind"]:
        bind = detached.filesystem(
            one["fstype"], one["source"] or one["fstype"], one["options"], one["attributes"]
        )
    _put(bind, place, close=False)
    return bind


def _mount_in(new: Mapping[str, int], one: Mapping[str, Any]) -> bool:
    """Mount on a new directory of a tmpfs that is new itself; False where it would be elsewhere.

    Nobody else can be in there, so mount(2) will do: the dozen calls of :mod:`kit.linux.detached` are one.
    """
    above, _, name = one["target"].rpartition("/")
    if above not in new or one["bind"] or one["attributes"] & ~_PLAIN:
        return False
    os.fchdir(new[above])
    try:
        os.mkdir(name, 0o755)
    except FileExistsError:  # it may be a link
        return False
    mount(one["source"], name, one["fstype"], one["attributes"], ",".join(one["options"]))
    return True


def _fill(dev: int, plan: Mapping[str, Any], step: Step) -> None:
    """Make the devices and links of /dev, a new tmpfs: nobody else can be in it yet.

    All that the container can write to is mounted nodev: only these nodes, each a mount of its own, open a
    device.
    """
    os.fchdir(dev)
    os.umask(0)
    for one in plan["devices"]:
        step.name = f"make the device {one['path']}"
        name = one["path"].removeprefix("/dev/")
        if "/" in name:
            os.makedirs(os.path.dirname(name), 0o755, exist_ok=True)
        os.mknod(name, one["mode"], one["device"])
        if one["uid"] or one["gid"]:
            os.chown(name, one["uid"], one["gid"])
        if plan["nodev"]:
            mount(name, name, None, MountFlags.BIND)
    for name, target in plan["links"].items():
        step.name = f"make the link /dev/{name}"
        os.symlink(target, name)
    if plan["nodev"]:
        detached.set_attributes(dev, detached.NODEV)


@cache
def _null() -> int:
    """The null device, which covers files."""
    null = _open("/dev/null", os.O_PATH)
    status = os.fstat(null)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _NULL_DEVICE:
        raise OSError(ENOENT, "/dev/null is not the null device")
    return null
