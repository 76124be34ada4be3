"""A RUN: one program in namespaces, a control group and a root of its own, until its end.

Its root is the image's tree (:mod:`kit.images.rootfs`), so what it changes stays in the upper directory and
becomes a layer. It sees a /proc of its own, a read-only /sys and a small /dev; what files of /proc and /sys
could harm the machine are covered, as Docker covers them. The program is process 1 of its PID namespace: when
it ends, the kernel kills what it left running, before anything is packed. See pid_namespaces(7).
"""

from __future__ import annotations

import os
import secrets
import selectors
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kit.images.beneath import OPEN_DIRECTORY
from kit.images.build.users import User
from kit.images.errors import ImageError
from kit.images.rootfs import Rootfs
from kit.linux.capabilities import CAPABILITIES
from kit.linux.mount import MountFlags
from kit.linux.spawn import Mount, start

if TYPE_CHECKING:
    from kit.cgroups import Cgroup

#: Docker's default set but for MKNOD: the kit unpacks no layer with devices, so a RUN makes none.
KEPT = {
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "NET_RAW",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}  # fmt: skip
HOST_NAME = "kit-build"
PROCESSES = 4096  # pids.max of a RUN: a fork bomb stops there
MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4  # its memory.max, in bytes
NETWORKS = ("none", "host")
_SECOND = 1.0

_ROOT = User(0, 0, (), "/root")

_QUIET = MountFlags.NOSUID | MountFlags.NODEV | MountFlags.NOEXEC
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEV_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_OF_THE_HOST = ("resolv.conf", "hosts")
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_COVERED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit ``status``, a signal's number negated.

    ``out_of_memory`` when the kernel killed something in its control group for want of memory; ``unlimited``
    says why it ran without a limit on memory or processes, "" where it had both.
    """

    status: int
    out_of_memory: bool = False
    unlimited: str = ""


def run(
    rootfs: Rootfs,
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str = "/",
    user: User = _ROOT,
    network: str = "none",
    output: Callable[[bytes], None] = lambda data: None,
    timeout: float | None = None,
) -> Ended:
    """Run a program in the mounted image to its end; what it prints goes to ``output`` as it comes.

    ``network`` is "none" (only ``lo``), "host" (the machine's own) or the path of a network namespace to
    join. Standard input is empty. Raises
    :class:`KernelError`, naming the step, where it can't be started (no such program, no such directory,
    EPERM); TimeoutError after ``timeout`` seconds; :class:`ImageError` where the image has no room for /proc,
    /sys or /dev. Whatever happens, nothing of it runs on and nothing it needed stays.
    """
    with ExitStack() as cleanup:
        mounts = _mounts(rootfs, network, cleanup)
        group, unlimited = _group(cleanup)
        read, write = os.pipe()  # one for both, so that their lines keep their order
        cleanup.callback(os.close, read)
        with open(write, "wb") as theirs:
            process = start(
                argv,
                unshare=["mount", "pid", "uts", "ipc", "cgroup", *(["network"] if network == "none" else [])],
                hostname=HOST_NAME,
                join={"network": network} if network.startswith("/") else {},
                loopback=network == "none",
                mounts=mounts,
                root=str(rootfs.path),
                env=env,
                cwd=cwd,
                user=(user.uid, user.gid),
                groups=user.groups,
                umask=0o022,
                cgroups=[str(path) for path in group.directories] if group else (),
                drop_capabilities=[name for name in CAPABILITIES if name not in KEPT],
                stdout=theirs.fileno(),
                stderr=theirs.fileno(),
            )
        with process:
            deadline = None if timeout is None else time.monotonic() + timeout
            _pass_on(read, output, deadline, argv)
            status = process.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        killed = bool(group and "memory" in group.controllers and group["memory.events"]["oom_kill"])
        return Ended(status, killed, unlimited)


def _pass_on(read: int, output: Callable[[bytes], None], deadline: float | None, argv: Sequence[str]) -> None:
    """Hand on what arrives until nobody holds the pipe's other end any more: then all have ended."""
    with selectors.DefaultSelector() as selector:
        selector.register(read, selectors.EVENT_READ)
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError(f"{' '.join(argv)} was still running at its time limit, and was killed")
            if not selector.select(_SECOND if left is None else min(left, _SECOND)):
                output(b"")  # who hears it may have gone, and says so by an exception
                continue
            data = os.read(read, 65536)
            if not data:
                return
            output(data)


def _group(cleanup: ExitStack) -> tuple[Cgroup | None, str]:
    """A control group with limits, of the controllers that the machine has; or None and why."""
    from kit.cgroups import Cgroup, CgroupError, hierarchy

    limits = {"memory": MEMORY, "pids": PROCESSES}
    try:
        there = [name for name in limits if name in hierarchy.available()]
        group = cleanup.enter_context(Cgroup(f"build-{secrets.token_hex(3)}", controllers=there))
    except CgroupError as error:
        return None, str(error)
    for name in there:
        group[f"{name}.max"] = limits[name]
    return group, "" if len(there) == 2 else "the machine does not offer the controllers memory and pids"


def _mounts(rootfs: Rootfs, network: str, cleanup: ExitStack) -> list[Mount]:
    """What to mount over the image; ``cleanup`` removes the places for it that the image lacks."""
    root = _open(rootfs.path, cleanup)
    for name in ("proc", "sys", "dev"):
        if not _place(root, name, cleanup):
            what = f"the image's /{name} is no directory, so that nothing can be mounted there"
            raise ImageError(what, remedy="Make it one, or build from another image.")
    devices = rootfs.path.with_name("dev")
    if not devices.exists():
        _fill_dev(devices)
    binds = {devices: "dev", **{Path("/dev", name): f"dev/{name}" for name in _DEVICES}}
    if network != "none" and _place(root, "etc", cleanup):
        etc = _open(rootfs.path / "etc", cleanup)
        for name in _OF_THE_HOST:
            if os.path.exists(f"/etc/{name}") and _place(etc, name, cleanup, file=True):
                binds[Path("/etc", name)] = f"etc/{name}"
    over = [Mount(str(one), str(rootfs.path / at), None, MountFlags.BIND) for one, at in binds.items()]
    return [*over, *_after_pivot()]


def _open(path: Path, cleanup: ExitStack) -> int:
    fd = os.open(path, OPEN_DIRECTORY)
    cleanup.callback(os.close, fd)
    return fd


def _place(directory: int, name: str, cleanup: ExitStack, file: bool = False) -> bool:
    """Whether something can be mounted there: what is missing is made, and no link is followed.

    The directory is an open one, since the program may put a link in its place.
    """
    try:
        if file:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL, 0o644, dir_fd=directory))
        else:
            os.mkdir(name, 0o755, dir_fd=directory)
    except FileExistsError:
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        return stat.S_ISREG(mode) if file else stat.S_ISDIR(mode)
    cleanup.callback(_remove, os.unlink if file else os.rmdir, name, directory)
    return True


def _remove(how: Callable[..., None], name: str, directory: int) -> None:
    with suppress(OSError):  # it is no longer as it was made: that is the program's doing
        how(name, dir_fd=directory)


def _fill_dev(directory: Path) -> None:
    """A directory to become /dev: devices are bound over empty files, see MS_BIND in mount(2)."""
    directory.mkdir()
    directory.chmod(0o755)  # whatever the umask says
    for name in _DEVICES:
        (directory / name).touch()
    for name, target in _DEV_LINKS.items():
        (directory / name).symlink_to(target)
    for name in ("pts", "shm"):
        (directory / name).mkdir()


def _after_pivot() -> Iterator[Mount]:
    """What is mounted once the image is the root: no link in it can lead anywhere else then."""
    yield Mount.proc()
    yield Mount("sysfs", "/sys", "sysfs", _QUIET | MountFlags.RDONLY, after_pivot=True)
    pts = "newinstance,ptmxmode=0666,mode=0620,gid=5"
    yield Mount("devpts", "/dev/pts", "devpts", MountFlags.NOSUID | MountFlags.NOEXEC, pts, after_pivot=True)
    yield Mount("shm", "/dev/shm", "tmpfs", _QUIET, "mode=1777,size=64m", after_pivot=True)
    for path in filter(os.path.exists, _READ_ONLY):
        yield Mount(path, path, None, MountFlags.BIND | MountFlags.REC, after_pivot=True)
        again = MountFlags.BIND | MountFlags.REMOUNT | MountFlags.RDONLY
        yield Mount(None, path, None, again | _QUIET, after_pivot=True)
    for path in filter(os.path.exists, _COVERED):
        if os.path.isdir(path):
            yield Mount("tmpfs", path, "tmpfs", _QUIET | MountFlags.RDONLY, "size=0k", after_pivot=True)
        else:
            yield Mount("/dev/null", path, None, MountFlags.BIND, after_pivot=True)
