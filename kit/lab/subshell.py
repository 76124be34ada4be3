"""Widgets that answer while a cell is busy.

JupyterLab sends a widget's messages to a subshell: a second thread of the kernel that runs beside the cell.
Since ipykernel 7.4 a comm (the widget's line to the kernel) overrules that, and sends a message to the shell
that last published on it, which is the busy one when the widget was made by a cell. That suits requests that
wait for an answer; a slider or a Stop button must get through at once. See ipykernel's
``Kernel.shell_channel_thread_main``.
"""

from __future__ import annotations

from typing import Any


def answer_while_busy(widget: Any) -> None:
    """Let a widget's messages go where the front end sends them. Without a kernel there is nothing to do."""
    if widget.comm is not None:
        widget.comm._reply_subshell_for = None
