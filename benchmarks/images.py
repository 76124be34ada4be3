"""Building, unpacking, packing and mounting images: the kit beside buildah, umoci and podman. Needs root.

    sudo .venv/bin/python -m benchmarks.images [--json] [--runs N]

All of them work on the same Dockerfile, the same base image and the same layers, on the same file system. The
kit is called from Python, as a notebook calls it, and once as the program `kit`; the others are programs.
buildah runs each RUN in a chroot, and the kit in six namespaces and a control group of their own. The kit
brings what it packs and unpacks to the disk before it says that it is there; the others leave that to the
kernel. The peak of memory is that of a process that does nothing else (ru_maxrss, see getrusage(2)).
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.namespaces import program
from benchmarks.report import Measurement, main, measure, version
from kit import owner
from kit.images import Image, Rootfs, Store, mount, prune, save, seed
from kit.images.build import build
from kit.images.descriptor import Descriptor
from kit.images.entry import Entry
from kit.images.image import write_image
from kit.images.layer import pack
from kit.images.snapshots import Snapshots
from kit.linux.clone import CLONE_NEWNS, unshare
from kit.linux.mount import MountFlags
from kit.linux.mount import mount as mount_filesystem
from kit.linux.proc import mountinfo

STEPS = """
FROM busybox
WORKDIR /app
COPY lib lib/
RUN for n in $(seq 50); do echo $n > lib/made$n; done
COPY app.sh ./
RUN sh app.sh > answer
CMD ["cat", "answer"]
"""
FILES, FILE_SIZE = 5_000, 20_000  # a layer of 100 MB
LARGE = 1_000_000_000  # bytes

# The peers' own settings: no state outside of the directory, and no limit that root may not set here.
CONTAINERS = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
tmp_dir = "{0}/libpod"
[network]
network_config_dir = "{0}/network"
"""
STORAGE = '[storage]\ndriver = "overlay"\ngraphroot = "{0}/root"\nrunroot = "{0}/run"\n'


def settle(directory: Path) -> None:
    """This program in a mount namespace of its own, in which the mounts that peers leave end with it."""
    unshare(CLONE_NEWNS)
    mount_filesystem(None, "/", None, MountFlags.REC | MountFlags.PRIVATE)
    caches = Path("/var/lib/containers")
    if caches.is_dir():
        mount_filesystem("benchmark", str(caches), "tmpfs")
    for name, text in (("CONTAINERS_CONF", CONTAINERS), ("CONTAINERS_STORAGE_CONF", STORAGE)):
        file = directory / f"{name}.toml"
        file.write_text(text.format(directory))
        os.environ[name] = str(file)
    os.environ["TMPDIR"] = str(directory)


def needs(*argv: str | Path) -> None:
    """Run a peer's program that is not measured, where it is installed."""
    if run := program(*map(str, argv)):
        run()


# Building


class Place:
    """The Dockerfile and what it copies, for each of the two builders."""

    def __init__(self, directory: Path, store: Store) -> None:
        self.store, self.ours, self.theirs = store, directory / "ours", directory / "theirs"
        for context in (self.ours, self.theirs):
            (context / "lib").mkdir(parents=True)
            for number in range(50):
                (context / "lib" / f"module{number}").write_text(f"# module {number}\n" * 50)
            (context / "Dockerfile").write_text(STEPS)
        self.change()
        with (directory / "busybox.tar").open("wb") as out:
            save(store, ["busybox"], out)
        needs("buildah", "pull", "-q", f"docker-archive:{directory}/busybox.tar")

    def change(self) -> None:
        """A new text in the file that is copied late."""
        for context in (self.ours, self.theirs):
            (context / "app.sh").write_text(f"echo {time.time_ns()}\n")

    def forget(self) -> None:
        """Remove what no image needs any more, as it would slow down who looks through all there is."""
        prune(self.store)
        needs("buildah", "rmi", "--prune", "--force")

    def kit(self, no_cache: bool = False) -> Callable[[], object]:
        return lambda: build(self.store, self.ours, tags=["app"], no_cache=no_cache)

    def buildah(self, *options: str) -> Callable[[], None] | None:
        how = ("--layers", "--isolation", "chroot", "--pull-never", "-q", "-t", "app")
        return program("buildah", "bud", *how, *options, str(self.theirs))

    def changed(self, call: Callable[[], object] | None) -> Callable[[], object] | None:
        return (lambda: (self.change(), call())) if call else None


def building(place: Place, runs: int) -> list[Measurement]:
    kit, buildah = place.kit(), place.buildah()
    cold = {"kit": place.kit(no_cache=True), "buildah": place.buildah("--no-cache")}
    late = {"kit": place.changed(kit), "buildah": place.changed(buildah)}
    os.environ["KIT_IMAGES"] = str(place.store.directory)
    command = program(sys.executable, "-m", "kit", "build", "-t", "app", str(place.ours))
    times = {
        "nothing cached": measure(cold, runs, 1, place.forget),
        "one late change": measure(late, runs, 1, place.forget),
        "all cached": measure({"kit": kit, "buildah": buildah}, runs),
        "all cached, both as programs": measure({"kit": command, "buildah": buildah}, runs),
    }
    return [Measurement.of(f"build 6 steps, {how}", "ms", one, scale=1000) for how, one in times.items()]


def mounting(place: Place, runs: int) -> list[Measurement]:
    """The first builds here fill the caches."""
    image = build(place.store, place.ours, tags=["app"]).image
    if buildah := place.buildah():
        buildah()
    mounted: list[Rootfs] = []

    def unmount() -> None:
        while mounted:
            mounted.pop().close()
        needs("podman", "image", "unmount", "--all")

    calls = {
        "kit": lambda: mounted.append(mount(place.store, image)),
        "podman image mount": program("podman", "image", "mount", "localhost/app") if buildah else None,
    }
    times = measure(calls, runs, after=unmount)
    return [Measurement.of(f"mount an unpacked image of {len(image.layers)} layers", "ms", times, scale=1000)]


# Packing and unpacking


def put(store: Store, name: str, entries: list[Entry] | Path) -> Image:
    """An image of one layer. Its name is one that umoci takes."""
    with store.writing():
        with store.writer() as out:
            layer = pack(entries, out)
            out.commit()
        descriptor = Descriptor(layer.media_type, layer.digest, layer.size)
        image = write_image(store, [(descriptor, layer.diff_id)], {})
        store.tag(name, image)
    return Image.of(store, image)


def many_files() -> list[Entry]:
    """Files of text that gzip makes half as large, a hundred in each directory."""
    pick = random.Random(0)
    entries = [Entry(f"d{number}", "directory", 0o755) for number in range(FILES // 100)]
    for number in range(FILES):
        data = pick.randbytes(FILE_SIZE // 2).hex().encode()
        entries.append(Entry(f"d{number // 100}/f{number}", "file", 0o644, mtime=1, data=data))
    return entries


def unpacking(store: Store, directory: Path, runs: int) -> list[Measurement]:
    image = put(store, "many", many_files())
    snapshots, bundle = Snapshots(store), directory / "bundle"
    snapshot = snapshots.path(image.chain_ids()[0]).parent

    def put_away() -> None:
        """Out of the way, and not removed: see measurements()."""
        for made in (snapshot, bundle):
            if made.exists():
                made.rename(directory / f"done-{time.time_ns()}")

    there = f"{store.directory}:many"
    unpack = measure(
        {
            "kit": lambda: snapshots.hold(image).close(),
            "umoci unpack": program("umoci", "unpack", "--image", there, str(bundle)),
            "umoci raw unpack": program("umoci", "raw", "unpack", "--image", there, str(bundle)),
        },
        runs,
        1,
        put_away,
    )
    tree, layout = snapshots.hold(image).lower_dirs[0], directory / "layout"
    needs("umoci", "init", "--layout", layout)
    needs("umoci", "new", "--image", f"{layout}:empty")
    insert = ("umoci", "insert", "--image", f"{layout}:empty", "--tag", "full", str(tree), "/tree")

    def packed() -> None:
        with store.writer() as out:
            pack(tree, out)
            out.commit()

    packing = measure(
        {
            "kit": packed,
            "umoci insert": program(*insert),
            "tar | gzip": program("sh", "-c", f"tar -C {tree} -c . | gzip > {directory}/layer.tar.gz"),
        },
        runs,
        1,
    )
    what = f"a layer of {FILES} files, {FILES * FILE_SIZE // 10**6} MB"
    return [
        Measurement.of(f"unpack {what}", "ms", unpack, scale=1000),
        Measurement.of(f"pack {what}", "ms", packing, scale=1000),
    ]


# Memory

_UNPACK = """
import sys
from kit.images import Image, Store
from kit.images.snapshots import Snapshots
store = Store(sys.argv[1])
Snapshots(store).hold(Image.of(store, store.resolve("large"))).close()
"""
_PACK = """
import sys
from pathlib import Path
from kit.images import Store
from kit.images.layer import pack
with Store(sys.argv[1]).writer() as out:
    pack(Path(sys.argv[2]), out)
"""
# A process's peak counts from its fork, when it is as large as its parent; so the parent is a small one.
_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak(*command: str) -> list[float]:
    """Kibibytes of memory that the command had at most; nothing where it isn't installed."""
    if shutil.which(command[0]) is None:
        return []
    small = [sys.executable, "-S", "-E", "-c", _PEAK, *command]
    return [float(subprocess.run(small, check=True, capture_output=True, text=True, timeout=200).stdout)]


def memory(store: Store, directory: Path) -> list[Measurement]:
    tree, layout = directory / "tree", directory / "layout"
    tree.mkdir()
    text = random.Random(1).randbytes(1000).hex().encode() * 500  # 1 MB that packs quickly
    for number in range(4):
        with (tree / f"f{number}").open("wb") as file:
            for _ in range(LARGE // len(text) // 4):
                file.write(text)
    packing = {
        "kit": peak(sys.executable, "-c", _PACK, str(store.directory), str(tree)),
        "umoci insert": peak(
            "umoci", "insert", "--image", f"{layout}:empty", "--tag", "large", str(tree), "/tree"
        ),
    }
    put(store, "large", tree)
    shutil.rmtree(tree)
    unpacking = {
        "kit": peak(sys.executable, "-c", _UNPACK, str(store.directory)),
        "umoci unpack": peak(
            "umoci", "unpack", "--image", f"{store.directory}:large", str(directory / "large")
        ),
    }
    return [
        Measurement.of("peak of memory, packing 1 GB", "MB", packing, scale=1024 / 1e6),
        Measurement.of("peak of memory, unpacking 1 GB", "MB", unpacking, scale=1024 / 1e6),
    ]


def measurements(runs: int) -> list[Measurement]:
    """Times in milliseconds, memory in MB (10^6 bytes)."""
    with owner.directory("images") as directory:
        settle(directory)
        store = Store(directory / "store")
        seed(store, ["busybox"])
        place = Place(directory, store)
        return [  # first what makes files: ext4 without a journal is slow at it where some were just removed
            *unpacking(store, directory, max(3, runs // 3)),
            *mounting(place, 5 * runs),
            *building(place, runs),
            *memory(store, directory),
        ]


def machine() -> dict[str, str]:
    """Where it was measured: processors, and the file system that the images lie on."""
    place = tempfile.gettempdir()
    mounts = [one for one in mountinfo() if os.path.commonpath([one.mount_point, place]) == one.mount_point]
    kind = max(mounts, key=lambda one: len(one.mount_point)).fstype
    return {"processors": str(len(os.sched_getaffinity(0))), "images lie on": f"{kind} ({place})"}


if __name__ == "__main__":
    peers = {name: version(name) for name in ("buildah", "podman", "umoci")}
    docker = "no dockerd here" if shutil.which("dockerd") is None else "a daemon of its own is not started"
    main(measurements, versions={**machine(), **peers, "docker build": f"not measured: {docker}"}, runs=10)
