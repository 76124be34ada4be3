"""Variables and quotes as the Dockerfile reference has them, "Environment replacement"."""

from __future__ import annotations

import pytest

from kit.images.build.dockerfile import parse
from kit.images.build.errors import BadDockerfile
from kit.images.build.expand import LONGEST, expand, split
from kit.images.build.instruction import Instruction, expanded

VALUES = {"a": "A", "empty": "", "long_name1": "L", "space": "x y", "dollar": "$a", "é": "E"}

EXPANDED = [
    ("$a ${a} $long_name1", "A A L"),
    ("$a-b ${a}b $ab", "A-b Ab "),
    ("$none|${none}|$empty|", "|||"),
    ("${a:-w} ${empty:-w} ${none:-w}", "A w w"),
    ("${a:+w}|${empty:+w}|${none:+w}", "w||"),
    ("${a-w}|${empty-w}|${none-w}", "A||w"),
    ("${a+w}|${empty+w}|${none+w}", "w|w|"),
    ("${none:-${none:-$a}}", "A"),
    ("${none:-'$a'}${none:-\"$a\"}${none:-\\}}", "$aA}"),
    ("${none:-a b}", "a b"),
    ("\\$a \\${a} \\\\$a", "$a ${a} \\A"),
    ("'$a' \"$a\" '\"'\"'\"", "$a A \"'"),
    ('"a\\"b" "a\\$a" "a\\nb" "\\\\"', 'a"b a$a a\\nb \\'),
    ("a\\ b \\a", "a b a"),
    ("$dollar", "$a"),  # a value is no text to expand again
    ("$space", "x y"),
    ("$ $. a$", "$ $. a$"),
    ("$$a $1a $@a", "a a a"),  # the shell's own, which are never set here
    ("$é", "E"),
    ("a\\", "a"),
    ("", ""),
]


def test_expand() -> None:
    for text, value in EXPANDED:
        assert expand(text, VALUES) == value, text


def test_the_escape_character_is_the_files() -> None:
    assert expand('`$a c:\\$a "`""', VALUES, "`") == '$a c:\\A "'


REFUSED = [
    ("${a", "'${a' begins a form that the kit does not have"),
    ("${", "'${' without the name of a variable"),
    ("${}", "'${' without the name of a variable"),
    ("${.a}", "without the name"),
    ("${a.b}", "'${a.' begins a form that the kit does not have"),
    ("${a:?no}", "'${a:?' begins a form that the kit does not have"),
    ("${a%x}", "'${a%' begins"),
    ("${a/x/y}", "'${a/' begins"),
    ("${a:x}", "'${a:x' begins"),
    ("${a:", "'${a:' begins"),
    ("${a:-b", "'${' without its other one"),
    ("'a", "a single quote without its other one"),
    ('"a$a', "a double quote without its other one"),
    ("${none:-'}", "a single quote"),
]


def test_what_can_not_be_expanded() -> None:
    for text, told in REFUSED:
        with pytest.raises(BadDockerfile) as error:
            expand(text, VALUES, where="Dockerfile:9")
        assert str(error.value).startswith("Dockerfile:9: ") and told in str(error.value), text


def test_no_text_grows_without_bounds() -> None:
    values = {"a": "x" * 100_000}
    for text in ("$a$a", '"$a$a"', "${b:-$a$a}", '"$a"' * 1000):
        with pytest.raises(BadDockerfile, match=f"more than {LONGEST} bytes"):
            expand(text, values)
    with pytest.raises(BadDockerfile, match="variables within variables"):
        expand("${b:-" * 5000 + "}" * 5000, {})
    with pytest.raises(BadDockerfile, match="variables within variables"):
        expand('"${b:-' * 5000, {})


def test_split() -> None:
    assert split("a  'b c' d\\ e \"f \\\" g\" ''\t") == ["a", "'b c'", "d\\ e", '"f \\" g"', "''"]
    assert split("a` b \\ c", "`") == ["a` b", "\\", "c"]
    assert split("a \\") == ["a"]
    assert split("'a\\' b") == ["'a\\'", "b"]


def one(text: str, **values: str) -> Instruction:
    (instruction,) = parse(f"FROM a\n{text}").stages[0].instructions
    return expanded(instruction, values)


def test_an_instruction_sees_the_values_from_before() -> None:
    assert one("ENV abc=bye def=$abc", abc="hello").words == ("abc=bye", "def=hello")


INSTRUCTIONS = [
    ('ENV $v=\'$v\' "a"="x $v"', ("1='$v'".replace("'", ""), "a=x 1")),
    ("ENV a  $v  'b'", ("a=1  b",)),
    ("ARG a=$v b", ("a=1", "b")),
    ("LABEL a='b c' $v=${v:-2}", ("a=b c", "1=1")),
    ("COPY a$v 'b' /$v/", ("a1", "b", "/1/")),
    ('COPY ["a $v", "/"]', ("a 1", "/")),
    ("ADD $v /", ("1", "/")),
    ("WORKDIR /a/$v b", ("/a/1 b",)),
    ("USER $v:$v", ("1:1",)),
    ("EXPOSE $v 53/UDP 8000-8002", ("1/tcp", "53/udp", "8000/tcp", "8001/tcp", "8002/tcp")),
    ("EXPOSE $many", ("80/tcp", "81/udp")),
    ("STOPSIGNAL $v", ("1",)),
    ("VOLUME /$v", ("/1",)),
    ("RUN echo $v", ("echo $v",)),
    ('CMD ["$v"]', ("$v",)),
    ("ENTRYPOINT $v", ("$v",)),
    ('SHELL ["$v"]', ("$v",)),
    ("HEALTHCHECK CMD $v", ("CMD-SHELL", "$v")),
    ("ONBUILD ENV a=$v", ("ENV a=$v",)),
]


def test_where_variables_are_replaced() -> None:
    for text, words in INSTRUCTIONS:
        assert one(text, v="1", many="80 81/udp").words == words, text


def test_flags_are_expanded_too() -> None:
    flags = one("COPY --chown=$v:$v --chmod=$m a b", v="1", m="0644").flags
    assert dict(flags) == {"chown": "1:1", "chmod": "0644"}


AFTERWARDS = [
    ("EXPOSE $v", "EXPOSE many is no port"),
    ("EXPOSE $none", "is no port"),
    ("STOPSIGNAL $v", "STOPSIGNAL many is no signal"),
    ("COPY $none /a", "COPY with an empty word"),
    ("COPY --chmod=$v a b", "--chmod=many is no mode"),
    ("COPY --chmod=$d a b", "--chmod=$v is no mode"),
    ("ENV a=$nul", "ENV with a NUL byte"),
    ("WORKDIR $none", "WORKDIR with an empty word"),
    ("USER ${none}", "USER with an empty word"),
    ("ENV $none=1", "ENV =1: no name"),
    ("ADD $url /", "ADD from the network"),
    ("VOLUME /a $none", "VOLUME with an empty word"),
]


def test_what_shows_only_with_the_values() -> None:
    for text, told in AFTERWARDS:
        with pytest.raises(BadDockerfile) as error:
            one(text, v="many", d="$v", nul="\0", url="http://example.org/a")
        assert str(error.value).startswith("Dockerfile:2: ") and told in str(error.value), text
