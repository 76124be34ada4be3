"""Patterns of file names as Go has them, which Docker's are: filepath.Match, and "**" of .dockerignore."""

from __future__ import annotations

import re


def has_wildcard(text: str) -> bool:
    """Whether ``text`` is a pattern rather than a name; ``\\*`` is a star that is meant."""
    return bool(re.search(r"[*?[]", re.sub(r"\\.", "", text)))


def unescaped(text: str) -> str:
    """A pattern without wildcards as the name that it means."""
    return re.sub(r"\\(.)", r"\1", text)


def expression(pattern: str, deep: bool = False) -> str:
    """A regular expression for whole paths, with re.DOTALL.

    ``*`` and ``?`` do not match "/", ``[a-z]`` is a set and ``[^a-z]`` one of what is not in it, ``\\`` takes
    the next character as it is. ``deep``: "**" matches any number of directories, none included. Raises
    ValueError for a set that does not end or runs backwards, or a ``\\`` at the end.
    """
    done, at = "", 0
    while at < len(pattern):
        char, at = pattern[at], at + 1
        if deep and char == "*" and pattern[at : at + 1] == "*":
            at += 2 if pattern[at + 1 : at + 2] == "/" else 1
            done += "(?:.*/)?" if at < len(pattern) else ".*"
        elif char == "*":
            done += "[^/]*"
        elif char == "?":
            done += "[^/]"
        elif char == "[":
            found, at = _set(pattern, at)
            done += found
        elif char == "\\":
            if at == len(pattern):
                raise ValueError(f"nothing follows the last \\ of {pattern!r:.100}")
            done, at = done + re.escape(pattern[at]), at + 1
        else:
            done += re.escape(char)
    return done


def _set(pattern: str, at: int) -> tuple[str, int]:
    """The set that begins at ``at``, after its "[", and where it ends."""
    found = re.compile(r"(\^?)((?:\\.|[^\]\\])+)\]", re.DOTALL).match(pattern, at)
    if not found:
        raise ValueError(f"a '[' without its ']' in {pattern!r:.100}")
    parts = re.findall(r"\\.|.", found[2], re.DOTALL)
    inside = "".join(part if part == "-" else re.escape(part[-1]) for part in parts)
    try:
        re.compile(f"[{inside}]")
    except re.error as error:
        raise ValueError(f"{error} in {pattern!r:.100}") from None
    return f"(?!/)[{found[1]}{inside}]", found.end()
