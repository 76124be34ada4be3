"""Does each controller really limit? A group is made, limited, and watched while something runs in it.

See cgroups(7).
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable

from kit.cgroups import Cgroup, disks, hierarchy
from kit.linux.spawn import PIPE
from kit.preflight.row import Finding

PYTHON = [sys.executable, "-I", "-S", "-c"]
BUSY = ["/bin/sh", "-c", "while :; do :; done"]
MIB = 1 << 20


def _until(condition: Callable[[], object], seconds: float = 2.0) -> bool:
    """Look again and again until the condition holds; False when it does not within the time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def tree() -> Finding:
    """Make a group and put a process into it."""
    with Cgroup("doctor-tree") as group, group.start(["/bin/sleep", "60"]) as process:
        if process.pid not in group.pids():
            return Finding("no", "a group could be made, but the process did not appear in it")
    mode = hierarchy.mode()
    told = {"v2": "version 2", "v1": "version 1", "hybrid": "version 1 controllers beside a version 2 tree"}[
        mode
    ]
    return Finding("yes", f"{told}; a group could be made, and a process put into it")


def cpu() -> Finding:
    """A busy loop under a quota of 10 ms in every 100 ms must be throttled."""
    with Cgroup("doctor-cpu", controllers=("cpu",)) as group:
        group["cpu.max"] = (10_000, 100_000)
        with group.start(BUSY):
            throttled = _until(lambda: group["cpu.stat"]["nr_throttled"] >= 2)
            count = group["cpu.stat"]["nr_throttled"]
    told = f"a busy loop that may use 10 of every 100 ms was throttled {count} times"
    return Finding("yes", told) if throttled else Finding("no", told)


def memory() -> Finding:
    """A process that fills 64 MiB in a group that may use 24 must be killed by the kernel."""
    with Cgroup("doctor-memory", controllers=("memory",)) as group:
        group["memory.max"] = 24 * MIB
        result = group.run([*PYTHON, "b'x' * (64 << 20)"])
        kills = group["memory.events"].get("oom_kill", 0)
    if result.returncode == -9:
        return Finding(
            "yes", f"a process that filled 64 MiB in a group of 24 MiB was killed (oom_kill {kills})"
        )
    return Finding(
        "no",
        f"a process filled 64 MiB in a group of 24 MiB and ended with status {result.returncode}",
        "If it went to swap: sudo swapoff -a",
    )


def pids() -> Finding:
    """A process that forks in a group of at most 3 must be refused with EAGAIN."""
    forks = """
import errno, os, signal
children = []
try:
    while len(children) < 10:
        pid = os.fork()
        if pid == 0:
            signal.pause()
        children.append(pid)
except OSError as error:
    print(len(children), errno.errorcode[error.errno])
"""
    with Cgroup("doctor-pids", controllers=("pids",)) as group:
        group["pids.max"] = 3
        with group.start([*PYTHON, forks], stdout=PIPE) as process:
            assert process.stdout is not None
            children, _, name = process.stdout.readline().decode().strip().partition(" ")
    if name == "EAGAIN":
        return Finding(
            "yes",
            f"in a group of at most 3 processes, fork was refused with EAGAIN after {children} children",
        )
    return Finding("no", "in a group of at most 3 processes, ten could be made")


def io() -> Finding:
    """Write 768 KiB past the page cache to a real disk under 1 MiB per second: it must take its time."""
    place, disk = _place_on_a_disk()
    if disk is None:
        return Finding(
            "no",
            "no directory at hand lies directly on a block device",
            "Name one that does: TMPDIR=/a/directory/on/a/disk kit doctor",
        )
    # A file without a name: it is gone when the last descriptor closes, whatever happens. See open(2),
    # O_TMPFILE and O_DIRECT.
    file = os.open(place, os.O_TMPFILE | os.O_WRONLY | os.O_DIRECT, 0o600)
    writes = "import mmap, os; b = mmap.mmap(-1, 128 << 10); [os.write(1, b) for _ in range(6)]"
    with Cgroup("doctor-io", controllers=("io",)) as group:
        group["io.max"] = {disk.number: {"wbps": MIB}}
        begin = time.monotonic()
        with group.start([*PYTHON, writes], stdout=file) as process:
            status = process.wait(4.0)
        seconds = time.monotonic() - begin
        counted = group["io.stat"].get(disk.number, {}).get("wbytes", 0)
    if status:
        return Finding("no", f"a write to {disk} ended with status {status}")
    told = (
        f"768 KiB written to {disk} under a limit of 1 MiB/s took {seconds:.2f} s; "
        f"the group's count is {counted >> 10} KiB"
    )
    # Without the limit it takes a few milliseconds. The first slice of the kernel's clockwork may pass
    # unhindered.
    return Finding("yes" if seconds > 0.3 and counted >= 768 << 10 else "no", told)


def _place_on_a_disk() -> tuple[str, disks.Disk | None]:
    for place in (tempfile.gettempdir(), "/var/tmp", os.path.expanduser("~"), os.getcwd()):
        disk = disks.below(place) if os.access(place, os.W_OK) else None
        if disk is not None:
            return place, disk
    return "", None


def cpuset() -> Finding:
    """A process in a group with one CPU must find that its affinity mask holds this one only."""
    allowed = sorted(os.sched_getaffinity(0))
    last = allowed[-1]
    with Cgroup("doctor-cpuset", controllers=("cpuset",)) as group:
        group["cpuset.cpus"] = str(last)
        result = group.run([*PYTHON, "import os; print(*sorted(os.sched_getaffinity(0)))"])
    seen = result.stdout.split()
    told = f"of {len(allowed)} CPUs a process in a group with CPU {last} saw {', '.join(seen) or 'nothing'}"
    return Finding("yes" if seen == [str(last)] else "no", told)


def freezer() -> Finding:
    """A busy loop must stand still while its group is frozen, and run on when it is thawed."""
    with Cgroup("doctor-freezer") as group, group.start(BUSY) as process:

        def ticks() -> int:
            with open(f"/proc/{process.pid}/stat") as file:
                user, system = file.read().rpartition(")")[2].split()[11:13]
            return int(user) + int(system)

        running = _until(lambda: ticks() > 0)
        group.freeze()
        before = ticks()
        time.sleep(0.1)  # ten ticks of the clock: what would a busy loop use meanwhile?
        still = ticks() == before
        group.thaw()
        resumed = _until(lambda: ticks() > before)
    if running and still and resumed:
        return Finding(
            "yes", "a busy loop used no CPU time while its group was frozen, and ran on when thawed"
        )
    return Finding(
        "no",
        f"a busy loop {'stood still' if still else 'went on'} while frozen and "
        f"{'ran on' if resumed else 'did not run on'} when thawed",
    )


def pressure() -> Finding:
    """A group must tell how long its processes waited for a CPU."""
    with Cgroup("doctor-pressure") as group:
        some = group["cpu.pressure"]["some"]
    return Finding("yes", f"a group tells its own: some total={some['total']} µs so far")
