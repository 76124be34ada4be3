"""What an executable file says to the kernel: which loader is to start it. See elf(5), execve(2)."""

from __future__ import annotations

import os
import struct
import sys
from typing import NamedTuple

_IDENT = b"\x7fELF\x02" + (b"\x01" if sys.byteorder == "little" else b"\x02")  # 64 bits, this byte order
_PT_DYNAMIC, _PT_INTERP = 2, 3
_PATH_MAX = 4096


class Header(NamedTuple):
    """``interpreter`` is the path of the loader that the kernel starts, None for a static program or a
    library; ``dynamic`` says whether there are libraries to ask the loader for.
    """

    interpreter: str | None
    dynamic: bool


def header(path: str | os.PathLike[str]) -> Header | None:
    """What a 64-bit ELF file says of its loader; None for any other file.

    Raises OSError as open(2) has it, ValueError for a header that points nowhere.
    """
    with open(path, "rb") as file:
        head = file.read(64)
        if len(head) < 64 or head[:6] != _IDENT:
            return None
        (offset,), (size, count) = struct.unpack_from("=Q", head, 32), struct.unpack_from("=HH", head, 54)
        try:
            file.seek(offset)
            table = file.read(size * count)
            kinds = {struct.unpack_from("=I", table, size * n)[0]: size * n for n in range(count)}
            name = None
            if _PT_INTERP in kinds:
                where, length = struct.unpack_from("=Q16xQ", table, kinds[_PT_INTERP] + 8)
                file.seek(where)
                name = os.fsdecode(file.read(min(length, _PATH_MAX)).rstrip(b"\0"))
        except (struct.error, OSError, ValueError, OverflowError):
            raise ValueError("an ELF file whose header points past its end") from None
    return Header(name, _PT_DYNAMIC in kinds)
