"""What a program needs before its first instruction: a loader and shared libraries. See elf(5), ld.so(8).

The kernel reads the loader's path out of the program's header and starts the loader, which finds the
libraries. So the header is read here and the loader is asked for the rest: it alone knows its search rules.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from kit.images.errors import ImageError
from kit.linux.elf import Header
from kit.linux.elf import header as read_header

CACHE = Path("/etc/ld.so.cache")
_FOUND = re.compile(r"^\t(?:\S+ => )?(/.*) \(0x[0-9a-f]+\)$", re.MULTILINE)


class NotOnHost(ImageError, LookupError):
    """This machine lacks what an image shall hold, or it is of a kind that no image can be made from."""


def header(path: str | os.PathLike[str]) -> Header | None:
    """As :func:`kit.linux.elf.header`; raises :class:`NotOnHost` for a header that points nowhere."""
    try:
        return read_header(path)
    except ValueError as error:
        raise NotOnHost(str(error), path) from None


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
