"""What a program needs before its first instruction: a loader and shared libraries. See elf(5), ld.so(8).

The kernel reads the loader's path out of the program's header and starts the loader, which finds the
libraries. So the header is read here and the loader is asked for the rest: it alone knows its search rules.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from kit.images.errors import ImageError

_IDENT = b"\x7fELF\x02" + (b"\x01" if sys.byteorder == "little" else b"\x02")  # 64 bits, this byte order
_PT_DYNAMIC, _PT_INTERP = 2, 3
_PATH_MAX = 4096
CACHE = Path("/etc/ld.so.cache")
_FOUND = re.compile(r"^\t(?:\S+ => )?(/.*) \(0x[0-9a-f]+\)$", re.MULTILINE)


class NotOnHost(ImageError, LookupError):
    """This machine lacks what an image shall hold, or it is of a kind that no image can be made from."""


class Header(NamedTuple):
    """``interpreter`` is the path of the loader that the kernel starts, None for a static program or a
    library; ``dynamic`` says whether there are libraries to ask the loader for.
    """

    interpreter: str | None
    dynamic: bool


def header(path: str | os.PathLike[str]) -> Header | None:
    """What a 64-bit ELF file says of its loader; None for any other file.

    Raises OSError as open(2) has it, :class:`NotOnHost` for a header that points nowhere.
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
            raise NotOnHost("an ELF file whose header points past its end", path) from None
    return Header(name, _PT_DYNAMIC in kinds)


def needs(path: str | os.PathLike[str]) -> list[Path]:
    """The loader and all that it maps for a program or a library, found as the loader finds it.

    Among it is /etc/ld.so.cache where something is found through that only: it lists all the machine's
    libraries. What a program opens later with dlopen(3) is not. Runs the loader (never the program), with an
    empty environment. Raises :class:`NotOnHost` where a library is missing; OSError as open(2) has it.
    """
    found = header(path)
    if found is None or not found.dynamic:
        return []
    mine = header(sys.executable)
    loader = found.interpreter or (mine and mine.interpreter)
    if not loader:
        return []  # a library, on a machine where nothing is linked to libraries
    for options, cache in ((["--inhibit-cache"], []), ([], [CACHE])):
        words = [loader, *options, "--list", os.path.abspath(path)]
        try:
            answer = subprocess.run(words, env={}, capture_output=True, timeout=60)
        except OSError as error:
            raise NotOnHost(f"its loader {loader} does not run: {error.strerror}", path) from None
        text = os.fsdecode(answer.stdout)
        if answer.returncode == 0 and " => not found" not in text:
            first = [found.interpreter] if found.interpreter else []
            return [*map(Path, dict.fromkeys([*first, *_FOUND.findall(text)])), *cache]
    said = os.fsdecode(answer.stderr).strip() or text.strip() or f"it ended with {answer.returncode}"
    remedy = "Install the library that is missing; if the program finds it here, LD_LIBRARY_PATH helped it."
    raise NotOnHost(f"its loader {loader} says: {said}", path, remedy)
