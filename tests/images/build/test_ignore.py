"""Patterns of .dockerignore as Docker reads them; its own Python library is asked where it is right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kit.images.build.errors import BadDockerfile
from kit.images.build.ignore import Ignore
from kit.images.build.pattern import expression, has_wildcard, unescaped

PATHS = """a b.md c.txt README.md readme.md sub/a sub/b.md sub/deep/a sub/deep/b.md sub/deep/er/a
    docs/README.md docs/x.md temp tempa temp1/a somedir/temporary.txt somedir/sub/temporary.txt
    node_modules/x/y lib/node_modules/x/y lib/node_modules/keep .git/config .dockerignore D""".split()

CASES = {
    "*.md": "b.md README.md readme.md",
    "*.md\n!README.md": "b.md readme.md",
    "*/temp*": "somedir/temporary.txt",
    "*/*/temp*": "somedir/sub/temporary.txt",
    "temp?": "tempa temp1/a",
    "**/*.md": "b.md README.md readme.md sub/b.md sub/deep/b.md docs/README.md docs/x.md",
    "**/*.md\n!docs/**": "b.md README.md readme.md sub/b.md sub/deep/b.md",
    "sub": "sub/a sub/b.md sub/deep/a sub/deep/b.md sub/deep/er/a",
    "sub/": "sub/a sub/b.md sub/deep/a sub/deep/b.md sub/deep/er/a",
    "/sub": "sub/a sub/b.md sub/deep/a sub/deep/b.md sub/deep/er/a",
    "./sub/../sub//deep/": "sub/deep/a sub/deep/b.md sub/deep/er/a",
    "sub/**": "sub/a sub/b.md sub/deep/a sub/deep/b.md sub/deep/er/a",
    "sub/**/a": "sub/a sub/deep/a sub/deep/er/a",
    "sub\n!sub/deep": "sub/a sub/b.md",
    "sub\n!sub/deep\nsub/deep/er": "sub/a sub/b.md sub/deep/er/a",
    "!sub/deep\nsub": "sub/a sub/b.md sub/deep/a sub/deep/b.md sub/deep/er/a",
    "a": "a",
    "**/a": "a sub/a sub/deep/a sub/deep/er/a temp1/a",
    "# a\n\n  b.md  \n#": "b.md",
    "/../a": "a",
    "**": " ".join(PATHS),
    "*": " ".join(PATHS),
    "*\n!a\n!sub": " ".join(path for path in PATHS if path != "a" and not path.startswith("sub/")),
    "[bc].*": "b.md c.txt",
    ".git": ".git/config",
    "D*\n.dockerignore": ".dockerignore D",
    "**/node_modules": "node_modules/x/y lib/node_modules/x/y lib/node_modules/keep",
}

#: Where the docker package's matcher is not Docker's: case of letters, negation of a set, escapes, "..", and
#: what lies deeper than a pattern with ** when something there is excepted.
ONLY_DOCKER = {
    "readme.md": "readme.md",
    "[^b]": "a D",
    "\\a": "a",
    ".\n..\n../a": "",
    "../../a": "",
    "**/node_modules\n!lib/node_modules/keep": "node_modules/x/y lib/node_modules/x/y",
}


def test_patterns() -> None:
    for text, expected in {**CASES, **ONLY_DOCKER}.items():
        ignore = Ignore.parse(text.encode())
        assert [path for path in PATHS if ignore.ignores(path)] == expected.split(), text


def test_the_library_says_the_same() -> None:
    from docker.utils.build import PatternMatcher

    for text in CASES:
        if "README" in text or "readme" in text or "dockerignore" in text or "#" in text:
            continue  # it takes small letters for capitals, and reads no file
        ignore, theirs = Ignore.parse(text.encode()), PatternMatcher(text.split("\n"))
        for path in PATHS:
            parents = ["/".join(path.split("/")[: n + 1]) for n in range(path.count("/") + 1)]
            if path != ".dockerignore" and not ignore.has_exceptions:
                assert ignore.ignores(path) == any(map(theirs.matches, parents)), (text, path)


@pytest.mark.parametrize(
    "data, told",
    [
        (b"a\n!", "'!' excepts nothing"),
        (b"a\n[b", "a '[' without its ']'"),
        (b"a\nb\\", "nothing follows the last"),
        (b"a\n[c-a]", "bad character range c-a"),
        (b"a\n\xff", "'utf-8' codec can't decode"),
    ],
)
def test_patterns_that_are_refused(data: bytes, told: str) -> None:
    with pytest.raises(BadDockerfile) as error:
        Ignore.parse(data, "web.dockerignore")
    assert str(error.value).startswith("web.dockerignore:2: no pattern: ") and told in str(error.value)


def test_the_dockerfiles_own_file_counts_before_the_contexts(tmp_path: Path) -> None:
    assert Ignore.read(tmp_path) == Ignore()
    (tmp_path / ".dockerignore").write_bytes(b"\xef\xbb\xbfa\r\n")
    assert Ignore.read(tmp_path).ignores("a")
    (tmp_path / "web.dockerignore").write_text("b")
    ignore = Ignore.read(tmp_path, tmp_path / "web")
    assert [ignore.ignores(path) for path in "ab"] == [False, True]
    assert Ignore.read(tmp_path, tmp_path / "other").ignores("a")
    (tmp_path / ".dockerignore").write_bytes(b"a\n" * (1 << 20))
    with pytest.raises(BadDockerfile, match="bytes of patterns"):
        Ignore.read(tmp_path)


def test_names_as_go_matches_them() -> None:
    for pattern, yes, no in [
        ("*", "a .a ab", "a/b"),
        ("a*b", "ab axxb", "a/b abc"),
        ("a**b", "ab axxb", "a/b"),
        ("?", "a .", "ab /"),
        ("[a-c]x", "ax cx", "dx x"),
        ("[^a-c]x", "dx", "ax /x"),
        ("[a\\]]", "a ]", "b"),
        ("[a\\-z]", "a - z", "b"),
        ("[]a]".replace("]a", "\\]a"), "] a", "b"),
        ("\\*", "*", "a"),
        ("a.b", "a.b", "axb"),
    ]:
        match = re.compile(expression(pattern), re.DOTALL).fullmatch
        assert all(match(name) for name in yes.split()), pattern
        assert not any(match(name) for name in no.split()), pattern
    assert has_wildcard("a[b") and not has_wildcard("a\\[b\\*") and unescaped("a\\[b\\\\") == "a[b\\"
