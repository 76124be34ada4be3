"""What the checks look at: processes as /proc shows them, and namespaces as they are from inside.

Each function answers from the running kernel, or raises `NotYet` with a clause that says what was handed in.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kit.checks.feedback import NotYet
from kit.linux import proc
from kit.linux.clone import NS_LINKS
from kit.linux.errors import KernelError

if TYPE_CHECKING:
    from kit.cgroups import Cgroup


def pid_of(answer: object, variable: str = "process") -> int:
    """The number of a living process: the answer is one of the kit's processes, or its pid. Raises NotYet."""
    pid = getattr(answer, "pid", answer)
    if isinstance(pid, bool) or not isinstance(pid, int):
        raise NotYet(f"`{variable}` is {described(answer)} and no process")
    if not os.path.isdir(f"/proc/{pid}") or pid <= 0:
        raise NotYet(
            f"there is no process {pid} (any more)",
            look="the command: it must keep running, like `sleep 600`",
        )
    if proc.state(pid) in "ZX":
        raise NotYet(f"process {pid} has ended", look="the command: it must keep running, like `sleep 600`")
    return pid


def namespace(pid: int, kind: str) -> int:
    """The inode number of one namespace of a process. Raises NotYet where it may not be seen."""
    try:
        return proc.namespaces(pid)[kind]
    except KernelError as error:
        raise NotYet(f"the namespaces of process {pid} cannot be read ({error.errno_name})") from error


def own(pid: int, kind: str) -> int:
    """The same, and it must be another one than this notebook's. Raises NotYet."""
    inode = namespace(pid, kind)
    if inode == namespace(os.getpid(), kind):
        raise NotYet(
            f"process {pid} is in the same {kind} namespace as this notebook ({kind}:[{inode}])",
            f"{article(kind)} namespace of its own",
            f"`/proc/{pid}/ns/{NS_LINKS[kind]}`",
        )
    return inode


def inside(pid: int, argv: Sequence[str], *kinds: str) -> str:
    """What a command of this machine prints inside namespaces of a process. NotYet where they are shut."""
    from kit.linux.spawn import run

    try:
        result = run(list(argv), join=dict.fromkeys(kinds, pid), timeout=10)
    except KernelError as error:
        raise NotYet(f"the namespaces of process {pid} cannot be entered ({error.errno_name})") from error
    return str(result.stdout)


def group_of(answer: object, variable: str = "group") -> Cgroup:
    """A control group that exists: the answer is one of the kit's. Raises NotYet."""
    from kit.cgroups import Cgroup

    if not isinstance(answer, Cgroup):
        raise NotYet(f"`{variable}` is {described(answer)} and no `Cgroup`")
    if not answer.alive:
        raise NotYet(f"the group `{answer.path}` has been removed", look="the answer's cell: run it again")
    return answer


def host_name(pid: int) -> str:
    """The host name in a process's UTS namespace."""
    return inside(pid, ["hostname"], "uts").strip()


def described(answer: object) -> str:
    """An answer by its type and the beginning of its repr."""
    shown = repr(answer)
    return f"{article(type(answer).__name__)} ({shown if len(shown) < 60 else shown[:57] + '...'})"


def article(noun: str) -> str:
    """The noun with "a" or "an" before it."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
