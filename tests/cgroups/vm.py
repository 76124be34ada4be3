"""A Linux virtual machine with nothing but cgroup v2, that runs tests of this very directory as root.

The kernel is Debian's generic one, from its package but not installed. The guest's root is this machine's
own, shared read-only over 9p under a tmpfs, so that the guest has the same programs and the same virtual
environment. QEMU's software CPU is used: it works everywhere, and is some twenty times slower.

    python -m tests.cgroups.vm                      # the tests of this directory
    python -m tests.cgroups.vm tests/linux -k spawn # anything else

See https://wiki.qemu.org/Documentation/9psetup, and the kernel's Documentation/driver-api/early-userspace/
for the initramfs.
"""

from __future__ import annotations

import io
import lzma
import os
import re
import selectors
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kit.linux.spawn import PIPE, start

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "linux-image-amd64"
MODULES = ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
           "netfs", "fscache", "9pnet", "9pnet_virtio", "9p", "overlay", "loop"]  # fmt: skip
"""What the kernel needs to find its root, and loop devices for the tests; in the order in which they are
loaded.
"""

_INIT = """#!/bin/busybox sh
export PATH=/bin
busybox mkdir -p /proc /lower /upper /new
for module in {modules}; do busybox insmod /modules/$module.ko; done
busybox mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose host /lower
busybox mount -t tmpfs upper /upper
busybox mkdir /upper/changed /upper/work
busybox mount -t overlay -o lowerdir=/lower,upperdir=/upper/changed,workdir=/upper/work overlay /new
busybox mount -t proc proc /new/proc
busybox mount -t sysfs sys /new/sys
busybox mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
busybox mount -t devtmpfs dev /new/dev
busybox mount -t tmpfs run /new/run
busybox mount -t tmpfs tmp /new/tmp
busybox ifconfig lo 127.0.0.1 up
busybox chroot /new /bin/sh -c {command}
echo "guest ended with status $?"
busybox poweroff -f
"""


class Unavailable(Exception):
    """The machine cannot run here; the message says what is missing."""


@dataclass(frozen=True)
class Outcome:
    """What the guest said: its exit status, pytest's closing line, and everything on its console."""

    status: int | None
    closing: str
    console: str


def cache() -> Path:
    """Where unpacked kernels are kept from one run to the next."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kit-tests"


def kernel() -> Path:
    """The directory with ``vmlinux`` (or ``vmlinuz``) and the modules, fetched from Debian's packages at the
    first use.

    Raises :class:`Unavailable` with the reason.
    """
    name = _kernel_package()
    place = cache() / name
    if not place.is_dir():
        cache().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache()) as directory:
            fetched = Path(directory)
            try:
                fetch = ["apt-get", "download", name]
                subprocess.run(fetch, cwd=fetched, check=True, capture_output=True, timeout=300)
            except (subprocess.SubprocessError, FileNotFoundError) as error:
                raise Unavailable(f"the kernel package {name} could not be fetched: {error}") from None
            unpacked = fetched / "kernel"
            unpacked.mkdir()
            _unpack(next(fetched.glob("*.deb")), unpacked)
            try:
                unpacked.rename(place)
            except OSError:
                if not place.is_dir():  # else another run was faster
                    raise
    return place


def _kernel_package() -> str:
    """The package that the metapackage stands for; the newest one in the cache where apt knows none."""
    try:
        ask = ["apt-cache", "depends", PACKAGE]
        shown = subprocess.run(ask, capture_output=True, text=True, timeout=60).stdout
    except FileNotFoundError:
        shown = ""
    found = re.search(r"Depends: (linux-image-\S+-amd64)", shown)
    if found:
        return found[1]
    cached = sorted(cache().glob("linux-image-*"))
    if not cached:
        raise Unavailable(f"no package {PACKAGE} is known here; it needs Debian on x86-64 (apt-get update?)")
    return cached[-1].name


def _unpack(package: Path, place: Path) -> None:
    """The kernel, uncompressed where it is XZ (it boots in a third of the time), and the modules, without
    their directories.
    """
    stream = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", str(package)], check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        for member in archive:
            name = Path(member.name).name
            if name.startswith("vmlinuz-"):
                image = _read(archive, member)
                begin = image.find(b"\xfd7zXZ\0")
                if begin < 0:
                    (place / "vmlinuz").write_bytes(image)
                else:
                    (place / "vmlinux").write_bytes(lzma.LZMADecompressor().decompress(image[begin:]))
            elif name.removesuffix(".xz").removesuffix(".ko") in MODULES and ".ko" in name:
                data = _read(archive, member)
                data = lzma.decompress(data) if name.endswith(".xz") else data
                (place / name.removesuffix(".xz")).write_bytes(data)


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None
    return file.read()


def initramfs(files: dict[str, tuple[int, bytes]]) -> bytes:
    """An archive in cpio's "newc" format: {path: (mode, content)}, directories first. See cpio(5)."""
    parts = []
    for number, (name, (mode, data)) in enumerate([*files.items(), ("TRAILER!!!", (0, b""))], 1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        parts += [header, b"\0" * (-len(header) % 4), data, b"\0" * (-len(data) % 4)]
    return b"".join(parts)


def _initramfs(kernel: Path, command: str) -> bytes:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise Unavailable("no busybox: install Debian's busybox-static")
    modules = [name for name in MODULES if (kernel / f"{name}.ko").exists()]
    init = _INIT.format(modules=" ".join(modules), command=shlex.quote(command))
    directory, program, file = 0o040755, 0o100755, 0o100644
    files: dict[str, tuple[int, bytes]] = dict.fromkeys(("bin", "dev", "modules"), (directory, b""))
    files["dev/console"] = (0o020600, b"")
    files["bin/busybox"] = (program, Path(busybox).read_bytes())
    files |= {f"modules/{name}.ko": (file, (kernel / f"{name}.ko").read_bytes()) for name in modules}
    return initramfs(files | {"init": (program, init.encode())})


def boot(command: str, seconds: float = 240, memory: int = 1024, show: bool = False) -> Outcome:
    """Boot the machine, run a shell command as root in it, switch it off. At most ``seconds``, then it is
    killed.

    Raises :class:`Unavailable` when the kernel, QEMU or busybox is missing.
    """
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        raise Unavailable("no qemu-system-x86_64: install Debian's qemu-system-x86")
    image = kernel()
    with tempfile.NamedTemporaryFile(prefix="kit-initramfs-") as ramdisk:
        ramdisk.write(_initramfs(image, command))
        ramdisk.flush()
        argv = [
            qemu, "-machine", "q35,accel=tcg", "-cpu", "Nehalem,+rdrand", "-smp", "2", "-m", str(memory),
            "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio",
            "-kernel", str(next(image.glob("vmlinu*"))), "-initrd", ramdisk.name,
            "-append", "console=ttyS0 quiet loglevel=1 panic=-1 cryptomgr.notests mitigations=off audit=0 "
            "random.trust_cpu=on no_timer_check rcupdate.rcu_expedited=1 init_on_alloc=0 apparmor=0",
            "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=root,mount_tag=host",
        ]  # fmt: skip
        with start(argv, stdout=PIPE, stderr=subprocess.DEVNULL) as machine:
            assert machine.stdout is not None
            console = _listen(machine.stdout, seconds, show)
    status = re.findall(r"guest ended with status (\d+)", console)
    line = r"^=*\s*(.*\b\d+ (?:passed|failed|error|skipped).*? in [\d.:]+s.*?)\s*=*$"
    closing = re.findall(line, console, re.MULTILINE)
    return Outcome(int(status[-1]) if status else None, closing[-1] if closing else "", console)


def _listen(pipe: IO[bytes], seconds: float, show: bool) -> str:
    """What the console says until it ends, at most ``seconds``."""
    deadline = time.monotonic() + seconds
    heard = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if selector.select(left):
                part = os.read(pipe.fileno(), 65536)
                if not part:
                    break
                heard += part
                if show:
                    sys.stdout.write(part.decode(errors="replace"))
                    sys.stdout.flush()
        else:
            heard += f"\nswitched off after {seconds} s\n".encode()
    return heard.decode(errors="replace").replace("\r", "")


def pytest(*arguments: str, seconds: float = 240, show: bool = False) -> Outcome:
    """Run pytest in the machine, in this project, with every privilege required."""
    options = ["-p", "no:cacheprovider", "--color=no", "-q", "--timeout=100"]
    words = [sys.executable, "-m", "pytest", *options, *arguments]
    command = f"cd {shlex.quote(str(ROOT))} && exec env -i {_ENVIRONMENT} {shlex.join(words)}"
    return boot(command, seconds, show=show)


_ENVIRONMENT = (
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp KIT_REQUIRE_PRIVILEGES=1 PYTHONDONTWRITEBYTECODE=1"
)

if __name__ == "__main__":
    outcome = pytest(*(sys.argv[1:] or ["tests/cgroups"]), seconds=900, show=True)
    sys.exit(1 if outcome.status is None else outcome.status)
