"""What a cloned child does between clone and exec, in order. See clone(2), credentials(7), execve(2).

This runs in a copy of :mod:`kit.linux.helper`, which has one thread, so that Python is safe here.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import warnings  # noqa: F401 - os.execvpe imports it, and after pivot_root no library is in sight
from collections.abc import Mapping
from typing import Any, NoReturn

from kit.linux import capabilities, confined, contained, prctl, seccomp
from kit.linux.clone import (
    CLONE_NEWCGROUP,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_PARENT,
    NAMESPACES,
    clone3,
    set_domainname,
    set_hostname,
    setns,
    unshare,
)
from kit.linux.messages import send
from kit.linux.mount import MS_PRIVATE, MS_REC, mount
from kit.linux.pivot_root import pivot_root

SIOCSIFFLAGS, IFF_UP = 0x8914, 1

Request = Mapping[str, Any]


def loopback_up() -> None:
    """Switch on the interface ``lo`` of the caller's network namespace. See netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))


class _Steps:
    """Names the step under way, so that an error can say what was tried."""

    name = "clone"


def _set_user(request: Request, privileged: bool) -> None:
    user = request["user"]
    if user is None and "user" in request["unshare"]:
        # Root inside, where root is mapped: an unmapped id would show as 65534, "nobody".
        user = [
            0 if any(inside == 0 for inside, _, _ in request[name]) else None
            for name in ("uid_map", "gid_map")
        ]
    if user is None:
        return
    uid, gid = user
    if privileged or request["groups"]:
        try:
            os.setgroups(request["groups"])
        except PermissionError:
            if "user" not in request["join"]:
                raise
            # A user namespace made without privilege denies this to all in it: see user_namespaces(7).
    if gid is not None:
        os.setresgid(gid, gid, gid)
    if uid is not None:
        os.setresuid(uid, uid, uid)


def _settle(request: Request, groups: list[int], step: _Steps) -> None:
    """Enter the control group, and name and connect the new namespaces."""
    step.name = "enter the control group"
    for fd in groups:
        os.write(fd, b"0")
    if "cgroup" in request["unshare"]:  # only now: the group that one is in becomes the new one's root
        step.name = "unshare the cgroup namespace"
        unshare(CLONE_NEWCGROUP)
    if request["hostname"] is not None:
        step.name = f"set the host name to {request['hostname']!r}"
        set_hostname(request["hostname"])
    if request["domainname"] is not None:
        step.name = f"set the domain name to {request['domainname']!r}"
        set_domainname(request["domainname"])
    if request["loopback"]:
        step.name = "switch on lo"
        loopback_up()


def _set_up(request: Request, stdio: list[int], groups: list[int], privileged: bool, step: _Steps) -> None:
    """What the child does between clone and exec. The order matters: later lines drop rights.

    Each page of memory touched here must be copied first (fork is copy-on-write): what isn't asked for is not
    even called.
    """
    unshared = request["unshare"]
    step.name = "make a process group"
    os.setpgid(0, 0)
    _settle(request, groups, step)
    if "mount" in unshared:
        step.name = "make all mounts private"
        mount(None, "/", None, MS_REC | MS_PRIVATE)
    _mount(request["mounts"], False, step)
    if request["root"] is not None:
        step.name = f"pivot_root to {request['root']}"
        pivot_root(request["root"])
    _mount(request["mounts"], True, step)
    if request["cwd"] is not None:
        step.name = f"change directory to {request['cwd']}"
        os.chdir(request["cwd"])
    dropped = request["drop_capabilities"]
    if dropped:
        step.name = "drop capabilities"
        capabilities.drop_bounding(dropped)
    if request["user"] is not None or "user" in unshared:
        step.name = "change user"
        _set_user(request, privileged)
    if dropped:
        step.name = "drop capabilities"
        capabilities.drop(dropped)
    if request["umask"] is not None:
        os.umask(request["umask"])
    step.name = "ask to die with the parent"
    prctl.die_with_parent(9)
    step.name = "connect standard input, output and error"
    for number, fd in enumerate(stdio):  # all are above 2: the helper's own are open
        os.dup2(fd, number)
    if request["seccomp"] is not None:
        step.name = "install the seccomp filter"
        seccomp.install(bytes.fromhex(request["seccomp"]))
    elif request["no_new_privs"]:
        step.name = "set no_new_privs"
        prctl.no_new_privileges()
    step.name = f"exec {request['argv'][0]}"
    os.execvpe(request["argv"][0], request["argv"], request["env"])


def _contain(
    request: Request,
    stdio: list[int],
    extra: int | None,
    groups: list[int],
    report: socket.socket,
    step: _Steps,
) -> NoReturn:
    """The same for a container, or with no root for one more program in one: see :mod:`kit.linux.contained`.

    Its tree is built with all rights; then they are given up, one after the other, and what it may not have
    is closed before its program begins. ``extra`` is what is read to hold, or the root of the one to join.
    """
    plan, user = request["contained"], tuple(request["user"])
    step.name = "begin a session"
    os.setsid()
    _settle(request, groups, step)
    if request["root"] is not None:
        contained.build(request["root"], plan, step)
    elif extra is not None:  # its mount namespace may have another root, if we run in a chroot ourselves
        step.name = "enter the container's root"
        os.fchdir(extra)
        os.chroot(".")
    sent = []
    if plan["tty"]:
        sent.append(contained.console(plan, step, user))
    else:
        for number, fd in enumerate(stdio):
            os.dup2(fd, number)
    contained.close_off(plan, step)
    confined.limit(plan, step)
    if not request["no_new_privs"]:  # needs a capability that is about to go
        confined.filter_calls(request["seccomp"], step)
    confined.become(plan, user, request["groups"], step)
    os.umask(request["umask"])
    contained.enter_directory(request["cwd"], step)
    if not request["keep"]:
        prctl.die_with_parent(9)
    program = confined.find(request["argv"][0], request["env"], step)
    if request["no_new_privs"]:
        step.name = "set no_new_privs"
        prctl.no_new_privileges()
        confined.filter_calls(request["seccomp"], step)
    if sent or request["hold"]:
        step.name = "report"
        send(report, {"ready": True}, sent)
    if request["hold"] and not os.read(extra or 0, 1):
        os._exit(0)  # whoever would have said "start" has gone
    confined.close_on_exec()
    if plan["init"]:
        step.name = "begin as init"
        confined.stand_first(plan["tty"])
    step.name = f"exec {program}"
    os.execve(program, request["argv"], request["env"])


def _mount(mounts: list[Any], after_pivot: bool, step: _Steps) -> None:
    for source, target, fstype, flags, data, late in mounts:
        if late == after_pivot:
            step.name = f"mount {fstype or source} on {target}"
            mount(source, target, fstype, flags, data)


def _enter(doors: dict[str, int], step: _Steps) -> None:
    """Enter namespaces, the user namespace in the middle, as nsenter(1) does.

    It takes away the rights over what it doesn't own, and gives those over what it owns: so we enter first
    what we may with the rights that we have, and after it what we may with the new ones.
    """
    refused = {}
    for name, fd in sorted(doors.items(), key=lambda door: door[0] == "user"):
        step.name = f"enter the {name} namespace"
        try:
            setns(fd, NAMESPACES[name])
        except PermissionError:
            if name == "user" or "user" not in doors:
                raise
            refused[name] = fd
    for name, fd in refused.items():
        step.name = f"enter the {name} namespace"
        setns(fd, NAMESPACES[name])


def run(
    request: Request, fds: list[int], groups: list[int], report: socket.socket, mapped: int, privileged: bool
) -> NoReturn:
    """Set up and exec; or send to ``report`` which step failed with what errno, and end.

    ``fds`` are standard input, output, error, the namespaces to enter, and for a container one more;
    ``groups`` are open files to enter control groups by; ``mapped`` becomes readable when the id maps are
    written. It never returns: the copy must not run on as a second helper.
    """
    step = _Steps()
    joined = len(request["join"])
    try:
        if request["contained"] is not None:
            confined.hide()
        if "user" in request["unshare"]:
            step.name = "wait for the id maps"
            os.read(mapped, 1)  # the helper outside writes them: see user_namespaces(7)
        if request["join"]:
            _enter(dict(zip(request["join"], fds[3 : 3 + joined], strict=True)), step)
        if "time" in request["unshare"]:
            step.name = "unshare the time namespace"
            unshare(CLONE_NEWTIME)
            if request["time_offsets"]:
                step.name = "set the clock offsets"
                with open("/proc/self/timens_offsets", "w") as file:
                    file.write(
                        "".join(f"{clock} {offset} 0\n" for clock, offset in request["time_offsets"].items())
                    )
        if two_stages(request):
            # Have a child, as a sibling of ours, and step aside.
            step.name = "clone"
            pid = clone3(clone_flags(request) & ~CLONE_NEWUSER | CLONE_PARENT, 0)
            if pid:
                send(report, {"sibling": pid}, [])
                os._exit(0)
        if request["contained"] is not None:
            extra = fds[3 + joined] if len(fds) > 3 + joined else None
            _contain(request, fds[:3], extra, groups, report, step)
        _set_up(request, fds[:3], groups, privileged, step)
    except BaseException as error:
        # An OSError is the kernel's answer; anything else is a mistake of ours, told as such.
        told = {"errno": error.errno} if isinstance(error, OSError) else {"bug": repr(error)}
        try:
            send(report, {"step": step.name, **told}, [])
        except OSError:  # who asked has gone: the container's own standard error is left
            os.write(2, f"{step.name}: {error}\n".encode())
    finally:
        os._exit(127)


def two_stages(request: Request) -> bool:
    """Whether a first child must prepare the way.

    What it does holds for children only. See pid_namespaces(7). For a container's program the helper, which
    is root then, does it itself: it is one copy less.
    """
    if request["contained"] is not None:
        return False
    return "time" in request["unshare"] or bool({"pid", "time"} & set(request["join"]))


def clone_flags(request: Request) -> int:
    """The flags for clone3: cgroup and time namespaces are left to unshare, later."""
    late = CLONE_NEWCGROUP | CLONE_NEWTIME
    return sum({NAMESPACES[name] for name in request["unshare"]}) & ~late  # a set: each flag once
