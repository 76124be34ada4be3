"""The smallest programs that prove a machine: a boot sector and a first process, written by hand for x86.

See elf(5), and https://docs.kernel.org/driver-api/early-userspace/buffer-format.html for the archive.
"""

from __future__ import annotations

import stat
import struct

HELLO = b"kit: hello from a boot sector\n"
SPEAKS = b"kit: the kernel speaks\n"


def boot_sector() -> bytes:
    """512 bytes that the BIOS loads to 0x7C00: write HELLO to the serial port, then make QEMU exit."""
    code = bytes.fromhex(
        "fa 31c0 8ed8 fc"  # cli; ax = ds = 0; count upwards
        "be 1b7c ba f803"  # si = HELLO (27 bytes on); dx = 0x3f8, the serial port
        "ac 84c0 7403"  # next: al = [si++]; if zero: done
        "ee ebf8"  # send it; next
        "b010 e6f4"  # done: out 0xf4, 16: QEMU exits with status 2 * 16 + 1
        "f4 ebfd"  # (anywhere else: halt for good)
    )
    return (code + HELLO + b"\0").ljust(510, b"\0") + b"\x55\xaa"


def init() -> bytes:
    """A static x86-64 program: write SPEAKS to standard output, then reboot(2), for QEMU the end."""

    def register(move: bytes, value: int) -> bytes:
        return move + struct.pack("<I", value)

    eax, edi, esi, edx, syscall = b"\xb8", b"\xbf", b"\xbe", b"\xba", b"\x0f\x05"
    rest = register(edx, len(SPEAKS)) + syscall  # write(1, SPEAKS, its length)
    rest += (
        register(eax, 169)
        + register(edi, 0xFEE1DEAD)
        + register(esi, 672274793)
        + register(edx, 0x01234567)
        + syscall
    )
    rest += b"\xeb\xfe"  # not allowed to reboot: stay here
    address_of_speaks = b"\x48\x8d\x35" + struct.pack("<i", len(rest))  # lea rsi, [rip + len(rest)]
    code = register(eax, 1) + register(edi, 1) + address_of_speaks + rest
    base, headers = 0x400000, 64 + 56
    size = headers + len(code) + len(SPEAKS)
    elf = b"\x7fELF" + bytes([2, 1, 1]).ljust(12, b"\0")
    elf += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    elf += struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return elf + code + SPEAKS


def initramfs() -> bytes:
    """An archive with /init and /dev/console, as a kernel unpacks it into its first file system."""
    return (
        _entry("dev", stat.S_IFDIR | 0o755)
        + _entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
        + _entry("init", stat.S_IFREG | 0o755, init())
        + _entry("TRAILER!!!", 0)
    )


def _entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    # ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)
