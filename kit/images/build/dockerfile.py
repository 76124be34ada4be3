"""A Dockerfile's text as stages of instructions, checked before anything runs. See the Dockerfile reference.

The library dockerfile-parse finds the instructions. What Docker reads otherwise than it does (an escape
directive, empty lines and the file's end within a continued instruction) is set right first, line by line.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from kit.images.build.errors import BadDockerfile
from kit.images.build.expand import LONGEST
from kit.images.build.instruction import Instruction, instruction

LARGEST = 1 << 20  # bytes of a Dockerfile
_DIRECTIVE = re.compile(r"\s*#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")
_STAGE = re.compile(r"[a-z][a-z0-9_.-]*")


@dataclass(frozen=True)
class Stage:
    """What one FROM begins. ``base`` and ``platform`` stand as written, variables and all.

    ``name`` is in lower case, or "" where AS gives none; ``index`` counts from 0, as in COPY --from=0;
    ``text`` is the whole FROM.
    """

    index: int
    name: str
    base: str
    platform: str
    line: int
    text: str
    instructions: list[Instruction] = field(default_factory=list)


@dataclass(frozen=True)
class Dockerfile:
    """A whole one. ``args`` are the ARG instructions before the first FROM, which only FROM lines see."""

    stages: list[Stage]
    args: list[Instruction]
    escape: str
    path: str

    def stage(self, text: str) -> Stage | None:
        """The stage that ``text`` names, by name or number; None where it must be an image."""
        for stage in self.stages:
            if text and text.lower() in (stage.name, str(stage.index)):
                return stage
        return None


def parse(data: bytes | str, path: str = "Dockerfile") -> Dockerfile:
    """The stages in ``data``; ``path`` is how messages call the file.

    Raises BadDockerfile, which names the line, for all that the builder could not carry out.
    """
    escape, lines = _mended(_text(data, path), path)
    args: list[Instruction] = []
    stages: list[Stage] = []
    names: dict[str, int] = {}
    for name, value, line in _instructions(lines):
        one = instruction(name, value, path, line, escape)
        if one.name == "FROM":
            stage = _stage(one, len(stages))
            if stage.name in names:
                what = f"a second stage of the name {stage.name!r}, after that of line {names[stage.name]}"
                raise BadDockerfile(what, one.where, "Give each stage a name of its own.")
            if stage.name:
                names[stage.name] = line
            stages.append(stage)
        elif stages:
            stages[-1].instructions.append(one)
        elif one.name == "ARG":
            args.append(one)
        else:
            remedy = "Begin with FROM and an image, or 'scratch' for none; only ARG may come before it."
            raise BadDockerfile(f"{one.name} before the first FROM", one.where, remedy)
    if not stages:
        raise BadDockerfile("no FROM in it", path, "Begin with FROM and the name of an image, or 'scratch'.")
    return Dockerfile(stages, args, escape, path)


def _text(data: bytes | str, path: str) -> str:
    data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if len(data) > LARGEST:
        raise BadDockerfile(f"{len(data)} bytes; a Dockerfile has at most {LARGEST}", path)
    what, at = "a NUL byte", data.find(b"\0")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        what, at = f"not UTF-8: byte {data[error.start]:#04x}", error.start
    if at >= 0:
        line = data.count(b"\n", 0, at) + 1
        raise BadDockerfile(what, f"{path}:{line}", "Save it as text, in UTF-8.")
    return text.removeprefix("\ufeff")


def _mended(text: str, path: str) -> tuple[str, list[str]]:
    """The escape character, and the lines so that the library reads them as Docker does.

    A line that is to be passed over becomes a comment, so that every other keeps its number.
    """
    lines = text.split("\n")
    escape = _directives(lines, path)
    continued, size = False, 0
    for at, line in enumerate(lines):
        stripped = line.strip()
        if stripped.startswith("#") or (continued and not stripped):
            lines[at] = "#"
            continue
        size = size + len(line) if continued else len(line)
        if size > LONGEST:
            what = f"an instruction of more than {LONGEST} characters"
            remedy = "The kernel passes no longer argument to a program (execve(2)): COPY a script, RUN that."
            raise BadDockerfile(what, f"{path}:{at + 1}", remedy)
        if stripped.endswith(escape):
            word = stripped[:-1]
            lines[at] = line if continued or word.split() != [word] else f"{word} {escape}"
            last = at
        continued = stripped.endswith(escape)
    if continued:
        lines[last] = lines[last].rstrip()[:-1]
    if escape != "\\":
        lines[0] = f"# escape={escape}"
    return escape, lines


def _directives(lines: list[str], path: str) -> str:
    """The escape character that the comments at the very top set, or else the usual one."""
    escape, seen = "\\", set()
    for number, line in enumerate(lines, 1):
        found = _DIRECTIVE.match(line)
        key = found[1].lower() if found else ""
        if not found or key not in ("escape", "syntax", "check"):
            break
        where, value = f"{path}:{number}", found[2]
        if key in seen:
            raise BadDockerfile(f"a second directive '{key}'", where, "Leave one of them out.")
        seen.add(key)
        if key == "escape" and value not in ("\\", "`"):
            raise BadDockerfile(f"escape={value!r:.100}", where, "The escape character is \\ or `.")
        if key == "syntax" and not re.match(r"(docker\.io/)?docker/dockerfile(:|$)", value):
            what = f"another program is to read this file: syntax={value:.100}"
            raise BadDockerfile(what, where, "The kit reads the language of docker/dockerfile.")
        if key == "check":
            raise BadDockerfile("the kit has no build checks to set", where, "Take the line out.")
        escape = value if key == "escape" else escape
    return escape


def _instructions(lines: list[str]) -> Iterator[tuple[str, str, int]]:
    """(name, value, line) of each."""
    from dockerfile_parse import DockerfileParser

    parser = DockerfileParser(fileobj=io.BytesIO("".join(f"{line}\n" for line in lines).encode()))
    for one in parser.structure:
        if not one["content"].lstrip().startswith("#"):
            yield one["instruction"], one["value"], one["startline"] + 1


def _stage(one: Instruction, index: int) -> Stage:
    name = one.words[2].lower() if len(one.words) == 3 else ""
    if len(one.words) not in (1, 3) or (name and one.words[1].lower() != "as"):
        what = f"FROM has one image, or one and a name: {one.value:.100}"
        raise BadDockerfile(what, one.where, "Write FROM image AS name.")
    if name and (name == "scratch" or not _STAGE.fullmatch(name)):
        remedy = "One begins with a letter, then letters, digits, '_', '.' and '-'; 'scratch' is taken."
        raise BadDockerfile(f"{name!r:.100} can't be the name of a stage", one.where, remedy)
    return Stage(index, name, one.words[0], one.flags.get("platform", ""), one.line, one.text)
