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
from contextlib import ExitStack, contextmanager, suppress
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

    ``network`` is "none" (only ``lo``) or "host" (the machine's own). Standard input is empty. Raises
    :class:`KernelError`, naming the step, where it can't be started (no such program, no such directory,
    EPERM); TimeoutError after ``timeout`` seconds; :class:`ImageError` where the image has no room for /proc,
    /sys or /dev. Whatever happens, nothing of it runs on and nothing it needed stays.
    """
    with ExitStack() as cleanup:
        mounts = cleanup.enter_context(_mount_points(rootfs, network))
        group, unlimited = _group()
        if group is not None:
            cleanup.enter_context(group)
        read, write = os.pipe()  # one for both, so that their lines keep their order
        cleanup.callback(os.close, read)
        with open(write, "wb") as theirs:
            process = start(
                argv,
                unshare=["mount", "pid", "uts", "ipc", "cgroup", *(["network"] if network == "none" else [])],
                hostname=HOST_NAME,
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
        killed = False
        if group is not None and "memory" in group.controllers:
            killed = group["memory.events"]["oom_kill"] > 0
        return Ended(status, killed, unlimited)


def _pass_on(read: int, output: Callable[[bytes], None], deadline: float | None, argv: Sequence[str]) -> None:
    """Hand on what arrives until nobody holds the pipe's other end any more: then all have ended."""
    with selectors.DefaultSelector() as selector:
        selector.register(read, selectors.EVENT_READ)
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if (left is not None and left <= 0) or not selector.select(left):
                raise TimeoutError(f"{' '.join(argv)} was still running at its time limit, and was killed")
            data = os.read(read, 65536)
            if not data:
                return
            output(data)


def _group() -> tuple[Cgroup | None, str]:
    """A control group with limits, of the controllers that the machine has; or None and why."""
    from kit.cgroups import Cgroup, CgroupError, hierarchy

    try:
        there = [name for name in ("memory", "pids") if name in hierarchy.available()]
        group = Cgroup(f"build-{secrets.token_hex(3)}", controllers=there)
    except CgroupError as error:
        return None, str(error)
    try:
        if "pids" in there:
            group["pids.max"] = PROCESSES
        if "memory" in there:
            group["memory.max"] = MEMORY
    except BaseException:
        group.close()
        raise
    return group, "" if len(there) == 2 else "the machine does not offer the controllers memory and pids"


@contextmanager
def _mount_points(rootfs: Rootfs, network: str) -> Iterator[list[Mount]]:
    """What to mount over the image. A place that it lacks for that is there while the block runs."""
    made: list[tuple[int, str]] = []  # by open directories: the program may put links in the way
    device_files = rootfs.path.with_name("dev")
    with ExitStack() as opened:
        root = _open(rootfs.path, opened)
        try:
            for name in ("proc", "sys", "dev"):
                _directory(root, name, made)
            _fill_dev(device_files)
            mounts = [_bind(device_files, rootfs.path / "dev")]
            mounts += [_bind(Path("/dev", name), rootfs.path / "dev" / name) for name in _DEVICES]
            if network == "host":
                _directory(root, "etc", made)
                etc = _open(rootfs.path / "etc", opened)
                files = [
                    name for name in _OF_THE_HOST if Path("/etc", name).exists() and _file(etc, name, made)
                ]
                mounts += [_bind(Path("/etc", name), rootfs.path / "etc" / name) for name in files]
            yield [*mounts, *_after_pivot()]
        finally:
            for directory, name in reversed(made):
                with suppress(OSError):  # it is no longer as it was made: that is the program's doing
                    _remove_empty(directory, name)


def _open(path: Path, opened: ExitStack) -> int:
    fd = os.open(path, OPEN_DIRECTORY)
    opened.callback(os.close, fd)
    return fd


def _bind(source: Path, target: Path) -> Mount:
    return Mount(str(source), str(target), None, MountFlags.BIND)


def _directory(root: int, name: str, made: list[tuple[int, str]]) -> None:
    """See that a directory is there; never through a link, which could lead out of the image."""
    try:
        os.mkdir(name, 0o755, dir_fd=root)
        made.append((root, name))
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=root, follow_symlinks=False).st_mode):
            what = f"the image's /{name} is no directory, so that nothing can be mounted there"
            raise ImageError(what, remedy="Make it one, or build from another image.") from None


def _file(directory: int, name: str, made: list[tuple[int, str]]) -> bool:
    """See that a file is there; False where something else is, which stays as it is."""
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL, 0o644, dir_fd=directory))
        made.append((directory, name))
    except FileExistsError:
        return stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    return True


def _remove_empty(directory: int, name: str) -> None:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        os.rmdir(name, dir_fd=directory)
    elif status.st_size == 0:
        os.unlink(name, dir_fd=directory)


def _fill_dev(directory: Path) -> None:
    """A directory to become /dev: devices are bound over empty files, see MS_BIND in mount(2)."""
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)  # whatever the umask says
    for name in _DEVICES:
        (directory / name).touch()
    for name, target in _DEV_LINKS.items():
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(target)
    for name in ("pts", "shm"):
        (directory / name).mkdir(exist_ok=True)


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
