"""Where this machine keeps its control groups: one tree (cgroup v2), one tree per controller (v1), or both
(hybrid).

A hierarchy is a file system whose directories are groups. Found in /proc/self/mountinfo, never by a fixed
path. See cgroups(7), and proc(5) for mountinfo.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kit.cgroups.errors import ControllerMissing, NotDelegated
from kit.linux import proc
from kit.show import Table

CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")
"""The controllers of the chapter, by their cgroup v2 names."""

V1_NAMES = {
    "cpu": ("cpu", "cpuacct"),
    "cpuset": ("cpuset",),
    "io": ("blkio",),
    "memory": ("memory",),
    "pids": ("pids",),
    "freezer": ("freezer",),
}
"""Which v1 controllers together do the work of one v2 controller (``freezer`` stands for cgroup.freeze)."""


@dataclass(frozen=True)
class Hierarchy:
    """One mounted tree of groups. ``version`` is 1 or 2; ``controllers`` are the kernel's names for that
    version.
    """

    version: int
    controllers: tuple[str, ...]
    mount_point: Path
    root: str
    """Which group of the tree is seen at the mount point; ``/`` unless a container shows only its own part.
    """

    def home(self) -> Path:
        """The topmost directory in which this user may make groups, on the way from the mount point to our
        own group.

        For root that is the mount point; for a user under systemd it is the part delegated to the user's
        manager. Raises :class:`NotDelegated` when there is none.
        """
        own = group_of(self)
        for here in reversed(
            [place for place in (own, *own.parents) if place.is_relative_to(self.mount_point)]
        ):
            if here.is_dir() and os.access(here, os.W_OK | os.X_OK, effective_ids=True):
                return here
        if os.geteuid() == 0:
            remedy = (
                "The tree is mounted read-only, as in a container: start the container with --privileged."
            )
        else:
            remedy = "Be root, or get a part of the tree: systemd-run --user --scope -p Delegate=yes"
        number = errno.EROFS if os.geteuid() == 0 else errno.EACCES
        raise NotDelegated(f"make a group below {self.mount_point}", number, remedy, str(self.mount_point))


def group_of(hierarchy: Hierarchy, pid: int | str = "self") -> Path:
    """The directory of the group that a process is in; the mount point when the group lies outside of what is
    mounted.
    """
    for number, controllers, path in proc.cgroups(pid):
        if number == 0 if hierarchy.version == 2 else set(controllers) & set(hierarchy.controllers):
            below = os.path.relpath(path, hierarchy.root)
            return hierarchy.mount_point if below.startswith("..") else hierarchy.mount_point / below
    return hierarchy.mount_point


def hierarchies() -> list[Hierarchy]:
    """Every hierarchy mounted here, v2 first. A tree mounted twice is listed once. Empty when nothing is
    mounted.
    """
    found: dict[tuple[str, ...], Hierarchy] = {}
    for mount in proc.mountinfo("self", "cgroup"):
        point = Path(mount.mount_point)
        if mount.fstype == "cgroup2":
            with suppress(FileNotFoundError):  # it is covered by another mount
                names = tuple((point / "cgroup.controllers").read_text().split())
                found.setdefault(("cgroup2",), Hierarchy(2, names, point, mount.root))
        elif mount.fstype == "cgroup":
            known = {name for names in V1_NAMES.values() for name in names}
            names = tuple(option for option in mount.super_options.split(",") if option in known)
            if names:
                found.setdefault(names, Hierarchy(1, names, point, mount.root))
    return sorted(found.values(), key=lambda one: -one.version)


def unified() -> Hierarchy | None:
    """The v2 hierarchy, or None where only v1 is mounted."""
    return next((one for one in hierarchies() if one.version == 2), None)


def holding(controller: str) -> tuple[Hierarchy, ...]:
    """The hierarchies that together do the work of a v2 controller: one of v2, or (cpu with cpuacct) up to
    two of v1.

    Raises :class:`ControllerMissing` when the kernel lacks it, or it is mounted nowhere.
    """
    if controller not in V1_NAMES:
        raise ControllerMissing(f"no controller {controller!r}: the course uses {', '.join(CONTROLLERS)}.")
    every = hierarchies()
    for one in every:
        if one.version == 2 and controller in one.controllers:
            return (one,)
    wanted = V1_NAMES[controller]
    found = {name: one for one in every if one.version == 1 for name in wanted if name in one.controllers}
    if len(found) == len(wanted):
        return tuple(dict.fromkeys(found[name] for name in wanted))
    in_kernel = {
        line.split()[0]: line.split()[-1] for line in Path("/proc/cgroups").read_text().splitlines()[1:]
    }
    state = in_kernel.get(wanted[0])
    if state is None:
        remedy = "This kernel was built without it."
    elif state == "0":
        remedy = (
            f"It was switched off at boot: remove cgroup_disable={wanted[0]} from the kernel's command line."
        )
    else:
        remedy = (
            "The kernel has it, but no tree that is mounted here offers it: a group above must enable it in "
            "cgroup.subtree_control or, in v1, it must be mounted."
        )
    raise ControllerMissing(f"the controller {controller!r} is not available. {remedy}")


def available() -> tuple[str, ...]:
    """The chapter's controllers that this machine offers."""

    def has(controller: str) -> bool:
        try:
            return bool(holding(controller))
        except ControllerMissing:
            return False

    return tuple(name for name in CONTROLLERS if has(name))


def mode() -> str:
    """``v2`` (one tree), ``v1`` (one tree per controller) or ``hybrid`` (v1 controllers beside a v2 tree)."""
    versions = {one.version for one in hierarchies()}
    if not versions:
        return "none"
    if versions == {1, 2} and any(
        one.version == 1 and one.controllers != ("freezer",) for one in hierarchies()
    ):
        return "hybrid"
    return "v2" if 2 in versions else "v1"


def table() -> Table:
    """Where each controller lives on this machine."""
    rows = []
    for controller in CONTROLLERS:
        try:
            found = holding(controller)
            trees = ", ".join(str(one.mount_point) for one in found)
            rows.append((controller, f"v{found[0].version}", trees))
        except ControllerMissing as missing:
            rows.append((controller, "none", str(missing)))
    one = unified()
    if one is not None:
        rows.append(("freeze, kill, pressure", "v2", str(one.mount_point)))
    return Table("Control groups on this machine", ["controller", "version", "mounted at"], rows)
