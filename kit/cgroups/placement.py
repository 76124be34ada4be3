"""Making and removing a group's directories: one in every hierarchy it needs, each written to the journal
first.

A group "web" of this program is ``<hierarchy>/kit-3fa9c1/web``; the first part is the program's own, so that
two notebooks may use the same names at once. See cgroups(7).
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from kit import owner
from kit.cgroups import hierarchy, v2
from kit.cgroups.errors import refused
from kit.cgroups.translation import put
from kit.linux import cgroupfs

_lock = threading.RLock()
_tops: dict[str, owner.Owned] = {}  # this program's own directory in each hierarchy


@dataclass
class Places:
    """A group's directories. ``of`` maps a controller (and "cgroup" or, on v1 alone, "freezer") to version
    and directory.
    """

    of: dict[str, tuple[int, Path]] = field(default_factory=dict)
    owned: list[owner.Owned] = field(default_factory=list)
    program: int = field(default_factory=os.getpid)

    @property
    def directories(self) -> list[Path]:
        """Each directory once; the one of the v2 tree first."""
        return list(dict.fromkeys(path for _, path in sorted(self.of.values(), key=lambda one: -one[0])))


def needed(controllers: tuple[str, ...]) -> list[tuple[hierarchy.Hierarchy, tuple[str, ...]]]:
    """The hierarchies that a group with these controllers stands in, and what each is used for there."""
    wanted: dict[hierarchy.Hierarchy, list[str]] = {}
    unified = hierarchy.unified()
    if unified is not None:
        wanted[unified] = ["cgroup"]
    else:
        wanted[hierarchy.holding("freezer")[0]] = ["freezer"]
    for controller in controllers:
        for one in hierarchy.holding(controller):
            keys = (
                [controller]
                if one.version == 2
                else [
                    controller if name in (controller, "blkio") else name
                    for name in hierarchy.V1_NAMES[controller]
                    if name in one.controllers
                ]
            )
            wanted.setdefault(one, []).extend(keys)
    return [(one, tuple(keys)) for one, keys in wanted.items()]


@lru_cache
def _layout(controllers: tuple[str, ...]) -> list[tuple[Path, int, tuple[str, ...]]]:
    """Where such groups are made, looked up once in a program: home, version, and what it is used for."""
    return [(one.home(), one.version, keys) for one, keys in needed(controllers)]


def _mkdir(path: Path, keys: tuple[str, ...] = ("cpuset",)) -> owner.Owned:
    """Make a group's directory, in the journal before it exists."""
    entry = owner.Owned("cgroup", str(path))
    owner.journal().add(entry)
    try:
        path.mkdir()
        try:
            if "cpuset" in keys:
                _let_in(path)
        except OSError:
            path.rmdir()
            raise
    except OSError as error:
        owner.journal().forget(entry)
        raise refused(f"make the group {path}", error, path) from None
    return entry


def _let_in(path: Path) -> None:
    """A new group of v1's cpuset has no CPUs and lets nobody in: it gets those of the group above."""
    if (path / "cpuset.mems").exists() and not (path / "cgroup.controllers").exists():
        for name in ("cpuset.cpus", "cpuset.mems"):
            put(path / name, (path.parent / name).read_text())


def make(name: str, controllers: tuple[str, ...], alone: bool = False) -> Places:
    """Make the group ``name`` of this program in every hierarchy it needs; all of it or nothing.

    It stands below this program's own directory, or ``alone``, straight in the place where we may make
    groups. Raises ControllerMissing, NotDelegated, InternalProcesses or Refused, each with the remedy.
    """
    places = Places()
    with _lock:
        try:
            for home, version, keys in _layout(controllers):
                mine = tuple(key for key in keys if key != "cgroup")
                if version == 2 and mine:
                    v2.hand_down(home, mine)
                if alone:
                    _place(places, home / name, version, keys)
                    continue
                top = home / owner.prefix()
                if str(top) not in _tops or not top.is_dir():
                    _tops[str(top)] = _mkdir(top)
                if version == 2 and mine:
                    v2.hand_down(top, mine)
                _place(places, top / name, version, keys)
        except BaseException:
            remove(places)
            _remove_empty_tops()
            raise
    return places


def make_below(parent: Places, name: str, controllers: tuple[str, ...]) -> Places:
    """Make a group below another one, in the same hierarchies."""
    places = Places()
    keep = {"cgroup", "freezer", *controllers, *(["cpuacct"] if "cpu" in controllers else [])}
    with _lock:
        try:
            for directory in parent.directories:
                keys = tuple(key for key, (_, path) in parent.of.items() if path == directory and key in keep)
                version = next(version for version, path in parent.of.values() if path == directory)
                mine = tuple(key for key in keys if key != "cgroup")
                if version == 2 and mine:
                    v2.hand_down(directory, mine)
                if keys:
                    _place(places, directory / name, version, keys)
        except BaseException:
            remove(places)
            raise
    return places


def _place(places: Places, directory: Path, version: int, keys: tuple[str, ...]) -> None:
    places.owned.append(_mkdir(directory, keys))
    places.of.update(dict.fromkeys(keys, (version, directory)))


def kill(places: Places) -> None:
    """SIGKILL to everything in the group and below, also to what forks meanwhile."""
    if "freezer" in places.of:  # v1 alone: nobody may fork while we go through the list
        freezer = places.of["freezer"][1]
        put(freezer / "freezer.state", "FROZEN")
        cgroupfs.kill(str(freezer))
        put(freezer / "freezer.state", "THAWED")
    elif places.of:
        cgroupfs.kill(str(places.of["cgroup"][1]))


def remove(places: Places) -> None:
    """Kill what is inside and remove the group's directories, the deepest first; then this program's own,
    once empty. A forked copy of the program does nothing: the group is not its own.
    """
    if places.program != os.getpid():
        return
    with _lock:
        if any(path.is_dir() for _, path in places.of.values()):
            with suppress(FileNotFoundError):  # removed by someone else in between
                kill(places)
        while places.owned:
            owner.release(places.owned[-1])
            places.owned.pop()
        _remove_empty_tops()


def give_away(places: Places) -> None:
    """Strike a group that stands alone off the journal."""
    with _lock:
        for owned in places.owned:
            owner.journal().forget(owned)
        places.owned.clear()


def _remove_empty_tops() -> None:
    for top in list(_tops):
        if _rmdir(top):
            owner.journal().forget(_tops.pop(top))


def _rmdir(top: str) -> bool:
    try:
        os.rmdir(top)
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False  # other groups of this program are still there
        if error.errno != errno.ENOENT:
            raise refused(f"remove the group {top}", error, top) from None
    return True


def enter(places: Places, pid: int) -> None:
    """Move a process into the group, in every hierarchy; back again when one of them refuses.

    Raises Refused (ESRCH: it has ended; EACCES: not yours; EBUSY on v2: the group hands out controllers).
    """
    before: list[Path] = []
    try:
        for directory in places.directories:
            home = next(one for one in hierarchy.hierarchies() if directory.is_relative_to(one.mount_point))
            old = hierarchy.group_of(home, pid)
            put(directory / "cgroup.procs", str(pid))
            before.append(old)
    except OSError as error:
        for old in before:
            with suppress(ProcessLookupError):  # it has ended meanwhile
                put(old / "cgroup.procs", str(pid))
        if error.errno == errno.ENOENT and not os.path.exists(f"/proc/{pid}"):
            error = ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        raise refused(f"move process {pid} into the group", error, f"/proc/{pid}") from None


def _forked() -> None:
    """A forked copy of the program has made nothing yet, and waits for no lock that its parent held."""
    global _lock
    _lock = threading.RLock()
    _tops.clear()


os.register_at_fork(after_in_child=_forked)
