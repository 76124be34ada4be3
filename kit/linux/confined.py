"""The rights of a container's process, given up one after the other before its program begins.

Runs in a copy of the helper, as :mod:`kit.linux.child`. See credentials(7), capabilities(7), seccomp(2).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Mapping
from contextlib import suppress
from errno import EACCES, ENOENT
from typing import Any

from kit.linux import capabilities, prctl, seccomp
from kit.linux.contained import Step
from kit.linux.libc import NR_CLOSE_RANGE, syscall

CLOSE_RANGE_CLOEXEC = 4
_ALL = signal.valid_signals()


def hide() -> None:
    """Close this process to others before it is seen in a container: no ptrace(2), no /proc/PID/exe."""
    prctl.prctl(prctl.PR_SET_DUMPABLE, 0)


def close_on_exec() -> None:
    """Have exec close all descriptors but 0, 1 and 2, whoever opened them. See close_range(2)."""
    syscall(NR_CLOSE_RANGE, 3, 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC)


def limit(plan: Mapping[str, Any], step: Step) -> None:
    """Take the resource limits, and out of the bounding set what no exec may give back."""
    for number, soft, hard in plan["rlimits"]:
        step.name = f"set the resource limit {number}"
        resource.setrlimit(number, (soft, hard))
    step.name = "drop capabilities"
    capabilities.keep_bounding(plan["capabilities"]["bounding"])


def become(plan: Mapping[str, Any], user: tuple[int, int], groups: list[int], step: Step) -> None:
    """Change to the user, and keep only the capabilities that the container has. See capabilities(7)."""
    step.name = "change user"
    prctl.prctl(prctl.PR_SET_KEEPCAPS, 1)
    os.setgroups(groups)
    os.setresgid(user[1], user[1], user[1])
    os.setresuid(user[0], user[0], user[0])
    step.name = "set the capabilities"
    sets = plan["capabilities"]
    capabilities.set(sets["effective"], sets["permitted"], sets["inheritable"])
    prctl.prctl(prctl.PR_CAP_AMBIENT, prctl.PR_CAP_AMBIENT_CLEAR_ALL)
    for i in range(sets["ambient"].bit_length()):
        if sets["ambient"] >> i & 1:
            prctl.prctl(prctl.PR_CAP_AMBIENT, prctl.PR_CAP_AMBIENT_RAISE, i)


def filter_calls(program: str | None, step: Step) -> None:
    """Install the seccomp filter, a program in hexadecimal."""
    if program is not None:
        step.name = "install the seccomp filter"
        seccomp.install(bytes.fromhex(program), no_new_privs=False)


def find(name: str, env: Mapping[str, str], step: Step) -> str:
    """The path of a program, looked up in the container's PATH as execvp(3) does."""
    step.name = f"exec {name}"
    refused = ENOENT
    for directory in [""] if "/" in name else env.get("PATH", os.defpath).split(":"):
        path = os.path.join(directory, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
        if os.path.exists(path):
            refused = EACCES
    raise OSError(refused, os.strerror(refused))


def _call_ourselves(name: bytes) -> None:
    """Put a name where our arguments lie, which ps(1) shows: arg_start, arg_end of proc_pid_stat(5)."""
    with open("/proc/self/stat") as file:
        start, end = map(int, file.read().rpartition(")")[2].split()[45:47])
    ctypes.memmove(start, name.ljust(end - start, b"\0"), end - start)


def stand_first(tty: bool) -> None:
    """Be a small init: return in a child, and stay behind to pass signals on to it and reap orphans."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ALL)
    program = os.fork()
    if program == 0:
        prctl.die_with_parent(signal.SIGKILL)
        os.setpgid(0, 0)
        if tty:
            os.tcsetpgrp(0, os.getpid())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ALL)
        return
    syscall(NR_CLOSE_RANGE, 3, 0xFFFFFFFF, 0)
    with suppress(OSError):  # without a /proc nobody sees our name
        _call_ourselves(b"init")
    while True:
        number = signal.sigwait(_ALL)
        if number != signal.SIGCHLD:
            with suppress(ProcessLookupError):
                os.kill(program, number)
            continue
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == program:
                    code = os.waitstatus_to_exitcode(ended[1])
                    os._exit(code if code >= 0 else 128 - code)
