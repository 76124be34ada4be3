"""Users and groups by the names in an image's own /etc/passwd and /etc/group. See passwd(5), group(5)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kit.images.build.errors import BadDockerfile
from kit.images.build.tree import Tree

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
    user = _user(root, name or "0", where)
    return User(user.uid, _group(root, group, where), (), user.home) if colon else user


def owner(root: Path, text: str, where: str = "") -> tuple[int, int]:
    """(uid, gid) of ``--chown=text``. A number alone is the group's as well. Raises BadDockerfile."""
    name, colon, group = text.partition(":")
    if (number := _number(name)) is not None:
        return number, _group(root, group, where) if colon else number
    found = find(root, text, where)
    return found.uid, found.gid


def _user(root: Path, name: str, where: str) -> User:
    number = _number(name)
    for known, _, uid, gid, _, home, *_ in _lines(root, "passwd", 7):
        if gid.isdecimal() and (known == name or int(uid) == number):
            groups = [line for line in _lines(root, "group", 4) if known in line[3].split(",")]
            others = tuple(int(line[2]) for line in groups if line[2] != gid)
            return User(int(uid), int(gid), others, home or "/")
    if number is None:
        raise _unknown("user", name, "passwd", where)
    return User(number, 0)


def _group(root: Path, name: str, where: str) -> int:
    if (number := _number(name)) is not None:
        return number
    for known, _, gid, *_ in _lines(root, "group", 3):
        if known == name:
            return int(gid)
    raise _unknown("group", name, "group", where)


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,10}", text) and int(text) <= _HIGHEST else None


def _unknown(kind: str, name: str, file: str, where: str) -> BadDockerfile:
    what = f"the image's /etc/{file} has no {kind} {name!r:.60}"
    return BadDockerfile(what, where, "Add it with RUN, or write its number.")


def _lines(root: Path, name: str, fields: int) -> Iterator[list[str]]:
    """The lines of a file in the image's /etc with at least so many fields, the third of them a number."""
    with Tree(root) as tree:
        fd = tree.open(f"etc/{name}", os.O_RDONLY | os.O_NONBLOCK)
    if fd is None:
        return
    with open(fd, "rb") as file:
        text = file.read(LARGEST).decode("utf-8", "replace")
    for line in text.split("\n"):
        if len(parts := line.strip().split(":")) >= fields and parts[2].isdecimal():
            yield parts
