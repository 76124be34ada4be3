"""One request and its answer, as they went over the wire. See RFC 9110, and the OCI distribution-spec."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from html import escape
from typing import Any

from kit.images import documents
from kit.show import Card, measured, size

_SHOWN = 2000  # characters of a body


@dataclass(eq=False)
class Exchange:
    """``sent`` are the request's headers, without secrets; ``headers`` the answer's, found in any case.

    ``body`` is the answer's, up to 4 MiB; ``whole`` says whether that is all of it. ``seconds`` passed from
    the request to the answer's headers.
    """

    method: str
    url: str
    sent: Mapping[str, str] = field(repr=False)
    status: int
    reason: str
    headers: Message = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    whole: bool = True
    seconds: float = field(default=0.0, repr=False)

    def __post_init__(self) -> None:
        self.sent = {
            name: f"{value.partition(' ')[0]} …" if name.lower() == "authorization" else value
            for name, value in self.sent.items()
        }

    def json(self) -> Any:
        """The body, parsed; raises :class:`BadManifest` where it is no JSON."""
        return documents.parse_any(self.body, self.url)

    def __str__(self) -> str:
        lines = [f"> {self.method} {self.url}", *(f"> {name}: {value}" for name, value in self.sent.items())]
        lines += [f"< {self.status} {self.reason}"]
        lines += [f"< {name}: {value}" for name, value in self.headers.items()]
        if self.body:
            lines += ["", *self._body()]
        return "\n".join(map(plain, lines))

    def _body(self) -> list[str]:
        try:
            text = json.dumps(json.loads(self.body), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            if b"\0" in self.body[:_SHOWN]:
                return [f"({size(len(self.body))} of binary content{'' if self.whole else ', and more'})"]
            text = self.body.decode(errors="replace")
        return (text if self.whole and len(text) <= _SHOWN else f"{text[:_SHOWN]}…").splitlines()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        title = f"{self.method} → {self.status} {plain(self.reason)}"  # no name: any run repeats it
        return Card(title, f"<pre>{measured(escape(str(self)))}</pre>", str(self))._repr_mimebundle_()


def plain(text: object) -> str:
    """A stranger's text, so that a terminal shows it and does nothing else."""
    return "".join(one if one.isprintable() else "�" for one in str(text))
