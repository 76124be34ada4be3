"""Starting processes with namespaces, groups, mounts and a root of their own. See clone(2), execve(2).

The work is done by :mod:`kit.linux.helper`, one small process per program, started at the first use. A
process started here belongs to its :class:`Process` object: closing that, dropping it, or the program's death
by whatever cause kills it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kit.linux import capabilities
from kit.linux.clone import NAMESPACES, NS_LINKS
from kit.linux.errors import KernelError
from kit.linux.helper_client import helper_pid, the_helper
from kit.linux.mount import MountFlags
from kit.linux.process import Process
from kit.linux.remedies import remedy

__all__ = ["DEVNULL", "PIPE", "Mount", "Process", "Result", "helper_pid", "run", "start"]

#: What a request says that is for no container: see :mod:`kit.linux.contained`.
NOT_CONTAINED: dict[str, Any] = {"contained": None, "hold": False, "keep": False, "domainname": None}

PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL


@dataclass(frozen=True)
class Mount:
    """A mount to make in the new mount namespace.

    With ``after_pivot`` once the new root is in place. See mount(2).
    """

    source: str | None
    target: str
    fstype: str | None = None
    flags: int = 0
    data: str = ""
    after_pivot: bool = False

    @classmethod
    def proc(cls) -> Mount:
        """A fresh /proc, which shows the pid namespace of the process that mounts it. See proc(5)."""
        return cls(
            "proc",
            "/proc",
            "proc",
            MountFlags.NOSUID | MountFlags.NODEV | MountFlags.NOEXEC,
            after_pivot=True,
        )


def _check(argv: Sequence[str], unshare: Iterable[str], join: Iterable[str]) -> None:
    if isinstance(argv, str) or not argv or not argv[0]:
        raise ValueError(f"argv is a list of words, the program first, and not {argv!r}")
    for name in (*unshare, *join):
        if name not in NAMESPACES:
            raise ValueError(f"no namespace is called {name!r}; there are {', '.join(NAMESPACES)}")


def _text(value: str | bytes | os.PathLike[str]) -> str:
    """A word, path or option as text. Refused here what no system call can take, before anything is made."""
    text = os.fsdecode(value)
    if "\0" in text:
        raise ValueError(f"{text!r} holds a zero byte, with which a string ends for the kernel")
    return text


def _ranges(name: str, ranges: Iterable[Sequence[int]]) -> list[tuple[int, int, int]]:
    try:
        return [(int(inside), int(outside), int(count)) for inside, outside, count in ranges]
    except (TypeError, ValueError):
        raise ValueError(f"{name} holds (inside, outside, count) for each range, not {ranges!r}") from None


def _user(user: Sequence[int] | None) -> Sequence[int] | None:
    # To setresuid(2) a number of -1 means "as it was": root would silently stay root.
    if user is not None and (len(user) != 2 or any(not 0 <= number < (1 << 32) - 1 for number in user)):
        raise ValueError(f"user is (uid, gid), two numbers from 0 to {(1 << 32) - 2}, and not {user!r}")
    return user


def _open_joined(join: Mapping[str, int | str]) -> list[int]:
    """Open each namespace to enter, by the pid of a process in it or by path."""
    fds: list[int] = []
    for name, place in join.items():
        path = f"/proc/{place}/ns/{NS_LINKS[name]}" if isinstance(place, int) else place
        try:
            fds.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            for fd in fds:
                os.close(fd)
            raise KernelError(
                f"open the {name} namespace at {path}",
                error.errno or 0,
                "The process has gone, or belongs to someone else.",
                path,
            ) from None
    return fds


def start(
    argv: Sequence[str],
    *,
    unshare: Iterable[str] = (),
    join: Mapping[str, int | str] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    hostname: str | None = None,
    loopback: bool = False,
    mounts: Iterable[Mount] = (),
    root: str | None = None,
    uid_map: Sequence[tuple[int, int, int]] | None = None,
    gid_map: Sequence[tuple[int, int, int]] | None = None,
    user: tuple[int, int] | None = None,
    groups: Iterable[int] = (),
    umask: int | None = None,
    cgroups: Iterable[str] = (),
    drop_capabilities: Iterable[str] = (),
    no_new_privs: bool = False,
    seccomp: bytes | None = None,
    time_offsets: Mapping[str, int] | None = None,
    stdin: int | None = DEVNULL,
    stdout: int | None = None,
    stderr: int | None = None,
) -> Process:
    """Start a program; returns once it is executing.

    ``unshare`` names the kinds of namespace to make anew (see :data:`NAMESPACES`), ``join`` maps kinds to the
    pid or the /proc path of one to enter. ``hostname`` and ``loopback`` (switch on ``lo``) act inside. In a
    new mount namespace all is made private; then come ``mounts`` in order, pivot_root to ``root``, and the
    mounts marked ``after_pivot``. ``uid_map`` and ``gid_map`` hold (inside, outside, count), by default root
    inside for the caller's own id; ``user`` is the (uid, gid) to run as, with ``groups`` (gids) as its
    supplementary groups, and ``umask`` (by default the caller's). ``cgroups`` are directories of control
    groups to enter; ``time_offsets`` maps "monotonic" and "boottime" to seconds. ``seccomp`` is a filter
    program (see :mod:`kit.linux.seccomp`). ``stdin``, ``stdout``, ``stderr``: PIPE, DEVNULL, a descriptor, or
    None to inherit the program's own.

    Raises :class:`KernelError` naming the step that failed, with nothing left behind; ValueError for a name
    that isn't known, or what no call can take.
    """
    unshare, dropped, groups = list(unshare), list(drop_capabilities), [int(gid) for gid in groups]
    _check(argv, unshare, join or {})
    joined = dict(join or {})
    if time_offsets and "time" not in unshare:
        raise ValueError("time_offsets shift the clocks of a new time namespace: add 'time' to unshare")
    if groups and user is None:
        raise ValueError("groups go with a user: say which")
    if bad := [name for name in env or () if "=" in name or not name]:
        raise ValueError(f"{bad[0]!r} can't name an environment variable: see environ(7)")
    for name in dropped:
        capabilities.number(name)
    request: dict[str, Any] = {
        **NOT_CONTAINED,
        "argv": [_text(word) for word in argv],
        "unshare": unshare,
        "join": list(joined),
        "env": {_text(name): _text(value) for name, value in (os.environ if env is None else env).items()},
        "cwd": None if cwd is None else _text(cwd),
        "hostname": None if hostname is None else _text(hostname),
        "loopback": loopback,
        "mounts": [(m.source, m.target, m.fstype, int(m.flags), m.data, m.after_pivot) for m in mounts],
        "root": None if root is None else _text(root),
        "uid_map": _ranges("uid_map", uid_map or [(0, os.geteuid(), 1)]),
        "gid_map": _ranges("gid_map", gid_map or [(0, os.getegid(), 1)]),
        "user": _user(user),
        "groups": groups,
        "umask": umask,
        "cgroups": [_text(directory) for directory in cgroups],
        "drop_capabilities": dropped,
        "no_new_privs": no_new_privs,
        "seccomp": seccomp.hex() if seccomp is not None else None,
        "time_offsets": dict(time_offsets or {}),
    }
    return launch(request, (stdin, stdout, stderr), joined)


def launch(
    request: Mapping[str, Any],
    stdio: Sequence[int | None],
    joined: Mapping[str, int | str],
    extra: int | None = None,
) -> Process:
    """Send the helper a request that has been checked; ``extra`` is one more descriptor for the child."""
    fds: list[int] = []  # for the child: standard input, output and error, the namespaces to enter, the extra
    pipes: list[int | None] = []
    try:
        for number, wanted in enumerate(stdio):
            theirs, ours = _stdio(number, wanted)
            fds.append(theirs)
            pipes.append(ours)
        fds += _open_joined(joined)
        if extra is not None:
            fds.append(os.dup(extra))
        helper = the_helper()
    except BaseException:
        for fd in (*fds, *(end for end in pipes if end is not None)):
            os.close(fd)
        raise
    process = Process(request["argv"], helper, pipes)
    try:
        answer = helper.ask("start", process._child, request, fds).result()
    except BaseException:  # interrupted: a traceback may keep the object alive, but not what was started
        process._let_go()
        raise
    if "pid" not in answer:
        process.close()
        raise failure(answer)
    if request["keep"]:
        process.keep()
    return process


def _stdio(number: int, wanted: int | None) -> tuple[int, int | None]:
    """(descriptor for the child, our end of the pipe or None)."""
    if wanted == PIPE:
        read, write = os.pipe()
        return (read, write) if number == 0 else (write, read)
    if wanted == DEVNULL:
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), None
    return os.dup(number if wanted is None else wanted), None


def failure(answer: Mapping[str, Any]) -> Exception:
    """The exception for a step of which the child told that it failed."""
    if "bug" in answer:
        return RuntimeError(f"the helper process stumbled at the step {answer['step']!r}: {answer['bug']}")
    error = KernelError(answer["step"], answer["errno"])
    error.remedy = remedy(error.what, error.errno_name)
    return error


@dataclass(frozen=True)
class Result:
    """What a finished program said.

    ``returncode`` (a signal's number negated), ``stdout`` and ``stderr`` as text.
    """

    argv: list[str]
    returncode: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return self.stdout + self.stderr

    def check(self) -> Result:
        """Itself, or RuntimeError with what the program said where it failed."""
        if self.returncode:
            raise RuntimeError(
                f"{' '.join(self.argv)} ended with {self.returncode}: {self.stderr.strip() or 'no message'}"
            )
        return self


def run(argv: Sequence[str], *, timeout: float | None = 30, **how: Any) -> Result:
    """Start a program as :func:`start` does, wait for its end and capture what it says.

    Raises TimeoutError after ``timeout`` seconds, the process killed; :class:`KernelError` as :func:`start`.
    """
    how = {"stdout": PIPE, "stderr": PIPE, **how}
    with start(argv, **how) as process:
        out, err = process.communicate(timeout)
        return Result(
            process.argv, process.wait(), out.decode(errors="replace"), err.decode(errors="replace")
        )
