"""Containers that outlive the command which made them, as an OCI runtime keeps them between its commands.

    <root>/<id>/state.json   what the next command needs: pid, bundle, where the control group stands
                go           a FIFO: the program begins when a byte is written to it

See the runtime-spec's runtime.md, "State" and "Lifecycle", and fifo(7).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from kit.cgroups.adopted import Adopted
from kit.containers.container import Container, launch
from kit.containers.errors import BadConfig
from kit.images.documents import Document, parse
from kit.linux import pidfd, proc

_BEFORE_START = ("prestart", "createRuntime")
HOOKS = (*_BEFORE_START, "poststart", "poststop")


class _Process:
    """A process that another program has started, with what a container asks of its first one."""

    def __init__(self, pid: int, start_time: int) -> None:
        self.pid, self._start_time = pid, start_time

    def poll(self) -> int | None:
        """None while it runs. How it ended, only its parent learns: 0 stands for that."""
        try:
            alive = proc.start_time(self.pid) == self._start_time and proc.state(self.pid) not in "ZX"
        except OSError:
            alive = False
        return None if alive else 0

    def close(self) -> None:
        """It is killed with its control group."""

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal, if it still runs."""
        fd = pidfd.pidfd_open(self.pid)
        try:
            if self.poll() is None:
                pidfd.send_signal(fd, number)
        finally:
            os.close(fd)


def place(root: Path, id: str) -> Path:
    """The container's directory. Raises :class:`BadConfig` for what is no id."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,59}", id):
        raise BadConfig(
            f"{id!r:.80} is no container's id: letters, digits, '_', '.', '+' and '-', at most 60"
        )
    return root / id


def read_bundle(bundle: Path) -> Document:
    """The config.json of a bundle. Raises :class:`BadConfig`."""
    try:
        return parse((bundle / "config.json").read_bytes(), bundle / "config.json")
    except (OSError, ValueError) as error:
        raise BadConfig(f"read the bundle {bundle}: {error}") from None


def create(root: Path, id: str, bundle: Path, stdio: tuple[int, int, int], keep: bool = True) -> Container:
    """Make a container from a bundle, all but its program; :func:`begin` starts that.

    With ``keep`` it outlives this program. Raises :class:`BadConfig` for an id in use, and as
    :func:`kit.containers.start`; nothing is left then.
    """
    bundle = bundle.resolve()
    directory, config = place(root, id), read_bundle(bundle)
    root.mkdir(mode=0o711, parents=True, exist_ok=True)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        raise BadConfig(f"a container {id} exists already in {root}") from None
    container = None
    try:
        os.mkfifo(directory / "go", 0o600)
        hold = os.open(directory / "go", os.O_RDWR | os.O_CLOEXEC)
        try:
            filesystem = bundle / str((config.get("root") or {}).get("path") or "rootfs")
            container = launch(id, config, filesystem.resolve(), stdio, hold=hold, keep=keep)
        finally:
            os.close(hold)
        state = {
            "pid": container.pid,
            "startTime": proc.start_time(container.pid),
            "bundle": str(bundle),
            "config": config,
            "cgroup": container.group.places(),
        }
        (directory / "state.new").write_text(json.dumps(state))
        (directory / "state.new").replace(directory / "state.json")
        _run_hooks(_BEFORE_START, container, str(bundle), "created")
        if keep:
            container.group.give_away()
    except BaseException:
        shutil.rmtree(directory)
        if container is not None:
            container.close()
            _run_hooks(("poststop",), container, str(bundle), "stopped")
        raise
    return container


def _run_hooks(names: tuple[str, ...], container: Container, bundle: str, status: str) -> None:
    """Run programs of the bundle's choice in the runtime's own namespaces, with the state as their input.

    The first that fails ends it with a RuntimeError, but for those of poststart and poststop: of them it is
    told, and the next one runs. See the runtime-spec's config.md, "POSIX-platform Hooks".
    """
    state = json.dumps(_document(container, bundle, status))
    for name in names:
        for hook in (container.config.get("hooks") or {}).get(name) or ():
            environment = dict(one.partition("=")[::2] for one in hook.get("env") or ())
            args, limit = hook.get("args") or [hook["path"]], hook.get("timeout")
            try:
                subprocess.run(
                    args, executable=hook["path"], env=environment, input=state, text=True,
                    timeout=limit, check=True,
                )  # fmt: skip
            except (OSError, subprocess.SubprocessError) as error:
                told = f"the {name} hook {hook['path']}: {error}"
                if name in _BEFORE_START:
                    raise RuntimeError(told) from None
                print(f"Warning: {told}", file=sys.stderr)


def load(root: Path, id: str) -> tuple[Container, Document]:
    """A container that an earlier command has made, and what was noted of it. Raises :class:`BadConfig`."""
    try:
        state = json.loads((place(root, id) / "state.json").read_text())
    except FileNotFoundError:
        raise BadConfig(f"there is no container {id} in {root}") from None
    group = Adopted(id, state["cgroup"])
    process: Any = _Process(state["pid"], state["startTime"])
    return Container(id, state["config"], group, process, -1, None), state


def status(root: Path, container: Container) -> str:
    """created, running, paused or stopped."""
    if container.poll() is not None:
        return "stopped"
    if container.group.alive and container.group["cgroup.freeze"]:
        return "paused"
    return "created" if (place(root, container.id) / "go").exists() else "running"


def state(root: Path, container: Container, noted: Document) -> Document:
    """The runtime-spec's state; ``noted`` is what :func:`load` gives beside the container."""
    return _document(container, noted["bundle"], status(root, container))


def _document(container: Container, bundle: str, status: str) -> Document:
    return {
        "ociVersion": container.config["ociVersion"],
        "id": container.id,
        "status": status,
        "pid": 0 if status == "stopped" else container.pid,
        "bundle": bundle,
        "annotations": container.config.get("annotations") or {},
    }


def begin(root: Path, container: Container, noted: Document) -> None:
    """Start the program of a container that has been created; :class:`BadConfig` in another state."""
    found = status(root, container)
    if found != "created":
        raise BadConfig(f"the container {container.id} is {found}: only one that is created can be started")
    go = place(root, container.id) / "go"
    with open(go, "wb", buffering=0) as file:
        file.write(b"\n")
    go.unlink()
    _run_hooks(("poststart",), container, noted["bundle"], "running")


def delete(root: Path, container: Container, noted: Document, force: bool = False) -> None:
    """Remove a container that has stopped, or with ``force`` kill it first. Raises :class:`BadConfig`."""
    found = status(root, container)
    if found != "stopped" and not force:
        raise BadConfig(f"the container {container.id} is {found}: stop it first, or use force")
    container.close()
    shutil.rmtree(place(root, container.id))
    _run_hooks(("poststop",), container, noted["bundle"], "stopped")


def all(root: Path) -> list[str]:
    """The ids of the containers in ``root``."""
    with suppress(FileNotFoundError):
        return sorted(one.name for one in root.iterdir() if (one / "state.json").exists())
    return []
