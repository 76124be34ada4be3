"""QEMU's software processor, and a Linux kernel that boots on it.

See qemu-system-x86_64(1), "-accel" and "-kernel".
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import time

from kit.linux.spawn import start
from kit.preflight import firmware
from kit.preflight.row import Finding

COMMAND = "qemu-system-x86_64"
#: Quiet, no self-tests, no guards that cost time, and an end instead of a halt when it panics.
KERNEL_OPTIONS = (
    "console=ttyS0 quiet loglevel=1 panic=-1 cryptomgr.notests mitigations=off no_timer_check audit=0"
)


def find_kernels() -> list[str]:
    """Kernel images on this machine, the likeliest first: $KIT_KERNEL, the kit's own directory, then /boot.

    Debian's "cloud" kernels are preferred: they boot faster under a software CPU, for they unpack faster.
    """
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    places = [f"{data}/kit/boot/vmlinu[xz]*", "/boot/vmlinu[xz]*"]
    chosen = os.environ.get("KIT_KERNEL")
    found = [chosen] if chosen else []
    for place in places:
        found += sorted(glob.glob(place), key=lambda path: ("cloud" in path, _version(path)), reverse=True)
    return list(dict.fromkeys(found))


def _version(path: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", path))


def qemu() -> Finding:
    """Boot a 512-byte program of our own under the software CPU, until its greeting comes out."""
    if shutil.which(COMMAND) is None:
        return Finding("no", f"there is no {COMMAND}")
    floppy = "file=/proc/self/fd/0,format=raw,if=floppy,readonly=on"
    exit_port = "isa-debug-exit,iobase=0xf4,iosize=1"
    machine = ["-machine", "pc", "-m", "16", "-device", exit_port, "-drive", floppy]
    seconds, said = _boot(machine, firmware.boot_sector(), firmware.HELLO)
    if seconds is None:
        return Finding("no", f"the boot sector never spoke; the last words were: {said or '(none)'}")
    return Finding(
        "yes",
        f"its software CPU booted a 512-byte program, which spoke on the serial line after {seconds:.1f} s",
    )


def kernel() -> Finding:
    """Boot a Linux kernel under QEMU's software CPU, until the first process, our own program, speaks."""
    images = find_kernels()
    readable = [path for path in images if os.access(path, os.R_OK)]
    if images and not readable:
        return Finding("no", f"only root may read {images[0]}", f"sudo chmod +r {images[0]}")
    if not readable:
        return Finding("no", "no kernel image in /boot or in the kit's own directory")
    image = readable[0]
    if shutil.which(COMMAND) is None:
        return Finding(
            "partly",
            f"{image} is there; without QEMU it can't be tried",
            "Install QEMU first (see the row above).",
        )
    machine = ["-machine", "q35", "-m", "256", "-initrd", "/proc/self/fd/0"]
    machine += ["-kernel", image, "-append", KERNEL_OPTIONS]
    seconds, said = _boot(machine, firmware.initramfs(), firmware.SPEAKS)
    if seconds is None:
        return Finding(
            "no", f"{image} did not reach its first process; the last words were: {said or '(none)'}"
        )
    return Finding(
        "yes",
        f"{os.path.basename(image)} reached its first process {seconds:.1f} s after QEMU's start",
    )


def _boot(machine: list[str], file: bytes, words: bytes) -> tuple[float | None, str]:
    """Start QEMU with ``file`` as its standard input, which it may open at any place.

    Returns the seconds until ``words`` came out of the serial port, or None, and the last line that did come.
    """
    fixed = "-accel tcg -nodefaults -no-user-config -display none -no-reboot -serial stdio"
    image = os.memfd_create("kit-doctor")  # in memory: nothing of it can be left on a disk
    os.write(image, file)
    console, its_end = os.pipe()
    begin = time.monotonic()
    last = b""
    with (
        start([COMMAND, *fixed.split(), *machine], stdin=image, stdout=its_end, stderr=its_end),
        open(console, "rb") as lines,
    ):
        os.close(its_end)
        for line in lines:
            if line.replace(b"\r", b"").endswith(words):
                return time.monotonic() - begin, ""
            last = line.strip(b"\0\r\n ") or last
    return None, last.decode(errors="replace")
