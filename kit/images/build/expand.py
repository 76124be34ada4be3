"""Words, quotes and variables in a Dockerfile's instructions.

See the Dockerfile reference, "Environment replacement". What a shell in the container expands is no concern
of this: RUN, CMD, ENTRYPOINT, SHELL and HEALTHCHECK stay as they are written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

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
        """What comes before ``end``, which is passed over; "" is the end of the text."""
        special: dict[str, Callable[[], str]] = {
            "'": self.single_quoted,
            '"': self.double_quoted,
            "$": self.variable,
            self.escape: self.next,
        }
        done: list[str] = []
        size = 0
        while (char := self.next()) != end:
            if not char:
                raise self.refuse("'${' without its '}'")
            done.append(special[char]() if char in special else char)
            size += len(done[-1])
            if size > LONGEST:
                raise BadDockerfile(
                    f"more than {LONGEST} bytes when the variables are replaced",
                    self.where,
                    "The kernel passes no longer argument to a program (execve(2)).",
                )
        return "".join(done)

    def single_quoted(self) -> str:
        end = self.text.find("'", self.at)
        if end < 0:
            raise self.refuse("a single quote without its other one")
        start, self.at = self.at, end + 1
        return self.text[start:end]

    def double_quoted(self) -> str:
        done = ""
        while (char := self.next()) != '"':
            if not char:
                raise self.refuse("a double quote without its other one")
            if char == "$":
                char = self.variable()
            elif char == self.escape and self.text[self.at : self.at + 1] in ('"', "$", self.escape):
                char = self.next()
            done += char
            if len(done) > LONGEST:
                break  # until() refuses it
        return done

    def name(self) -> str:
        found = _NAME.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return found[0] if found else ""

    def variable(self) -> str:
        """The value of what follows a ``$``."""
        if self.text[self.at : self.at + 1] != "{":
            name = self.name()
            return self.variables.get(name, "") if name else "$"
        self.at += 1
        name = self.name()
        if not name:
            raise self.refuse("'${' without the name of a variable")
        value, form = self.variables.get(name), self.next()
        if form == "}":
            return value or ""
        if form == ":":
            value, form = value or None, form + self.next()
        if form[-1:] not in ("-", "+"):
            raise self.refuse(
                f"'${{{name}{form}' begins a form that the kit does not have" if form else "'${' without '}'",
                "There are ${NAME}, ${NAME:-word} and ${NAME:+word}.",
            )
        self.depth += 1
        if self.depth > DEPTH:
            raise self.refuse(f"more than {DEPTH} variables within variables")
        word = self.until("}")
        self.depth -= 1
        if form[-1] == "-":
            return word if value is None else value
        return "" if value is None else word
