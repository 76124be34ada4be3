"""Users and groups by the names in an image's own /etc/passwd and /etc/group. See passwd(5), group(5)."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kit.images.build.errors import BadDockerfile
from kit.linux.errors import KernelError
from kit.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

LARGEST = 1 << 20  # bytes of either file that are read
_HIGHEST = (1 << 31) - 1  # Docker's limit of a number


@dataclass(frozen=True)
class User:
    """Who a program runs as; ``groups`` are the supplementary ones, ``home`` is what HOME becomes."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


def find(root: Path, text: str, where: str = "") -> User:
    """Who ``USER text`` is in the image whose tree is ``root``: a name or number, and ":" with a group's.

    A number need not be in the files; its group is then 0. Without a group, the user's own counts, and those
    groups that list the name. Raises BadDockerfile for a name that the files do not have.
    """
    name, colon, group = text.partition(":")
    name = name or "0"
    uid, gid, home = _number(name), 0, "/"
    groups: tuple[int, ...] = ()
    for known, _, number, primary, _, directory, *_ in _lines(root, "passwd", 7):
        if known == name or (uid is not None and number == str(uid)):
            if not (number.isdecimal() and primary.isdecimal()):
                raise BadDockerfile(f"no numbers for {known!r:.60} in the image's /etc/passwd", where)
            name, uid, gid, home = known, int(number), int(primary), directory or "/"
            groups = tuple(
                int(number)
                for _, _, number, members, *_ in _lines(root, "group", 4)
                if name in members.split(",") and number.isdecimal() and number != primary
            )
            break
    if uid is None:
        raise _unknown("user", name, "passwd", where)
    return User(uid, _group(root, group, where), (), home) if colon else User(uid, gid, groups, home)


def owner(root: Path, text: str, where: str = "") -> tuple[int, int]:
    """(uid, gid) of ``--chown=text``. A number alone is the group's as well. Raises BadDockerfile."""
    name, colon, group = text.partition(":")
    if (number := _number(name)) is not None:
        return number, _group(root, group, where) if colon else number
    found = find(root, text, where)
    return found.uid, found.gid


def _group(root: Path, name: str, where: str) -> int:
    if (number := _number(name)) is not None:
        return number
    for known, _, gid, *_ in _lines(root, "group", 3):
        if known == name and gid.isdecimal():
            return int(gid)
    raise _unknown("group", name, "group", where)


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,10}", text) and int(text) <= _HIGHEST else None


def _unknown(kind: str, name: str, file: str, where: str) -> BadDockerfile:
    return BadDockerfile(
        f"the image's /etc/{file} has no {kind} {name!r:.60}", where, "Add it with RUN, or write its number."
    )


def _lines(root: Path, name: str, fields: int) -> Iterator[list[str]]:
    """The lines of a file in the image's /etc with at least so many fields; none where it is missing.

    A link on the way leads where it would in a container, never out of ``root``.
    """
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags, resolve = os.O_RDONLY | os.O_NONBLOCK, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
        file = openat2(directory, f"etc/{name}", flags, resolve=resolve)
        try:
            text = os.read(file, LARGEST).decode("utf-8", "replace")
        finally:
            os.close(file)
    except KernelError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise
        return
    finally:
        os.close(directory)
    for line in text.split("\n"):
        if len(parts := line.strip().split(":")) >= fields:
            yield parts
