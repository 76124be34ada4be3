"""Whatever text comes: stages, or a BadDockerfile that says where; within a bounded number of examples."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.images.build.dockerfile import Dockerfile, parse
from kit.images.build.errors import BadDockerfile
from kit.images.build.expand import expand, split
from kit.images.build.ignore import Ignore
from kit.images.build.instruction import FLAGS, expanded

many = settings(
    max_examples=400,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)

WORDS = [
    *(
        "a",
        "b.c",
        "/",
        ".",
        "..",
        "a b",
        "é",
        "\udcff",
        "\0",
        "\x85",
        "\xa0",
        "\ufeff",
        "٣",
        "0",
        "99999",
        "80/tcp",
    ),
    *(
        "$a",
        "${a}",
        "${a:-$b}",
        "${",
        "${a:-",
        "}",
        "$",
        "\\",
        "`",
        "'",
        '"',
        "''",
        "=",
        "a=b",
        "a=",
        "=b",
        "#",
        "# a",
    ),
    *(
        "[",
        "]",
        '["a"]',
        '["a","b"]',
        "[1]",
        '["\\ud800"]',
        "[[",
        "--",
        "--a",
        "--from=0",
        "--from=a",
        "--chmod=7$a",
    ),
    *(
        "<<EOF",
        "AS",
        "as",
        "scratch",
        "CMD",
        "NONE",
        "http://a",
        "1m30s",
        "SIGTERM",
        "*",
        "ONBUILD",
        "\t",
        "  ",
        "\v",
    ),
]
NAMES = [
    *FLAGS,
    "MAINTAINER",
    "RUM",
    "run",
    "From",
    "ßhell",
    "",
    "#",
    "# escape=`",
    "# escape=",
    "# syntax=a",
]
FLAG = st.sampled_from([f"--{flag}=" for flags in (*FLAGS.values(), ("mount", "link")) for flag in flags])
VALUES = st.lists(st.one_of(st.sampled_from(WORDS), FLAG, st.text(max_size=4)), max_size=6).map(" ".join)
LINES = st.builds(
    lambda before, name, between, value, end: before + name + between + value + end,
    st.sampled_from(["", "", "", " ", "\t"]),
    st.sampled_from(NAMES),
    st.sampled_from([" ", " ", " ", "", "\\\n", " `\n", "\t"]),
    VALUES,
    st.sampled_from(["\n", "\n", "\n", "\r\n", "\\\n", " \\\n\n", " `\n", "\\", ""]),
)
FILES = st.builds(
    lambda first, lines: first + "".join(lines),
    st.sampled_from(["FROM a AS a\n", ""]),
    st.lists(LINES, max_size=3),
)
VARIABLES = st.dictionaries(st.sampled_from("ab"), st.one_of(st.sampled_from(WORDS), st.text(max_size=6)))


def survive(data: bytes | str, variables: dict[str, str]) -> None:
    """Read it, and expand what was read: all is text that a program could be given, or it is refused."""
    try:
        read = parse(data)
    except BadDockerfile as told:
        assert str(told).startswith("Dockerfile:") and len(str(told)) < 1000
        return
    usable(read)
    for stage in read.stages:
        for instruction in (*read.args, *stage.instructions):
            assert instruction.name in FLAGS
            try:
                made = expanded(instruction, variables, read.escape)
            except BadDockerfile as told:
                assert str(told).startswith(f"Dockerfile:{instruction.line}: ")
                continue
            assert made.words or made.name in ("CMD", "ENTRYPOINT")


def usable(read: Dockerfile) -> None:
    numbers = [one.line for one in read.args]
    for stage in read.stages:
        numbers += [stage.line, *(one.line for one in stage.instructions)]
        for instruction in stage.instructions:
            for text in (*instruction.words, *instruction.flags, *instruction.flags.values()):
                assert "\0" not in text and text.encode()
    assert numbers == sorted(set(numbers))


@many
@given(FILES, VARIABLES)
def test_lines_of_any_kind(text: str, variables: dict[str, str]) -> None:
    survive(text, variables)


@many
@given(st.binary(max_size=200), st.booleans())
def test_bytes_of_no_sense(data: bytes, begun: bool) -> None:
    survive((b"FROM a\nRUN " if begun else b"") + data, {})


@many
@given(VALUES, VARIABLES, st.sampled_from("\\`"))
def test_words_of_any_kind(text: str, variables: dict[str, str], escape: str) -> None:
    assert all(split(text, escape))
    try:
        done = expand(text, variables, escape, "Dockerfile:1")
    except BadDockerfile as told:
        assert str(told).startswith("Dockerfile:1: ")
    else:
        if not set(text) & set("$'\"" + escape):
            assert done == text


@many
@given(
    st.lists(st.text(st.sampled_from("ab/*?[]^-!\\.# \0é"), max_size=8)).map("\n".join), st.text(max_size=8)
)
def test_patterns_of_any_kind(text: str, path: str) -> None:
    try:
        ignore = Ignore.parse(text.encode())
    except BadDockerfile as told:
        assert str(told).startswith(".dockerignore:")
    else:
        assert ignore.ignores(path) in (True, False)
