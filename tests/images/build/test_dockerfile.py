"""What the parser reads as Docker does, and what it refuses before anything runs, each with its line."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from kit.images.build.check import nanoseconds
from kit.images.build.dockerfile import LARGEST, parse
from kit.images.build.errors import BadDockerfile
from kit.images.build.instruction import FLAGS, Instruction, trigger


def one(text: str) -> Instruction:
    """The only instruction after FROM."""
    (stage,) = parse(f"FROM scratch\n{text}").stages
    (instruction,) = stage.instructions
    return instruction


def refused(text: str | bytes) -> str:
    with pytest.raises(BadDockerfile) as told:
        parse(text)
    return str(told.value)


WORDS = [
    ("RUN echo  'a b' $HOME", ("echo  'a b' $HOME",), False),
    ('RUN ["echo", "a b"]', ("echo", "a b"), True),
    ("RUN ['echo']", ("['echo']",), False),  # no JSON: the shell form, as Docker takes it
    ('RUN ["a",]', ('["a",]',), False),
    ("run a", ("a",), False),
    ("CMD []", (), True),
    ('ENTRYPOINT ["/bin/é"]', ("/bin/é",), True),
    ('SHELL ["/bin/sh","-c"]', ("/bin/sh", "-c"), True),
    ("COPY a b/ /c/", ("a", "b/", "/c/"), False),
    ('COPY ["a b", "/c/"]', ("a b", "/c/"), True),
    ("ADD a.tar.gz /", ("a.tar.gz", "/"), False),
    ("ENV a=1 b='x y' c=\"$a\" d=x\\ y", ("a=1", "b='x y'", 'c="$a"', "d=x\\ y"), False),
    ("ENV a  b  c=d", ("a=b  c=d",), False),
    ("ENV a=", ("a=",), False),
    ("LABEL a.b=c d=", ("a.b=c", "d="), False),
    ("ARG a b=1 c", ("a", "b=1", "c"), False),
    ("WORKDIR /a b", ("/a b",), False),
    ("USER 1000:users", ("1000:users",), False),
    ("EXPOSE 80 53/udp 8000-8010/tcp $PORT", ("80", "53/udp", "8000-8010/tcp", "$PORT"), False),
    ("VOLUME /a /b", ("/a", "/b"), False),
    ('VOLUME ["/a b"]', ("/a b",), True),
    ("STOPSIGNAL SIGRTMIN+3", ("SIGRTMIN+3",), False),
    ("STOPSIGNAL 9", ("9",), False),
    ("STOPSIGNAL usr1", ("usr1",), False),
    ("HEALTHCHECK NONE", ("NONE",), False),
    ("HEALTHCHECK cmd curl  x", ("CMD-SHELL", "curl  x"), False),
    ('HEALTHCHECK CMD ["a", "b"]', ("CMD", "a", "b"), True),
    ("ONBUILD RUN  a", ("RUN  a",), False),
]


def test_words() -> None:
    for text, words, exec_form in WORDS:
        read = one(text)
        assert (read.words, read.exec_form) == (words, exec_form), text
        assert read.name == text.split()[0].upper()
        assert (read.line, read.where) == (2, "Dockerfile:2")


@pytest.mark.parametrize(
    "text, flags, words",
    [
        ("RUN --network=none a --b", {"network": "none"}, ("a --b",)),
        ("RUN -- --a", {}, ("--a",)),
        (
            "COPY --from=0 --chown=$u:g --chmod=0755 a b",
            {"from": "0", "chown": "$u:g", "chmod": "0755"},
            ("a", "b"),
        ),
        ('COPY --chown="a" ["b", "c"]', {"chown": "a"}, ("b", "c")),
        ("ADD   --chmod=644   a   b", {"chmod": "644"}, ("a", "b")),
        (
            "HEALTHCHECK --interval=9s --timeout=5s --start-period=0s --start-interval=1s --retries=3 CMD a",
            {
                "interval": "9s",
                "timeout": "5s",
                "start-period": "0s",
                "start-interval": "1s",
                "retries": "3",
            },
            ("CMD-SHELL", "a"),
        ),
    ],
)
def test_flags(text: str, flags: dict[str, str], words: tuple[str, ...]) -> None:
    found = parse(f"FROM a\nFROM b\n{text}").stages[1].instructions[0]
    assert (dict(found.flags), found.words) == (flags, words)


LINES_ARE_JOINED_AS_DOCKER_JOINS_THEM = [
    ("RUN a \\\n  b", "a   b"),
    ("RUN a\\\n\\\nb", "ab"),
    ("RUN a \\\n# a comment\n   # another \\\n  b", "a   b"),
    ("RUN a \\\n\n \t\n  b", "a   b"),  # empty lines do not end it
    ("RUN\\\n  a", "a"),
    ("RUN \\\n a", "a"),
    ("RUN a \\", "a"),  # nor does the end of the file
    ("RUN a \\\n", "a"),
    ("RUN a \\\n\n# c\n", "a"),
    ("RUN a \\ \t\n b", "a  b"),
    ("RUN a # b", "a # b"),
    ("RUN a\r\n", "a"),
    ("RUN a \\\r\n b\r\n", "a  b"),
    ("  RUN   a  ", "a"),
    ("\tRUN\ta", "a"),
    ("RUN a\\\\\nb", "a\\b"),  # a backslash before the last one does not matter, in Docker neither
    ("#escape=`\nRUN a", "a"),  # no directive here any more
]


def test_lines_are_joined_as_docker_joins_them() -> None:
    for text, value in LINES_ARE_JOINED_AS_DOCKER_JOINS_THEM:
        assert one(text).value == value, text


def test_each_line_has_its_number() -> None:
    read = parse("# a\n\nARG x\n  # b\nFROM a\n\nRUN a \\\n# c\n\n  b\n\nCMD c\nFROM b\nUSER d")
    assert [one.line for one in read.args] == [3]
    assert [(stage.line, [one.line for one in stage.instructions]) for stage in read.stages] == [
        (5, [7, 12]),
        (13, [14]),
    ]


@pytest.mark.parametrize(
    "head, escape",
    [
        ("# escape=`", "`"),
        ("#ESCAPE = `", "`"),
        ("# syntax=docker/dockerfile:1\n# escape=`", "`"),
        ("# a\n# escape=`", "\\"),
        ("\n# escape=`", "\\"),
        ("# escape=\\", "\\"),
    ],
)
def test_the_escape_directive(head: str, escape: str) -> None:
    read = parse(f"{head}\nFROM a\nRUN b {escape}\n c\nRUN d")
    assert read.escape == escape
    assert [one.value for one in read.stages[0].instructions] == ["b  c", "d"]
    assert read.stages[0].instructions[1].line == head.count("\n") + 5


def test_bom_and_bytes() -> None:
    assert parse(b"\xef\xbb\xbfFROM a\n").stages[0].base == "a"
    assert parse(b"\xef\xbb\xbf# escape=`\r\nFROM a").escape == "`"


def test_stages() -> None:
    assert parse("FROM a AS a").stages[0].base == "a"
    read = parse(
        "ARG tag=1\nFROM --platform=linux/amd64 a:$tag AS Build\nRUN x\n"
        "FROM build\nCOPY --from=build a b\nFROM scratch as z"
    )
    build, second, last = read.stages
    assert (build.name, build.base, build.platform, build.index) == ("build", "a:$tag", "linux/amd64", 0)
    assert (second.name, second.base, last.name) == ("", "build", "z")
    assert read.args[0].words == ("tag=1",)
    assert read.stage("BUILD") is build and read.stage("1") is second
    assert read.stage("z") is last and read.stage("a") is None and read.stage("") is None


FILES_THAT_ARE_REFUSED = [
    ("", "Dockerfile: no FROM"),
    ("# only this", "Dockerfile: no FROM"),
    ("ARG a", "no FROM"),
    ("RUN a\nFROM b", "Dockerfile:1: RUN before the first FROM"),
    ("FROM", "Dockerfile:1: FROM says nothing"),
    ("FROM a b", "Dockerfile:1: FROM has one image, or one and a name: a b"),
    ("FROM a AS", "FROM has one image"),
    ("FROM a of b", "FROM has one image"),
    ("FROM a AS 1b", "can't be the name of a stage"),
    ("FROM a AS scratch", "can't be the name of a stage"),
    ("FROM a AS b\nFROM c AS B", "Dockerfile:2: a second stage of the name 'b', after that of line 1"),
    ("# escape=x\nFROM a", "Dockerfile:1: escape='x'"),
    ("# escape=`\n# escape=`\nFROM a", "Dockerfile:2: a second directive"),
    ("# syntax=someone/frontend\nFROM a", "Dockerfile:1: another program is to read this file"),
    ("# check=skip=all\nFROM a", "no build checks"),
    ("FROM a\nRUM b", "Dockerfile:2: 'RUM' is no instruction. Did you mean RUN?"),
    ("FROM a\nPRINTF", "Dockerfile:2: 'PRINTF' is no instruction. There are ADD, ARG"),
    ("FROM a\nEOF", "'EOF' is no instruction"),
    ("FROM a\nMAINTAINER me", "Dockerfile:2: MAINTAINER has been deprecated"),
]


def test_files_that_are_refused() -> None:
    for text, told in FILES_THAT_ARE_REFUSED:
        assert told in refused(text)


def test_an_instruction_that_says_nothing() -> None:
    for name in FLAGS:
        for end in ("", "\n", " \n", " \\\n", "\\"):
            assert f"Dockerfile:2: {name} says nothing" in refused(f"FROM a\n{name}{end}")


ONLY_DOCKERS = {
    "ADD": "checksum exclude keep-git-dir link unpack",
    "COPY": "exclude link parents",
    "RUN": "device mount security",
}


def test_flags_of_dockers_that_the_kit_has_not() -> None:
    for name, flags in ONLY_DOCKERS.items():
        for flag in flags.split():
            assert f"Dockerfile:2: {name} has no flag --{flag} in" in refused(
                f"FROM a\n{name} --{flag}=x a b"
            )
            assert f"{name} has no flag --{flag} in" in refused(f"FROM a\n{name} --{flag} a b")


INSTRUCTIONS_THAT_ARE_REFUSED = [
    ("RUN --netwrok=none a", "RUN has no flag --netwrok in the kit's builder. Did you mean --network?"),
    ("CMD --a b", "CMD has no flag --a in the kit's builder. It has none."),
    ("RUN --network a", "RUN --network needs a value"),
    ("RUN --network= a", "RUN --network needs a value"),
    ("RUN --network=none --network=host a", "RUN --network is there twice"),
    ("RUN --network=bridge a", "RUN --network=bridge"),
    ("RUN []", "RUN says nothing"),
    ("RUN [1]", "not only strings in [1]"),
    ('CMD ["a\\u0000"]', "not only strings"),
    ('CMD ["\\ud800"]', "not only strings"),
    ("RUN <<EOF", "RUN with a heredoc (<<)"),
    ("RUN a <<-'EOF' b", "heredoc"),
    ("RUN a 3<<EOF", "heredoc"),
    ("COPY <<EOF /a", "COPY with a heredoc"),
    ("COPY a", "COPY with one word: a"),
    ('COPY ["a"]', "COPY with one word"),
    ("ADD --chmod=644 a", "ADD with one word"),
    ("COPY a b c", "COPY of several sources to c"),
    ('COPY "" b', "COPY with an empty word"),
    ('COPY "a b" c/', "a double quote without its other one"),
    ("COPY --chmod=u+x a b", "COPY --chmod=u+x is no mode in octal"),
    ("COPY --chmod=999 a b", "no mode in octal"),
    ("COPY --from=$x a b", "no variables there"),
    ("COPY --from=$x a b $c", "no variables there"),
    ("ADD https://example.org/a /", "ADD from the network: https://example.org/a"),
    ("ADD git@example.org:a/b.git /", "ADD from the network"),
    ("ENV a", "ENV a: no name, or no value"),
    ("ENV =a", "ENV =a: no name"),
    ("ENV a=1 b", "ENV b: no name, or no value"),
    ("ENV a='b", "a single quote without its other one"),
    ("ENV a=${b", "'${b' begins a form that the kit does not have"),
    ("ENV a=${b%c}", "'${b%' begins a form that the kit does not have"),
    ("LABEL a", "LABEL a: no name, or no value"),
    ("ARG =a", "ARG =a: no name"),
    ("EXPOSE 99999", "EXPOSE 99999 is no port"),
    ("EXPOSE 0", "EXPOSE 0 is no port"),
    ("EXPOSE 80/http", "EXPOSE 80/http is no port"),
    ("EXPOSE 8080:80", "EXPOSE 8080:80 is no port"),
    ("EXPOSE 20-10", "EXPOSE 20-10 is no port"),
    ("SHELL /bin/sh", "SHELL /bin/sh is no JSON array"),
    ("SHELL []", "SHELL says nothing"),
    ("STOPSIGNAL SIGNONE", "STOPSIGNAL SIGNONE is no signal"),
    ("STOPSIGNAL 65", "STOPSIGNAL 65 is no signal"),
    ("STOPSIGNAL 0", "STOPSIGNAL 0 is no signal"),
    ('VOLUME [""]', "VOLUME with an empty word"),
    ("HEALTHCHECK a", "HEALTHCHECK a"),
    ("HEALTHCHECK CMD", "HEALTHCHECK CMD"),
    ("HEALTHCHECK --interval=30s CMD", "HEALTHCHECK CMD"),
    ("HEALTHCHECK NONE a", "or NONE and nothing more"),
    ("HEALTHCHECK --retries=2 NONE", "or NONE and nothing more"),
    ("HEALTHCHECK --interval=30 CMD a", "'30' is no duration"),
    ("HEALTHCHECK --timeout=1us CMD a", "'1us' is no duration"),
    ("HEALTHCHECK --interval=-1s CMD a", "'-1s' is no duration"),
    ("HEALTHCHECK --retries=-1 CMD a", "HEALTHCHECK --retries=-1"),
    ("ONBUILD ONBUILD RUN a", "ONBUILD can't be put off"),
    ("ONBUILD FROM a", "FROM can't be put off"),
    ("ONBUILD MAINTAINER a", "MAINTAINER has been deprecated"),
    ("ONBUILD RUM a", "'RUM' is no instruction"),
    ("ONBUILD COPY a", "COPY with one word"),
    ("ONBUILD RUN <<EOF", "heredoc"),
]


def test_instructions_that_are_refused() -> None:
    for text, told in INSTRUCTIONS_THAT_ARE_REFUSED:
        message = refused(f"FROM a\nCMD b\n{text}")
        assert message.startswith("Dockerfile:3: ") and told in message


def test_a_shell_may_shift_left() -> None:
    assert one("RUN echo $((1<<3)) '<<EOF'").words == ("echo $((1<<3)) '<<EOF'",)


@pytest.mark.parametrize(
    "data, told",
    [
        (b"FROM a\nRUN b\0c", "Dockerfile:2: a NUL byte"),
        (b"FROM a\n\nRUN \xff", "Dockerfile:3: not UTF-8: byte 0xff"),
        (b"FROM a\nRUN " + b"x" * 1_000_000, "Dockerfile:2: an instruction of more than"),
        (b"FROM a\nRUN a" + b" \\\n x" * 40_000, "an instruction of more than"),
        (b"FROM a\n" + b"#" * LARGEST, "at most"),
        (b"FROM a\n" + b"RUN true\n" * 1_200_000, "at most"),
        (b"FROM a\nRUN " + b"[" * 100_000, ""),
        (b"FROM a\nENV a=" + b"${a:-" * 20_000, "variables within variables"),
    ],
)
def test_bytes_that_are_refused_at_once(data: bytes, told: str) -> None:
    before = time.process_time()
    try:
        parse(data)
    except BadDockerfile as error:
        assert told and told in str(error) and len(str(error)) < 500
    else:
        assert not told
    assert time.process_time() - before < 20  # a guard against quadratic work, far from the usual


def test_thousands_of_stages() -> None:
    text = "".join(f"FROM a AS s{n}\nCOPY --from={max(n - 1, 0) if n else 'b'} x y\n" for n in range(5000))
    read = parse(text)
    assert len(read.stages) == 5000 and read.stage("s4999") is read.stages[-1]


def test_the_name_of_the_file_is_in_the_message() -> None:
    with pytest.raises(BadDockerfile, match=r"^web\.Dockerfile:2: "):
        parse("FROM a\nRUM", "web.Dockerfile")


def test_what_onbuild_holds() -> None:
    held = trigger("COPY --chown=1 a  b", "busybox", 0)
    assert (held.name, dict(held.flags), held.words) == ("COPY", {"chown": "1"}, ("a", "b"))
    with pytest.raises(BadDockerfile, match="'RUM' is no instruction"):
        trigger("RUM x", "busybox", 0)


@pytest.mark.parametrize(
    "text, value",
    [("30s", 30 * 10**9), ("1m30s", 90 * 10**9), ("1.5s", 1_500_000_000), ("500ms", 500_000_000), ("0", 0)],
)
def test_durations(text: str, value: int) -> None:
    assert nanoseconds(text) == value


def test_the_library_is_light() -> None:
    """Reading a Dockerfile must not need what only the network needs."""
    code = "import sys, kit.images.build.dockerfile as d; d.parse('FROM a'); print('requests' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
