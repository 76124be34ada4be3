"""Probes that misbehave, for the tests: each runs in a child of its own, as the real ones do."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

from kit.linux.spawn import start
from kit.preflight.row import Finding


def well(word: str = "well") -> Finding:
    return Finding("yes", word)


def hang(note: str) -> Finding:
    """Start a process, make a group with another one in it, note all of that, and never come back."""
    from kit.cgroups import Cgroup

    own = start(["sleep", "600"])
    group = Cgroup("hang") if os.geteuid() == 0 else None
    inside = group.start(["sleep", "600"]) if group else own
    with open(note + ".part", "w") as file:
        print(os.getpid(), own.pid, inside.pid, file=file)
        print(*(group.directories if group else []), file=file)
    os.rename(note + ".part", note)
    while True:
        time.sleep(1)


def deaf() -> Finding:
    """Neither answers nor listens to polite signals."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        pass


def stumble() -> Finding:
    raise ZeroDivisionError("one by zero")


def crash() -> Finding:
    os.kill(os.getpid(), signal.SIGSEGV)
    return Finding("yes", "never")


def leave() -> Finding:
    os._exit(3)


def chatter() -> Finding:
    """Prints on standard output and leaves a child that holds it open."""
    print("noise", flush=True)
    os.system("echo more noise")
    subprocess.Popen(["sleep", "600"])
    sys.stderr.write("noise\n")
    return Finding("yes", "heard")


def refused() -> Finding:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def partly() -> Finding:
    return Finding("partly", "half", "its own remedy")
