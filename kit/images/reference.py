"""The name of an image: registry, repository, tag, digest. See the OCI distribution-spec, "Pull".

    busybox                                    docker.io/library/busybox:latest
    ghcr.io/someone/thing:1.2                  as it stands
    localhost:5000/thing@sha256:9f86d0…        exactly these bytes, whatever a tag says

What is left out is filled in as Docker does it; the grammar is that of the Go module distribution/reference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kit.images.descriptor import check_digest
from kit.images.errors import BadDescriptor, BadReference

HUB = "docker.io"
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
    r"|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?"
)
_PART = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_LONGEST = 255  # characters of registry and repository together


@dataclass(frozen=True)
class Reference:
    """``str()`` gives the whole name; ``tag`` is "" where only a digest was given, ``digest`` "" without."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """From what a person types; raises :class:`BadReference` with the part that is wrong, and why."""
        if not text:
            remedy = "One is 'busybox' or 'ghcr.io/someone/thing:1.2'."
            raise BadReference("an image needs a name", remedy=remedy)
        name, at, digest = text.partition("@")
        if at:
            try:
                check_digest(digest)
            except BadDescriptor as error:
                raise BadReference(f"after @: {error.what}", text, error.remedy) from None
        path, slash, last = name.rpartition("/")
        last, colon, tag = last.partition(":")
        if colon and not _TAG.fullmatch(tag):
            remedy = "It has up to 128 letters, digits, '_', '.' and '-', the last two not at its beginning."
            raise BadReference(f"the tag {tag!r:.150} is not possible", text, remedy)
        registry, repository = _split(path + slash + last, text)
        return cls(registry, repository, tag or ("" if digest else "latest"), digest)

    def familiar(self) -> str:
        """As Docker shows it: without what it would fill in, though with the tag."""
        if self.registry != HUB:
            return str(self)
        short = self.repository.removeprefix("library/")
        return (self.repository if "/" in short else short) + self._end()

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}{self._end()}"

    def _end(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def _split(name: str, text: str) -> tuple[str, str]:
    """Registry and repository: a first part with '.', ':' or capitals is a host, as is localhost."""
    first, slash, rest = name.partition("/")
    is_host = slash and (first == "localhost" or first != first.lower() or any(c in first for c in ".:["))
    registry, repository = (first, rest) if is_host else (HUB, name)
    if not _HOST.fullmatch(registry):
        raise BadReference(f"{registry!r} is no host name of a registry", text)
    if registry == f"index.{HUB}":
        registry = HUB
    if registry == HUB and "/" not in repository:
        if re.fullmatch("[0-9a-f]{64}", repository):
            raise BadReference("64 hexadecimal digits are an image's id, not its name", text)
        repository = f"library/{repository}"
    for part in repository.removeprefix("library/").split("/"):
        if not _PART.fullmatch(part):
            raise BadReference(_reason(part), text)
    if len(registry) + 1 + len(repository) > _LONGEST:
        raise BadReference(f"a name has at most {_LONGEST} characters before its tag", f"{text:.60}…")
    return registry, repository


def _reason(part: str) -> str:
    if not part:
        return "the repository's name, or a part of it, is empty"
    if part.lower() != part:
        return f"{part!r:.100} has capitals; a repository's name is in lower case: {part.lower()!r:.100}"
    return f"{part!r:.100} must be lower case letters and digits, with '.', '_', '__' or '-' between them"
