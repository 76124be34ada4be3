"""cgroup v2: one tree, one directory per group, one file per setting.

See https://docs.kernel.org/admin-guide/cgroup-v2.html and cgroups(7).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kit.cgroups.errors import ControllerMissing, InternalProcesses, refused
from kit.cgroups.files import FILES
from kit.cgroups.translation import Source, Write, put


def source(name: str) -> Source:
    """Where a value is read: in v2 the file of that name."""
    file = FILES[name]
    return Source(((file.controller, name),), lambda texts: file.parse(texts[0]))


def writes(name: str, value: Any) -> list[Write]:
    """What is written where to set a checked value."""
    file = FILES[name]
    return [Write(file.controller, name, line) for line in file.text(value)]


def hand_down(directory: Path, controllers: tuple[str, ...]) -> None:
    """Offer ``controllers`` to the groups below ``directory``, through its cgroup.subtree_control.

    Raises :class:`ControllerMissing` when the group itself was not given one of them,
    :class:`InternalProcesses` when the group holds processes: v2 lets a group either hold processes or hand
    out controllers.
    """
    file = directory / "cgroup.subtree_control"
    handed = set(file.read_text().split())
    given = set((directory / "cgroup.controllers").read_text().split())
    for controller in controllers:
        if controller in handed:
            continue
        if controller not in given:
            raise ControllerMissing(
                f"the group {directory} has no controller {controller!r} to hand down (it has "
                f"{', '.join(sorted(given)) or 'none'}). "
                "The group above must enable it in cgroup.subtree_control; under systemd, ask for "
                "Delegate=yes."
            )
        try:
            put(file, f"+{controller}")
        except OSError as error:
            if error.errno in (16, 95):  # EBUSY, EOPNOTSUPP
                raise InternalProcesses(
                    f"enable {controller} for the groups below {directory}",
                    error.errno,
                    "The group holds processes, and v2 lets a group either hold processes or hand out "
                    "controllers. "
                    "Put the processes into a group of their own below it first.",
                    str(file),
                ) from None
            raise refused(f"enable {controller} for the groups below {directory}", error, file) from None
