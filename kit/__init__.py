"""Containers, from the kernel up: the package behind the course's notebooks.

``import kit`` loads next to nothing. Each room is imported where it is used: ``kit.linux`` holds the kernel's
own interfaces, ``kit.namespaces`` and ``kit.cgroups`` the chapters that stand on them, ``kit.lab`` everything
seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kit.preflight import Report

__all__ = ["doctor"]
__version__ = "0.1.0"


def doctor() -> Report:
    """Try out what this machine can do for the course; in a cell the result shows itself as a table.

    Every row is found by doing the thing once, in a child process and with a time limit. See
    :mod:`kit.preflight`.
    """
    from kit.preflight import report

    return report()
