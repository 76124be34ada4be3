"""The helper: a small process with one thread that makes processes for a program with many. See clone(2),
execve(2).

A notebook kernel runs some fifteen threads. Forked, its child has one of them and all of their locks, so
Python in that child may wait for ever; and a process with threads may not enter a new user namespace at all.
So the program asks this helper, over a socket. For each request the helper clones itself into the wanted
namespaces, and the child walks through :mod:`kit.linux.child` from top to bottom, and execs. The helper is a
subreaper: what a started process leaves behind becomes its child. When the program at the other end of the
socket dies, however it dies, the helper kills all of them and ends.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import socket
import time
from typing import Any

from kit.linux import capabilities, child, prctl
from kit.linux.child import Request, clone_flags, two_stages
from kit.linux.clone import CLONE_NEWPID, CLONE_NEWUSER, clone3, setns
from kit.linux.messages import receive, send

#: Seconds for all that is done before an exec. In a container that is joined, root may stop the new process,
#: and must not stop us.
PATIENCE = 10.0


def _write_maps(pid: int, request: Request, privileged: bool) -> None:
    if not privileged:
        with open(f"/proc/{pid}/setgroups", "w") as file:
            file.write("deny")
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write("".join(f"{inside} {outside} {count}\n" for inside, outside, count in request[name]))


def _open_groups(request: Request, opened: list[int]) -> int | None:
    """Open what the child enters its control groups by; a container's in the v2 tree is returned, to be born
    in.

    Of those of v1 it is ``tasks``: where a thread moves itself alone, the kernel need not wait for all other
    processes, as with cgroup.procs (some milliseconds). Being born in a group that cgroup.kill has emptied
    once is death, in kernels that compare its kill_seq with our own group's; nobody does that to a container.
    """
    born_in = None
    for directory in request["cgroups"]:
        try:
            opened.append(os.open(os.path.join(directory, "tasks"), os.O_WRONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            if request["contained"] is None:
                opened.append(os.open(os.path.join(directory, "cgroup.procs"), os.O_WRONLY | os.O_CLOEXEC))
            else:
                born_in = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                opened.append(born_in)
    return born_in


def _clone_in(namespace: int, flags: int, born_in: int | None) -> int:
    """As clone3, with the child in another pid namespace. Ours stays: setns(2) is about children there."""
    with open("/proc/self/ns/pid", "rb") as ours:
        setns(namespace, CLONE_NEWPID)
        pid = -1
        try:
            pid = clone3(flags, signal.SIGCHLD, born_in)
        finally:
            if pid:  # not in the child
                setns(ours.fileno(), CLONE_NEWPID)
    return pid


def start(request: Request, fds: list[int]) -> tuple[dict[str, Any], list[int]]:
    """Make one process: its pid, or the step that failed and the errno; and descriptors for the client.

    Those are the line to a child that holds before its exec, then the master of its terminal.
    """
    privileged = os.geteuid() == 0
    groups: list[int] = []
    try:
        born_in = _open_groups(request, groups)
    except OSError as error:
        for fd in groups:
            os.close(fd)
        return {"step": "enter the control group", "errno": error.errno}, []
    report, theirs = socket.socketpair()
    mapped_read, mapped_write = os.pipe()
    flags = clone_flags(request)
    failure: dict[str, Any] | None = None
    pid = 0
    try:
        if request["contained"] is not None and "pid" in request["join"]:
            pid = _clone_in(fds[3 + request["join"].index("pid")], flags, born_in)
        else:
            pid = clone3(flags & CLONE_NEWUSER if two_stages(request) else flags, signal.SIGCHLD, born_in)
        if pid == 0:
            os.close(mapped_write)  # so that our read ends should the helper die
            report.close()
            if _line is not None:
                _line.close()
            entered = [fd for fd in groups if fd != born_in]
            child.run(request, fds, entered, theirs, mapped_read, privileged)
        if flags & CLONE_NEWUSER:
            _write_maps(pid, request, privileged)
        os.write(mapped_write, b"\n")
    except OSError as error:
        entering = born_in is not None and error.errno in (errno.EACCES, errno.EBUSY, errno.EOPNOTSUPP)
        step = "write the id maps" if pid else "enter the control group" if entering else "clone"
        failure = {"step": step, "errno": error.errno}
        if pid:
            os.kill(pid, signal.SIGKILL)
    theirs.close()
    for fd in (mapped_read, mapped_write, *groups):
        os.close(fd)
    sent: list[int] = []
    first, ready = (pid, False) if two_stages(request) else (0, False)
    report.settimeout(PATIENCE)
    with report:  # it ends when exec closes the child's copy, or the child dies
        while (message := _heard(report, pid)) is not None:
            told, received = message
            sent += received
            ready |= "ready" in told
            if "sibling" in told:
                os.waitpid(first, 0)
                pid, first = told["sibling"], 0
            elif "step" in told:
                failure = failure or told
            if ready and request["hold"] and not first:
                report.settimeout(None)  # which its copy shares
                sent.insert(0, os.dup(report.fileno()))
                break
    if failure is not None:
        if pid:
            os.waitpid(pid, 0)
        for fd in sent:
            os.close(fd)
        return failure, []
    (_kept if request["keep"] else _started).add(pid)
    if "pid" in request["join"]:
        _guests.add(pid)
    return {"pid": pid}, sent


def _heard(report: socket.socket, pid: int) -> tuple[Any, list[int]] | None:
    """What a child tells; one that is silent for too long is killed."""
    try:
        return receive(report)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        return {"step": "wait for the process to begin", "errno": errno.ETIMEDOUT}, []


def _children() -> list[int]:
    """All children, the adopted ones too (needs CONFIG_PROC_CHILDREN, which distributions set)."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return [int(word) for word in file.read().split()]


#: The children that were asked for and are not reaped yet; all others were adopted.
_started: set[int] = set()
#: Those that live on when the helper ends: a container that one command creates and another one starts.
_kept: set[int] = set()
#: Those in another process's pid namespace: its process 1 can't end before they are reaped, so we wait for no
#: request to do so. What they ended with is kept until it is asked for. See pid_namespaces(7).
_guests: set[int] = set()
_ended: dict[int, int] = {}
_line: socket.socket | None = None  # to the program that we serve; no child may have it


def _orphans(group: int) -> list[int]:
    """The adopted children in a process group whose leader has ended. Adopted ones that have ended are
    reaped.
    """
    found = []
    for pid in _children():
        if pid in _started | _kept or os.waitpid(pid, os.WNOHANG)[0]:
            continue
        if os.getpgid(pid) == group:
            found.append(pid)
    return found


def _reap_guests() -> None:
    for pid in list(_guests):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            _guests.discard(pid)
            _ended[pid] = status


def wait(pid: int) -> dict[str, int | bool]:
    """Reap an ended child: its exit status, a signal's number negated; and whether its group is empty now."""
    while pid not in _ended:
        done, status = os.waitpid(pid, os.WNOHANG if _guests else 0)
        if done:
            _guests.discard(pid)
            _ended[pid] = status
        elif _guests:
            _reap_guests()
            time.sleep(0.001)
    _started.discard(pid)
    _kept.discard(pid)
    return {"status": os.waitstatus_to_exitcode(_ended.pop(pid)), "alone": not _orphans(pid)}


def close(pid: int, reaped: bool) -> dict[str, int | bool]:
    """Kill a started process and what is left of its process group, orphans that we adopted; reap them."""
    answer: dict[str, int | bool] = {}
    if not reaped:
        if pid not in _ended:
            os.kill(pid, signal.SIGKILL)
        answer = wait(pid)
    while orphans := _orphans(pid):
        for orphan in orphans:
            os.kill(orphan, signal.SIGKILL)
            os.waitpid(orphan, 0)
    return answer


def kill_all() -> None:
    """Kill and reap every child but the kept, and those that are adopted as their parents die."""
    while children := [pid for pid in _children() if pid not in _kept]:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        reaped = [os.waitpid(pid, os.WNOHANG)[0] for pid in children]
        if not any(reaped):
            time.sleep(0.001)


def main(fd: int) -> None:
    """Serve requests until the other end of the socket is gone, then kill what is left."""
    # Caught, not ignored: exec sets a caught signal back to its default, and passes an ignored one on.
    for caught in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
        signal.signal(caught, lambda *_: None)
    gc.disable()
    gc.freeze()  # a collection would touch, and in a child copy, all of the heap
    capabilities.bounding()  # once, and not in every copy
    prctl.become_subreaper()
    os.set_inheritable(fd, False)
    global _line
    _line = sock = socket.socket(fileno=fd)
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    poll.register(woken, select.POLLIN)
    try:
        while True:
            ready = [number for number, _ in poll.poll()]
            if woken in ready:
                os.read(woken, 4096)
                _reap_guests()
            if fd not in ready:
                continue
            if (message := receive(sock)) is None:
                break
            request, fds = message
            answer_fds: list[int] = []
            if request["do"] == "start":
                answer, answer_fds = start(request, fds)
                if "pid" in answer:
                    answer_fds.insert(0, os.pidfd_open(answer["pid"]))
            elif request["do"] == "wait":
                answer = wait(request["pid"])
            else:
                answer = close(request["pid"], request["reaped"])
            send(sock, answer, answer_fds)
            for number in fds + answer_fds:
                os.close(number)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the other end died in the middle: same as the end
    finally:
        kill_all()
