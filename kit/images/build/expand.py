"""Words, quotes and variables in a Dockerfile's instructions.

See the Dockerfile reference, "Environment replacement". What a shell in the container expands is no concern
of this: RUN, CMD, ENTRYPOINT, SHELL and HEALTHCHECK stay as they are written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from kit.images.build.errors import BadDockerfile

LONGEST = 1 << 17  # bytes of one argument that execve(2) takes (MAX_ARG_STRLEN): no longer text is of use
DEPTH = 20  # defaults of variables within defaults
_NAME = re.compile(r"[0-9]+|[@*#?$!-]|[^\W\d]\w*|_\w*")  # Docker takes the shell's special ones for names too


def split(text: str, escape: str = "\\") -> list[str]:
    """The words of ``text``, quotes and escapes left in; white space within those parts no words."""
    words, word, quote, at = [], "", "", 0
    while at < len(text):
        char = text[at]
        if char == escape and quote != "'":
            char = text[at : at + 2] if at + 1 < len(text) else ""  # one at the very end is dropped
            at += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char.isspace():
            words.append(word)
            char, word = "", ""
        word += char
        at += 1
    return [word for word in [*words, word] if word]


def expand(text: str, variables: Mapping[str, str], escape: str = "\\", where: str = "") -> str:
    """``text`` with its variables replaced and its quotes and escapes taken away.

    $NAME and ${NAME} are the value, or nothing; ${NAME:-word} is ``word`` where the value is unset or empty,
    ${NAME:+word} is ``word`` where it is neither; without the colon only unset counts. Nothing is replaced
    between single quotes, nor after the escape character. Raises BadDockerfile: another form, a quote or
    brace left open, a result longer than execve(2) takes.
    """
    return _Expansion(text, variables, escape, where).until("")


class _Expansion:
    """One pass over a text, from left to right."""

    def __init__(self, text: str, variables: Mapping[str, str], escape: str, where: str) -> None:
        self.text, self.variables, self.escape, self.where = text, variables, escape, where
        self.at = self.depth = 0

    def refuse(self, what: str, remedy: str = "") -> BadDockerfile:
        return BadDockerfile(f"{what} in {self.text!r:.200}", self.where, remedy)

    def next(self) -> str:
        """The next character; "" at the end."""
        char = self.text[self.at : self.at + 1]
        self.at += 1
        return char

    def until(self, end: str) -> str:
        """What comes before ``end``, which is passed over: a double quote, a brace, or "" for all."""
        done, quoted = "", end == '"'
        while (char := self.next()) != end:
            if not char:
                opened = "a double quote" if quoted else "'${'"
                raise self.refuse(f"{opened} without its other one")
            if char == "$":
                char = self.variable()
            elif char == self.escape:
                if not quoted or self.text[self.at : self.at + 1] in ('"', "$", self.escape):
                    char = self.next()
            elif char == '"' and not quoted:
                char = self.until('"')
            elif char == "'" and not quoted:
                char = self.single_quoted()
            done += char
            if len(done) > LONGEST:
                what = f"more than {LONGEST} bytes when the variables are replaced"
                raise BadDockerfile(what, self.where, "The kernel passes no longer argument (execve(2)).")
        return done

    def single_quoted(self) -> str:
        end = self.text.find("'", self.at)
        if end < 0:
            raise self.refuse("a single quote without its other one")
        start, self.at = self.at, end + 1
        return self.text[start:end]

    def variable(self) -> str:
        """The value of what follows a ``$``."""
        brace = self.text[self.at : self.at + 1] == "{"
        found = _NAME.match(self.text, self.at + brace)
        if not found:
            if brace:
                raise self.refuse("'${' without the name of a variable")
            return "$"
        self.at, name = found.end(), found[0]
        value = self.variables.get(name)
        form = self.next() if brace else "}"
        if form == "}":
            return value or ""
        if form == ":":
            value, form = value or None, form + self.next()
        if form[-1:] not in ("-", "+"):
            what = f"'${{{name}{form}' begins a form that the kit does not have"
            raise self.refuse(what, "There are ${NAME}, ${NAME:-word} and ${NAME:+word}.")
        self.depth += 1
        if self.depth > DEPTH:
            raise self.refuse(f"more than {DEPTH} variables within variables")
        word = self.until("}")
        self.depth -= 1
        if form[-1] == "-":
            return word if value is None else value
        return "" if value is None else word
