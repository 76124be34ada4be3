"""A running container: its first process, its control group, and whatever else is run in it.

Made by the helper process (:mod:`kit.linux.helper`), and dead with the program that started it. The root's
mount is the caller's; everything else goes with :meth:`Container.close`. See the runtime-spec's runtime.md.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import suppress
from errno import EBUSY, ENOMEM, ESRCH
from functools import cache
from pathlib import Path
from weakref import WeakValueDictionary, finalize

from kit import owner
from kit.cgroups import Cgroup, hierarchy
from kit.containers import plan, resources
from kit.containers.errors import BadConfig
from kit.images.documents import Document
from kit.linux import messages, spawn, terminal
from kit.linux.errors import KernelError
from kit.linux.spawn import DEVNULL, Process

_alive: WeakValueDictionary[str, Container] = WeakValueDictionary()


class Running:
    """A process in a container; ``master`` is the descriptor of its terminal's master, -1 without one.

    ``pidfd`` becomes readable at its end.
    """

    def __init__(self, process: Process, master: int) -> None:
        self._process = process
        self.master = master
        self._hang_up = finalize(self, os.close, master) if master >= 0 else None

    @property
    def pid(self) -> int:
        """Its number, as seen from here."""
        return self._process.pid

    @property
    def pidfd(self) -> int:
        """A descriptor that stands for it."""
        return self._process.pidfd

    def poll(self) -> int | None:
        """Its exit status if it has ended, 128 and the signal's number where that ended it; else None."""
        return _shell_status(self._process.poll())

    def wait(self, timeout: float | None = None) -> int:
        """Wait at most ``timeout`` seconds for the end; the status as of :meth:`poll`. TimeoutError."""
        self._process.wait(timeout)
        return self.poll() or 0

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal; one that has ended gets none."""
        self._process.kill(number)

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of its terminal."""
        if self.master < 0:
            raise BadConfig("only what has a terminal has a size")
        terminal.resize(self.master, rows, columns)

    def close(self) -> None:
        """Kill and reap it, and hang up."""
        self._process.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the terminal's master, which may have been given to someone else."""
        if self._hang_up is not None:
            self._hang_up()
            self.master = -1


class _Held:
    """A container that waits: a byte to ``go`` lets it run, ``report`` tells what it fails at then."""

    def __init__(self, go: int, report: socket.socket) -> None:
        self.go, self.report = go, report

    def __enter__(self) -> _Held:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.go)
        self.report.close()


class Container(Running):
    """A container, from its start to :meth:`close`."""

    def __init__(
        self, id: str, config: Document, group: Cgroup, process: Process, master: int, held: _Held | None
    ) -> None:
        super().__init__(process, master)
        self.id, self.config, self.group = id, config, group
        self._held = held
        _alive[id] = self
        self._execs: list[Running] = []
        self._oom_killed = False
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        status = self.poll()
        return f"<Container {self.id} {'running' if status is None else f'ended with {status}'}>"

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self) -> None:
        """Let a container that was made with ``hold`` run its program.

        Raises :class:`KernelError` for a program that can't be executed.
        """
        if self._held is None:
            raise BadConfig(f"the container {self.id} has been started already")
        with self._held as held:
            self._held = None
            os.write(held.go, b"\n")
            told = messages.receive(held.report)
        if told is not None:
            raise spawn.failure(told[0])

    def kill(self, number: int = signal.SIGKILL, everyone: bool = False) -> None:
        """Send a signal to the first process, or to everyone in the container."""
        if not everyone:
            super().kill(number)
            return
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def exec(
        self,
        process: Document,
        *,
        stdin: int | None = DEVNULL,
        stdout: int | None = DEVNULL,
        stderr: int | None = DEVNULL,
        tty: bool = False,
        size: tuple[int, int] | None = None,
        keep: bool = False,
    ) -> Running:
        """Run one more program in the container, in its namespaces and its group, no less restricted.

        ``process`` is the runtime-spec's; what it leaves out is as for the first process; with ``keep`` it
        outlives this program. Raises :class:`BadConfig`, and :class:`KernelError`: ENOENT and EACCES for the
        program, ESRCH once the container has ended, EBUSY while it is paused.
        """
        own = {key: value for key, value in self.config["process"].items() if key != "terminal"}
        request = plan.of_process(self.config, {**own, **process, "terminal": tty})
        if size:
            request["contained"]["size"] = list(size)
        kinds = [one["type"] for one in self.config["linux"]["namespaces"]]
        joined = dict.fromkeys(kinds, self.pid)
        directories = [str(path) for path in self.group.directories]
        request |= {"join": list(joined), "cgroups": directories, "keep": keep}
        with self._lock:
            if self.poll() is not None:
                raise KernelError(f"exec in {self.id}", ESRCH, "The container does not run.")
            if self.group["cgroup.freeze"]:
                raise KernelError(f"exec in {self.id}", EBUSY, "The container is paused: resume it first.")
            try:
                root = os.open(f"/proc/{self.pid}/root", os.O_PATH | os.O_CLOEXEC)
                try:
                    started = spawn.launch(request, (stdin, stdout, stderr), joined, root)
                finally:
                    os.close(root)
            except OSError as error:
                # Process 1 is going: its namespaces are gone already, or nobody can be cloned into its pid
                # namespace, which is told as ENOMEM. See pid_namespaces(7).
                what = getattr(error, "what", "open the root")
                if what.startswith("open the ") or (what, error.errno) == ("clone", ENOMEM):
                    raise KernelError(f"exec in {self.id}", ESRCH, "It has just ended.") from None
                raise
            running = Running(started, *started.received() or [-1])
            self._execs = [one for one in self._execs if one.poll() is None] + [running]
        return running

    def pause(self) -> None:
        """Stop everything in it where it stands. See cgroup.freeze."""
        with self._lock:
            self.group.freeze()

    def resume(self) -> None:
        """Let it run on."""
        self.group.thaw()

    def update(self, wanted: Document) -> None:
        """Change its limits: the runtime-spec's ``resources``. Raises :class:`BadConfig`, CgroupError."""
        for name, value in resources.limits(wanted).items():
            self.group[name] = value

    def stats(self) -> dict[str, int]:
        """What it uses now: see :func:`kit.containers.resources.stats`."""
        return resources.stats(self.group)

    def pids(self) -> list[int]:
        """All its processes, as seen from here."""
        return self.group.pids(below=True) if self.group.alive else []

    @property
    def oom_killed(self) -> bool:
        """Whether the kernel has killed something in it for want of memory."""
        if self.group.alive and "memory" in self.group.controllers:
            self._oom_killed = bool(self.group["memory.events"].get("oom_kill"))
        return self._oom_killed

    def close(self) -> None:
        """Kill all that runs in it and remove its control group; once more is fine."""
        _ = self.oom_killed
        for running in self._execs:
            running.close()
        super().close()
        if self._held is not None:
            self._held.__exit__()
            self._held = None
        self.group.close()


def start(
    id: str,
    config: Document,
    root: str | Path,
    *,
    stdin: int | None = DEVNULL,
    stdout: int | None = DEVNULL,
    stderr: int | None = DEVNULL,
    tty: bool = False,
    size: tuple[int, int] | None = None,
    hold: bool = False,
) -> Container:
    """Start the container of a config.json in the directory ``root``; returns once its program runs.

    With ``hold`` all is set up, namespaces included, and the program waits for :meth:`Container.start`.
    ``tty`` (or the document's ``terminal``) gives it a terminal of ``size`` (rows, columns), whose master is
    :attr:`Container.master`; standard input, output and error (descriptors, or DEVNULL) are not used then.

    Raises :class:`BadConfig` before anything is made; :class:`KernelError`, naming the step (ENOENT: no such
    program, EACCES: it can't be executed); CgroupError for a limit that is refused. Nothing is left then.
    """
    wait, go = os.pipe() if hold else (None, None)
    try:
        return launch(id, config, root, (stdin, stdout, stderr), tty, size, wait, go)
    except BaseException:
        if go is not None:
            os.close(go)
        raise
    finally:
        if wait is not None:
            os.close(wait)


def launch(
    id: str,
    config: Document,
    root: str | Path,
    stdio: tuple[int | None, int | None, int | None],
    tty: bool = False,
    size: tuple[int, int] | None = None,
    hold: int | None = None,
    go: int | None = None,
    keep: bool = False,
) -> Container:
    """As :func:`start`; the program waits until ``hold`` can be read, and with ``keep`` outlives this one."""
    if id in _alive and _alive[id].group.alive:
        raise BadConfig(f"there is a container {id} already")
    request, joined = plan.of_container(config, str(root))
    request["contained"]["tty"] |= tty
    if size:
        request["contained"]["size"] = list(size)
    linux = config.get("linux") or {}
    limits = resources.limits(linux.get("resources") or {})
    name = (linux.get("cgroupsPath") or "").removeprefix("/") or f"{owner.prefix()}-{id[:64]}"
    group = Cgroup(name, controllers=_controllers(), alone=True)
    try:
        for name, value in limits.items():
            group[name] = value
        directories = [str(path) for path in group.directories]
        request |= {"cgroups": directories, "hold": hold is not None, "keep": keep}
        process = spawn.launch(request, stdio, joined, hold)
    except BaseException:
        group.close()
        raise
    fds = process.received()
    report = socket.socket(fileno=fds.pop(0)) if hold is not None else None
    held = None
    if report is not None and go is not None:
        held = _Held(go, report)
    elif report is not None:  # another program will let it run
        report.close()
    return Container(id, config, group, process, fds[0] if fds else -1, held)


@cache
def _controllers() -> tuple[str, ...]:
    return hierarchy.available()


def _shell_status(status: int | None) -> int | None:
    return status if status is None or status >= 0 else 128 - status
