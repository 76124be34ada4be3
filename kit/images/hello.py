"""The smallest program worth an image: a static ELF file of a few hundred bytes, written byte by byte.

See elf(5) for the two headers, syscall(2) for how each architecture calls the kernel. The kernel maps the
whole file at one address and jumps to the first instruction; there is no library and no loader.
"""

from __future__ import annotations

import struct

TEXT = b"""\
Hello! This text reached you from inside a container.

An image was found: one layer that holds one file. The layer was unpacked
and became the root directory of a new process. In there the kernel
started that file, and with two system calls it wrote this and ended.
"""

_ADDRESS = 0x400000  # where the file is mapped; any address that a page may start at would do
_HEADERS = 64 + 56  # bytes: the ELF header and one program header
_MACHINES = {"amd64": 62, "arm64": 183}  # the OCI names of architectures, and EM_X86_64 and EM_AARCH64


def _amd64(length: int) -> bytes:
    return b"".join(
        (
            bytes.fromhex("b8 01000000"),  #      mov eax, 1         the call's number: write
            bytes.fromhex("bf 01000000"),  #      mov edi, 1         to standard output
            bytes.fromhex("48 8d35 10000000"),  # lea rsi, [rip+16]  from the text, 16 bytes after this
            b"\xba" + struct.pack("<I", length),  # mov edx, length  so many bytes
            bytes.fromhex("0f05"),  #             syscall
            bytes.fromhex("b8 3c000000"),  #      mov eax, 60        the call's number: exit
            bytes.fromhex("31ff"),  #             xor edi, edi       with status 0
            bytes.fromhex("0f05"),  #             syscall
        )
    )


def _arm64(length: int) -> bytes:
    return struct.pack(
        "<8I",
        0xD2800808,  #                mov x8, 64      the call's number: write
        0xD2800020,  #                mov x0, 1       to standard output
        0x100000C1,  #                adr x1, .+24    from the text, six instructions further
        0xD2800002 | length << 5,  #  mov x2, length  so many bytes
        0xD4000001,  #                svc 0
        0xD2800BA8,  #                mov x8, 93      the call's number: exit
        0xD2800000,  #                mov x0, 0       with status 0
        0xD4000001,  #                svc 0
    )


def program(architecture: str) -> bytes:
    """The executable file for an architecture by its OCI name, "amd64" or "arm64"; ValueError for others."""
    if architecture not in _MACHINES:
        raise ValueError(f"hello-world is written for {' and '.join(_MACHINES)}, not for {architecture}")
    code = (_amd64 if architecture == "amd64" else _arm64)(len(TEXT))
    size = _HEADERS + len(code) + len(TEXT)
    ident = b"\x7fELF" + bytes((2, 1, 1, 0)) + bytes(8)  # 64 bits, little-endian, version 1, System V's ABI
    elf = struct.pack(
        "<16sHHIQQQIHHHHHH",
        ident,
        2,  # ET_EXEC: an executable at a fixed address
        _MACHINES[architecture],
        1,  # the version, once more
        _ADDRESS + _HEADERS,  # the first instruction
        64,  # where in the file the program headers are
        0,  # no section headers: they are for linkers and debuggers
        0,  # no flags
        64,  # size of this header, in bytes
        56,  # size of a program header
        1,  # one of them
        *(0, 0, 0),  # and no section headers
    )
    pt_load, read_and_execute, page = 1, 4 | 1, 0x10000
    load = struct.pack("<IIQQQQQQ", pt_load, read_and_execute, 0, _ADDRESS, _ADDRESS, size, size, page)
    return elf + load + code + TEXT
