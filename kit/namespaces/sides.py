"""The same question asked inside a namespace and outside of it, side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping

from kit.linux import proc, spawn
from kit.linux.clone import NS_LINKS
from kit.namespaces.inside import inside
from kit.namespaces.members import HasPid, of, pid_of
from kit.namespaces.names import known
from kit.show import Table

#: For each kind: question in words -> shell command. ``{pid}`` stands for the process's number in that
#: side's /proc.
QUESTIONS: dict[str, dict[str, str]] = {
    "mount": {
        "what lies in /": "echo /*",
        "mounts in the table": "wc -l < /proc/self/mounts",
    },
    "uts": {
        "host name": "hostname",
        "kernel release": "uname -r",
    },
    "ipc": {
        "message queues": "tail -n +2 /proc/sysvipc/msg | wc -l",
        "shared memory segments": "tail -n +2 /proc/sysvipc/shm | wc -l",
    },
    "pid": {
        "the process's numbers": "grep ^NSpid: /proc/{pid}/status",
        "processes in /proc": "set -- /proc/[0-9]*; echo $#",
    },
    "network": {
        "interfaces": "tail -n +3 /proc/net/dev | cut -d: -f1",
        "routes": "tail -n +2 /proc/net/route | wc -l",
    },
    "user": {
        "the process's user": "grep ^Uid: /proc/{pid}/status",
        "its capabilities": "grep ^CapEff: /proc/{pid}/status",
        "the owner of /": "stat -c %u /",
    },
    "cgroup": {
        "the process's groups": "cat /proc/{pid}/cgroup",
    },
    "time": {
        "seconds since boot": "cut -d' ' -f1 /proc/uptime",
        "year": "date +%Y",
    },
}


def inside_outside(target: int | HasPid, kind: str) -> Table:
    """What a namespace of this kind changes for the process: the usual questions, asked on both sides.

    Raises ValueError for a kind that doesn't exist, KernelError as :func:`compare`.
    """
    (name,) = known([kind])
    return compare(target, QUESTIONS[name], f"the {name} namespace from inside and from outside", kind=name)


def compare(
    target: int | HasPid,
    questions: Mapping[str, str],
    title: str = "inside and outside",
    kind: str | None = None,
) -> Table:
    """Run shell commands (words -> command) where the process is, and here; a table with both answers.

    With ``kind`` its first row shows the inodes of that namespace. Raises KernelError: ESRCH when the
    process has gone, EPERM when we may not enter.
    """
    pid, there = pid_of(target), inside(target)
    rows: list[tuple[object, ...]] = []
    if kind is not None:
        link = of(target)
        rows.append(
            ("the namespace itself", f"readlink /proc/PID/ns/{NS_LINKS[kind]}", link[kind], link.ours[kind])
        )
    for question, command in questions.items():
        answers = []
        for number, ask in ((number_inside(pid), there.run), (pid, spawn.run)):
            answers.append(str(ask(["sh", "-c", command.replace("{pid}", str(number))])).strip())
        rows.append((question, command.replace("{pid}", "PID"), *answers))
    return Table(title, ("", "command", "inside", "outside"), rows)


def number_inside(pid: int) -> int:
    """A process's number in the /proc that it sees: another than ours only where that was mounted afresh.

    Each mounted /proc is a file system of its own with its own device number, and shows the PID namespace
    of its mounter.
    """
    if os.stat(f"/proc/{pid}/root/proc").st_dev == os.stat("/proc").st_dev:
        return pid
    return int(proc.status(pid)["NSpid"].split()[-1])
