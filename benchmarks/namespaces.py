"""Starting and ending a process in new namespaces: the kit beside unshare, bwrap and runc.

`python -m benchmarks.namespaces`. Every one of them starts the same program, a static busybox that does
nothing, as PID 1 of six new namespaces (mount, uts, ipc, pid, network, cgroup) with a /proc of its own, and
waits for its end. The kit is called from Python, as a notebook calls it; the others are programs, started
with the cheapest call that Python has for that.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report import Measurement, main, measure, version
from kit import owner
from kit.linux.spawn import DEVNULL
from kit.namespaces import Root, start
from kit.namespaces.root import static_busybox

NEW = ("mount", "uts", "ipc", "pid", "network", "cgroup")
TRUE = [static_busybox(), "true"]
BWRAP = [
    "bwrap",
    "--unshare-uts",
    "--unshare-ipc",
    "--unshare-pid",
    "--unshare-net",
    "--unshare-cgroup",
    "--as-pid-1",
]


def kit(argv: list[str], **how: object) -> Callable[[], None]:
    """The kit's own way, to be called again and again."""

    def call() -> None:
        with start(argv, NEW, proc=True, stdout=DEVNULL, stderr=DEVNULL, **how) as process:
            if process.wait(30):
                raise RuntimeError(f"{process} failed")

    return call


def program(*argv: str) -> Callable[[], None] | None:
    """A peer: a program to be run to its end; None when it is not installed."""
    found = shutil.which(argv[0])
    if found is None:
        return None
    command = [found, *argv[1:]]

    def call() -> None:
        # close_fds=False: posix_spawn instead of fork
        done = subprocess.run(
            command, stdin=DEVNULL, stdout=DEVNULL, stderr=subprocess.PIPE, close_fds=False, timeout=30
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.decode().strip()}")

    return call


def runc_config(root: Path, name: str) -> Mapping[str, object]:
    """What runc needs to know to do the same; see the OCI runtime specification."""
    return {
        "ociVersion": "1.0.2",
        "process": {
            "cwd": "/",
            "args": ["/bin/busybox", "true"],
            "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0},
        },
        "root": {"path": str(root)},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": kind} for kind in NEW], "cgroupsPath": f"/{name}"},
    }


@contextmanager
def runc(root: Path) -> Iterator[Callable[[], None] | None]:
    """runc with a bundle and a state directory of its own, both removed at the end."""
    with owner.directory("runc") as bundle:
        name = bundle.name
        (bundle / "config.json").write_text(json.dumps(runc_config(root, name)))
        runc_root = ["--root", str(bundle / "state")]
        yield program("runc", *runc_root, "run", "--bundle", str(bundle), name)
        if shutil.which("runc"):  # only an interrupted run has left something to delete
            subprocess.run(["runc", *runc_root, "delete", "--force", name], capture_output=True, timeout=30)


def measurements(runs: int) -> list[Measurement]:
    """Both quantities, in milliseconds."""
    with Root() as root, runc(root.path) as runc_run:
        same_root = measure(
            {
                "kit": kit(TRUE),
                "unshare": program(
                    "unshare", "-m", "-u", "-i", "-p", "-n", "-C", "--fork", "--mount-proc", *TRUE
                ),
                "bwrap": program(*BWRAP, "--bind", "/", "/", "--proc", "/proc", *TRUE),
                "runc run": runc_run,
            },
            runs,
        )
        own_root = measure(
            {
                "kit": kit(["/bin/busybox", "true"], root=root),
                "bwrap": program(
                    *BWRAP, "--bind", str(root.path), "/", "--proc", "/proc", "/bin/busybox", "true"
                ),
                "runc run": runc_run,
            },
            runs,
        )
    what = "start and end a process in six new namespaces"
    return [
        Measurement.of(what, "ms", same_root, scale=1000),
        Measurement.of(f"{what}, with a root of its own", "ms", own_root, scale=1000),
    ]


if __name__ == "__main__":
    main(measurements, versions={name: version(name) for name in ("unshare", "bwrap", "runc")})
