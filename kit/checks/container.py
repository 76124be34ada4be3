"""What the checks of chapter 06 look at: containers of an engine, and what the kernel says of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kit.checks.feedback import NotYet
from kit.checks.look import described

if TYPE_CHECKING:
    from kit.containers import Container as Task
    from kit.engine import Engine
    from kit.engine.container import Container


def container_of(engine: Engine, answer: object, variable: str = "container") -> Container:
    """The container that is meant by its name, its id, or the SDK's object. Raises NotYet."""
    from kit.engine.asked import Refused

    text = getattr(answer, "id", answer)
    if not isinstance(text, str):
        raise NotYet(f"`{variable}` is {described(answer)} and names no container")
    try:
        return engine.find(text)
    except Refused as error:
        raise NotYet(f"there is no container {text!r:.60}") from error


def task_of(container: Container) -> Task:
    """The process of a container that runs. Raises NotYet."""
    if container.task is None or not container.running:
        state = container.state
        how = f"{state['Status']}, exit status {state['ExitCode']}"
        raise NotYet(
            f"the container `{container.name}` doesn't run ({how})",
            look=f"`docker logs {container.name}`: its program must not end",
        )
    return container.task


def said(task: Task, *argv: str) -> tuple[int, str]:
    """A program run in a container: its exit status, and the beginning of what it prints. Raises NotYet."""
    ours, theirs = os.pipe()
    with open(ours, "rb") as output:
        try:
            process = task.exec({"args": list(argv)}, stdout=theirs, stderr=theirs)
        except OSError as error:
            raise NotYet(f"`{argv[0]}` can't be run in the container: {error}".rstrip(".")) from error
        finally:
            os.close(theirs)
        try:
            status = process.wait(10)
        except TimeoutError:
            raise NotYet(f"`{' '.join(argv)}` has not ended after ten seconds") from None
        finally:
            process.close()
        return status, output.read(4096).decode(errors="replace").strip()


def status_of(pid: int) -> dict[str, str]:
    """The lines of /proc/PID/status, by name: see proc(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def listens(pid: int, port: int) -> bool:
    """Whether somebody listens at this TCP port of a process's network: see /proc/PID/net/tcp in proc(5)."""
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                return True
    return False
