"""One instruction of a Dockerfile: its flags, its words, and what is wrong with it.

See the Dockerfile reference. An option that Docker has and the kit's builder has not is refused by its name.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from kit.images.build.check import PAIRS, check_form, check_values, ports
from kit.images.build.errors import BadDockerfile
from kit.images.build.expand import expand, split

#: Every instruction with the flags that it may have.
FLAGS: dict[str, tuple[str, ...]] = {
    "ADD": ("chown", "chmod"),
    "COPY": ("from", "chown", "chmod"),
    "FROM": ("platform",),
    "HEALTHCHECK": ("interval", "timeout", "start-period", "start-interval", "retries"),
    "RUN": ("network",),
    **dict.fromkeys(
        "ARG CMD ENTRYPOINT ENV EXPOSE LABEL ONBUILD SHELL STOPSIGNAL USER VOLUME WORKDIR".split(), ()
    ),
}
#: Those in which Docker replaces variables, and the builder with it.
EXPANDED = set("ADD ARG COPY ENV EXPOSE LABEL STOPSIGNAL USER VOLUME WORKDIR".split())
_EXEC = {"ADD", "CMD", "COPY", "ENTRYPOINT", "HEALTHCHECK", "RUN", "SHELL", "VOLUME"}  # may be a JSON array
_LISTS = {"ADD", "COPY", "EXPOSE", "FROM", "VOLUME"}
_FLAG = re.compile(r"--([a-zA-Z0-9-]*)(=?)((?:[^\s\"']|\"[^\"]*\"|'[^']*')*)\s*")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # what JSON can spell, and no argument can hold
_HEREDOC = re.compile(r"[0-9]*<<-?[^<]+")


@dataclass(frozen=True)
class Instruction:
    """One instruction. ``name`` is in capitals, ``value`` all that follows the flags.

    ``words`` are the value's parts: the arguments of the exec form (``exec_form``), or the text of the shell
    form as one; COPY's and ADD's sources and their destination; NAME=value of ENV and LABEL, NAME or
    NAME=value of ARG; paths of VOLUME; ports of EXPOSE, which :func:`expanded` makes "80/tcp"; the text of
    USER, WORKDIR, STOPSIGNAL and ONBUILD; of HEALTHCHECK what the image's configuration calls its Test
    ("NONE", "CMD" and arguments, or "CMD-SHELL" and a text).
    """

    name: str
    value: str
    path: str
    line: int
    flags: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    exec_form: bool = False

    @property
    def where(self) -> str:
        """As messages say it: Dockerfile:7."""
        return f"{self.path}:{self.line}"

    @property
    def text(self) -> str:
        """As it was written, on one line, without comments and the ends of continued lines."""
        flags = [f"--{name}={text}" for name, text in self.flags.items()]
        return " ".join(" ".join([self.name, *flags, self.value]).split())


def instruction(name: str, value: str, path: str, line: int, escape: str = "\\") -> Instruction:
    """The instruction of that name and value, checked. Raises BadDockerfile."""
    name, where = name.upper(), f"{path}:{line}"
    if name == "MAINTAINER":
        remedy = 'Write LABEL org.opencontainers.image.authors="...", which tools show.'
        raise BadDockerfile("MAINTAINER has been deprecated since Docker 1.13", where, remedy)
    if name not in FLAGS:
        raise BadDockerfile(f"{name!r:.40} is no instruction", where, _close(name, FLAGS, ""))
    flags, value = _flags(name, value.strip(), where)
    words, exec_form = _words(name, value, where, escape)
    one = Instruction(name, value, path, line, flags, words, exec_form)
    check_form(one)
    if name in EXPANDED:
        _expand(one, {}, escape)  # a wrong form shows without the values
        fixed = {flag: text for flag, text in flags.items() if "$" not in text}
        known = replace(one, words=tuple(word for word in words if "$" not in word), flags=fixed)
        check_values(_expand(known, {}, escape))
    if name == "ONBUILD":
        trigger(value, path, line, escape)
    return one


def trigger(text: str, path: str, line: int, escape: str = "\\") -> Instruction:
    """The instruction that an ONBUILD holds, its own or one in a base image's configuration."""
    name, value = [*text.split(None, 1), "", ""][:2]
    if name.upper() in ("ONBUILD", "FROM"):
        raise BadDockerfile(f"{name.upper()} can't be put off with ONBUILD", f"{path}:{line}")
    return instruction(name, value, path, line, escape)


def expanded(one: Instruction, variables: Mapping[str, str], escape: str = "\\") -> Instruction:
    """The instruction with its variables replaced, where Docker replaces them, and checked again.

    All of it sees the same ``variables``: in ``ENV a=1 b=$a`` b gets the value that a had before. Raises
    BadDockerfile.
    """
    if one.name not in EXPANDED:
        return one
    one = _expand(one, variables, escape)
    if one.name == "EXPOSE":
        texts = [text for word in one.words for text in word.split() or [word]]
        one = replace(one, words=tuple(port for text in texts for port in ports(text, one.where)))
    check_values(one)
    return one


def _expand(one: Instruction, variables: Mapping[str, str], escape: str) -> Instruction:
    words = tuple(expand(word, variables, escape, one.where) for word in one.words)
    flags = {flag: expand(text, variables, escape, one.where) for flag, text in one.flags.items()}
    return replace(one, words=words, flags=flags)


def _close(word: str, names: Iterable[str], before: str) -> str:
    if match := difflib.get_close_matches(word, names, 1):
        return f"Did you mean {before}{match[0]}?"
    return f"There are {', '.join(before + name for name in sorted(names))}."


def _flags(name: str, value: str, where: str) -> tuple[dict[str, str], str]:
    """The flags that ``value`` begins with, and the rest."""
    flags: dict[str, str] = {}
    while (found := _FLAG.match(value)) and found[0].strip() != "--":
        flag, text = found[1], found[3].replace('"', "").replace("'", "")
        if flag not in FLAGS[name]:
            remedy = _close(flag, FLAGS[name], "--") if FLAGS[name] else "It has none."
            raise BadDockerfile(f"{name} has no flag --{flag:.40} in the kit's builder", where, remedy)
        if not text or flag in flags:
            what = "is there twice" if flag in flags else "needs a value"
            raise BadDockerfile(f"{name} --{flag} {what}", where, f"Write --{flag}=... once.")
        flags[flag], value = text, value[found.end() :]
    return flags, value[2:].lstrip() if value.split(None, 1)[:1] == ["--"] else value


def _words(name: str, value: str, where: str, escape: str) -> tuple[tuple[str, ...], bool]:
    """The parts of the value, and whether they came as a JSON array."""
    before: tuple[str, ...] = ()
    if name == "HEALTHCHECK":
        kind, value = [*value.split(None, 1), "", ""][:2]
        before = (kind.upper(),)
    if name in _EXEC and (words := _json(value, where)) is not None:
        return (*before, *words), True
    if name in ("RUN", "ADD", "COPY") and any(map(_HEREDOC.fullmatch, split(value, escape))):
        remedy = "COPY a file from the context, or join commands with && and a \\ at the end of the line."
        raise BadDockerfile(f"{name} with a heredoc (<<), which the kit's builder has not", where, remedy)
    if name in _LISTS:
        return tuple(value.split()), False
    if name in PAIRS:
        words = split(value, escape)
        if name != "ARG" and words and "=" not in words[0]:  # the old form: all that follows is the value
            words = ["=".join(value.split(None, 1))]
        return tuple(words), False
    if before == ("CMD",):
        before = ("CMD-SHELL",)
    return (*before, value) if value else before, False


def _json(value: str, where: str) -> list[str] | None:
    """The strings of a JSON array; None for what is none, which Docker too takes for the shell form."""
    try:
        words = json.loads(value) if value.startswith("[") else None
        if not isinstance(words, list):
            return None
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(word, str) and not _NO_TEXT.search(word) for word in words):
        raise BadDockerfile(f"not only strings in {value:.100}", where, 'Write ["program", "argument"].')
    return words
