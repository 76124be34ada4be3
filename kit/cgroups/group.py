"""A control group: a set of processes, and files that say and limit what they use. One API, with cgroup v2's
names.

    with Cgroup("web") as web:
        web["cpu.max"] = (50_000, 100_000)      # 50 ms in every 100 ms: half a CPU
        web["memory.max"] = "64M"
        web.start(["python3", "app.py"])
        web["cpu.stat"]["nr_throttled"]

On a machine whose controllers are still cgroup v1's, the same names work; ``web.written`` says which files
were really written. See cgroups(7) and https://docs.kernel.org/admin-guide/cgroup-v2.html.
"""

from __future__ import annotations

import os
import re
import shlex
import weakref
from collections.abc import Iterable, Sequence
from errno import EBUSY, errorcode
from pathlib import Path
from typing import Any

from kit.cgroups import files, hierarchy, placement, v1, v2
from kit.cgroups.errors import BadLimit, CgroupError, ControllerMissing, InternalProcesses, refused
from kit.cgroups.translation import Log, Source, Written, before_writing, put
from kit.cgroups.waiting import wait_until
from kit.linux import cgroupfs
from kit.linux.spawn import DEVNULL, Process, Result, run, start
from kit.show import Table

_STUCK = "The group uses more than that and cannot give it back. End something in it first."
_REMEDY = {
    ("memory.max", "EBUSY"): f"{_STUCK} (v1 refuses here, v2 would kill.)",
    ("memory.swap.max", "EBUSY"): _STUCK,
    ("cpu.max", "EINVAL"): "In v1 no group may have more of the CPU than the one above: raise that first.",
    ("cpu.max.burst", "EINVAL"): "A burst may not be larger than the quota of cpu.max: raise that first.",
    ("cpuset.cpus", "EACCES"): "The group above does not have these CPUs, or a group below still uses some.",
    ("cpuset.cpus", "EBUSY"): "A group below, or a process inside, still uses the CPU that you take away.",
}
_named: weakref.WeakValueDictionary[str, Cgroup] = weakref.WeakValueDictionary()
os.register_at_fork(after_in_child=_named.clear)  # a forked copy of the program has made no group yet


def _check_name(name: str) -> None:
    good = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,74}", name)
    if not good or re.match(r"(cgroup|cpu|cpuset|io|memory|pids)\.", name):
        raise BadLimit(
            f"{name!r} cannot name a group: use letters, digits, '-' and '_', and nothing like a file's name."
        )


class Cgroup:
    """A group of this program, made at once and removed at the end of the ``with`` block, by :meth:`close`,
    or when dropped.

    ``controllers`` are v2 names; all that the machine offers unless told otherwise. It stands below a
    directory of this program, or ``alone``, with a name that nobody else has. Making a group under a
    name that this program already uses replaces the old group, so that a cell may be run again.

    Raises :class:`BadLimit` for a name that cannot be one, :class:`ControllerMissing`, :class:`NotDelegated`,
    :class:`Refused`; nothing half-made stays.
    """

    def __init__(
        self,
        name: str,
        *,
        controllers: Iterable[str] | None = None,
        parent: Cgroup | None = None,
        alone: bool = False,
    ) -> None:
        _check_name(name)
        if isinstance(controllers, str):
            controllers = controllers.split()
        self.name, self.parent = name, parent
        self.controllers: tuple[str, ...]
        self._places: placement.Places
        self.path: str = f"{parent.path}/{name}" if parent else self.name
        wanted = (
            tuple(controllers)
            if controllers is not None
            else parent.controllers
            if parent
            else hierarchy.available()
        )
        older = _named.get(self.path)
        if parent is not None:
            parent._check_open()
            if missing := set(wanted) - set(parent.controllers):
                raise ControllerMissing(
                    f"the group {parent.path!r} has no {', '.join(sorted(missing))} to hand down: "
                    "name it in the controllers of that group when making it."
                )
            if inside := parent.pids():
                raise InternalProcesses(
                    f"make a group below {parent.path!r}",
                    EBUSY,
                    f"It holds processes ({inside}), and in cgroup v2 a group either holds processes or "
                    "hands out controllers to groups below. Put them into a group below it first.",
                )
        if older is not None:
            older.close()
        self.controllers = tuple(dict.fromkeys(wanted))
        self._places = (
            placement.make_below(parent._places, self.name, self.controllers)
            if parent
            else placement.make(self.name, self.controllers, alone)
        )
        self.children: list[Cgroup] = []
        self.written = Log()
        self._started: list[Process] = []
        self._finalizer = weakref.finalize(self, placement.remove, self._places)
        _named[self.path] = self
        if parent is not None:
            parent.children.append(self)

    def __repr__(self) -> str:
        return f"Cgroup {self.path}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        rows = [(key, f"v{version}", path) for key, (version, path) in self._places.of.items()]
        return Table(repr(self), ["controller", "version", "directory"], rows)._repr_mimebundle_()

    def __enter__(self) -> Cgroup:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill everything inside and remove the group and those below it. A second call does nothing."""
        for child in list(self.children):
            child.close()
        if self.parent is not None and self in self.parent.children:
            self.parent.children.remove(self)
        self._finalizer()
        self._started.clear()

    def places(self) -> dict[str, tuple[int, str]]:
        """Where it stands: the version and the directory of each controller."""
        return {key: (version, str(path)) for key, (version, path) in self._places.of.items()}

    def give_away(self) -> None:
        """Let one that stands alone outlive this program, until an ``Adopted`` removes it."""
        placement.give_away(self._places)
        self._finalizer.detach()

    @property
    def alive(self) -> bool:
        """Whether the group still exists."""
        return self._finalizer.alive and os.path.isdir(self._place("cgroup")[1])

    @property
    def directories(self) -> list[Path]:
        """The group's directories, one in every hierarchy it stands in; a process is in the group when it is
        in all.
        """
        return self._places.directories

    def child(self, name: str, controllers: Iterable[str] | None = None) -> Cgroup:
        """Make a group below this one; its processes count against the limits of both.

        Raises :class:`InternalProcesses` when this group holds processes (v2's rule, kept on v1 too).
        """
        return Cgroup(name, controllers=controllers, parent=self)

    # --- files ----------------------------------------------------------------------------------------------

    def source(self, name: str) -> Source:
        """From which files ``name`` is read on this machine, and how. For samplers and the curious."""
        file = files.named(name)
        version, _ = self._place(file.controller)
        if version == 2:
            return v2.source(name)
        if name not in v1.READ:
            raise v1.no_equal(name)
        return v1.READ[name]

    def _place(self, controller: str) -> tuple[int, Path]:
        self._check_open()
        if controller == "cgroup" and "cgroup" not in self._places.of:
            return 1, self._places.of["freezer"][1]
        if controller not in self._places.of:
            hierarchy.holding(
                controller.replace("cpuacct", "cpu")
            )  # raises with the reason when the machine has none
            raise ControllerMissing(
                f"the group {self.path!r} was made without the controller {controller!r}."
            )
        return self._places.of[controller]

    def _check_open(self) -> None:
        if not self._finalizer.alive:
            raise CgroupError(
                f"the group {self.path!r} has been closed: make it again with Cgroup({self.name!r})."
            )

    def paths(self, name: str) -> list[Path]:
        """The files that hold the value ``name`` on this machine: one in v2, one or more in v1."""
        return [self._place(controller)[1] / file for controller, file in self.source(name).files]

    def __getitem__(self, name: str) -> Any:
        """The value of an interface file: numbers, "max", dicts and lists; bytes and microseconds.

        Raises :class:`UnknownFile`, :class:`NoEqual` (v1 has no such thing), :class:`ControllerMissing`,
        :class:`Refused`.
        """
        source = self.source(name)
        texts = []
        for path in self.paths(name):
            try:
                texts.append(path.read_text())
            except OSError as error:
                remedy = "It is only written, never read." if name == "cgroup.kill" else ""
                raise refused(f"read {name} of {self.path!r} from {path}", error, path, remedy) from None
        return source.parse(texts)

    def __setitem__(self, name: str, value: object) -> None:
        """Set a limit. The value is checked first; when the kernel refuses a part, what was written before is
        undone.

        Raises :class:`BadLimit`, :class:`UnknownFile`, :class:`NoEqual`, :class:`ControllerMissing`,
        :class:`Refused`.
        """
        file = files.named(name)
        checked = files.checked(name, value)
        version, _ = self._place(file.controller)
        if version == 2:
            writes = v2.writes(name, checked)
        elif name in v1.WRITE:
            writes = v1.WRITE[name](checked, self.__getitem__)
        else:
            raise v1.no_equal(name)
        undo: list[tuple[Path, str]] = []
        done: list[Written] = []
        for write in writes:
            path = self._place(write.controller)[1] / write.file
            try:
                before = before_writing(path, write)
                put(path, write.text)
            except OSError as error:
                for old_path, old in reversed(undo):
                    put(old_path, old)
                what = f"set {name} of {self.path!r} to {value!r} (write {write.text!r} to {path})"
                remedy = _REMEDY.get((name, errorcode.get(error.errno or 0, "")), "")
                raise refused(what, error, path, remedy) from None
            undo.append((path, before))
            done.append(Written(name, str(path), write.text))
        self.written.extend(done)

    def settings(self, *names: str) -> Table:
        """The values of some files beside the files they were really read from."""
        rows = [(name, self[name], "\n".join(map(str, self.paths(name)))) for name in names]
        return Table(f"The group {self.path}", ["name", "value", "read from"], rows)

    # --- processes ------------------------------------------------------------------------------------------

    def start(self, argv: Sequence[str] | str, **how: Any) -> Process:
        """Start a program in the group, inside from its first instruction on; it lives as long as the group.
        ``how`` is that of kit.linux.spawn.start; what it prints is dropped unless ``stdout`` says else.

        Raises :class:`InternalProcesses` when there are groups below (v2's rule, kept on v1 too), CgroupError
        when frozen.
        """
        process = start(self._argv(argv), **self._how({"stdout": DEVNULL, **how}))
        # A process ends when its object is dropped; here the group holds it, and it ends with the group.
        self._started = [one for one in self._started if one.poll() is None] + [process]
        return process

    def run(self, argv: Sequence[str] | str, **how: Any) -> Result:
        """Run a program in the group to its end and capture what it says. ``how`` is that of
        kit.linux.spawn.run.
        """
        return run(self._argv(argv), **self._how(how))

    def _argv(self, argv: Sequence[str] | str) -> list[str]:
        self._check_leaf()
        if self["cgroup.freeze"]:
            raise CgroupError(
                f"the group {self.path!r} is frozen: whatever starts in it stands still at once. thaw() it "
                "first."
            )
        return shlex.split(argv) if isinstance(argv, str) else list(argv)

    def _how(self, how: dict[str, Any]) -> dict[str, Any]:
        return {**how, "cgroups": [*map(str, self.directories), *how.get("cgroups", ())]}

    def _check_leaf(self) -> None:
        self._check_open()
        if self.children:
            raise InternalProcesses(
                f"put a process into {self.path!r}",
                EBUSY,
                f"It has groups below ({', '.join(child.name for child in self.children)}), and in cgroup "
                "v2 a group either "
                "holds processes or hands out controllers. Use one of those below.",
            )

    def add(self, pid: int) -> None:
        """Move a running process into the group, all its threads with it; what it forks later is born inside.

        Raises CgroupError for this very program (closing the group would kill it), :class:`Refused` ESRCH,
        EACCES.
        """
        self._check_leaf()
        if isinstance(pid, bool) or not isinstance(pid, int) or pid < 1:
            raise BadLimit(f"a process number is wanted, 1 or above, and not {pid!r}.")
        if pid == os.getpid():
            raise CgroupError(
                "that is this notebook itself: removing the group would kill it. Start a program of its own."
            )
        placement.enter(self._places, pid)

    def pids(self, below: bool = False) -> list[int]:
        """The processes inside; with ``below`` those of the groups below too."""
        directory = str(self._place("cgroup")[1])
        return sorted(
            pid
            for group in (cgroupfs.below(directory) if below else [directory])
            for pid in cgroupfs.pids(group)
        )

    def freeze(self) -> None:
        """Stop everything inside and below where it stands, and wait until it does."""
        self["cgroup.freeze"] = 1
        wait_until(self, "frozen", 1)

    def thaw(self) -> None:
        """Let it run on."""
        self["cgroup.freeze"] = 0
        wait_until(self, "frozen", 0)

    def kill(self) -> None:
        """SIGKILL to everything inside and below, to what forks meanwhile too; waits until nobody is left."""
        self._check_open()
        placement.kill(self._places)
        wait_until(self, "populated", 0)
