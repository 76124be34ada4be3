"""What is wrong with an instruction, found before anything runs. See the Dockerfile reference."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from kit.images.build.errors import BadDockerfile

if TYPE_CHECKING:
    from kit.images.build.instruction import Instruction

PAIRS = {"ARG", "ENV", "LABEL"}  # those of the form NAME=value
_REMOTE = re.compile(r"(https?|ftp|git|ssh)://|git@", re.IGNORECASE)
_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ns|us|µs|ms|s|m|h)")


def nanoseconds(text: str, where: str = "") -> int:
    """A duration as Go writes it ("1m30s", "500ms"), in nanoseconds. Raises BadDockerfile below 1 ms."""
    parts = _DURATION.findall(text)
    total = sum(int(float(number) * _UNITS[unit]) for number, unit in parts)
    if text == "0":
        return 0
    if "".join(number + unit for number, unit in parts) != text or not text or 0 < total < 10**6:
        raise BadDockerfile(
            f"{text!r:.100} is no duration of HEALTHCHECK", where, "One is 30s, 1m30s or 500ms, at least 1ms."
        )
    return total


def ports(text: str, where: str) -> list[str]:
    """8000-8001/udp is 8000/udp and 8001/udp. Raises BadDockerfile."""
    found = _PORT.fullmatch(text)
    first = int(found[1]) if found else 0
    last = int(found[2] or first) if found else 0
    if not found or not 1 <= first <= last <= 65535:
        raise BadDockerfile(
            f"EXPOSE {text:.100} is no port", where, "A port is 1 to 65535, such as 80, 53/udp or 8000-8010."
        )
    return [f"{port}/{(found[3] or 'tcp').lower()}" for port in range(first, last + 1)]


def check(one: Instruction, known: Sequence[str]) -> None:
    """Refuse what can't be carried out; ``known`` are the words that hold no variable any more."""
    name, words, flags = one.name, one.words, one.flags

    def refuse(what: str, remedy: str) -> NoReturn:
        raise BadDockerfile(what, one.where, remedy)

    if not words and name not in ("CMD", "ENTRYPOINT"):
        refuse(f"{name} says nothing: {one.value:.100}", f"Something must follow {name}.")
    if "" in known and name not in ("RUN", "CMD", "ENTRYPOINT", "SHELL", "HEALTHCHECK"):
        refuse(f"{name} with an empty word: {one.value:.100}", "Is a variable in it empty, or misspelt?")
    if any("\0" in word for word in known):
        refuse(f"{name} with a NUL byte", "No name and no value of the kernel's can hold one.")
    if name in ("ADD", "COPY"):
        _check_copy(one, known, refuse)
    elif name in PAIRS:
        for word in words:
            key, equals, _ = word.partition("=")
            if not key or not (equals or name == "ARG"):
                refuse(f"{name} {word:.100}: no name, or no value", f"Write {name} NAME=value.")
    elif name == "EXPOSE":
        for word in known:
            ports(word, one.where)
    elif name == "RUN" and flags.get("network", "none") not in ("none", "default", "host"):
        refuse(f"RUN --network={flags['network']:.100}", "It is none, default or host.")
    elif name == "SHELL" and not one.exec_form:
        refuse(f"SHELL {one.value:.100} is no JSON array", 'Write SHELL ["/bin/sh", "-c"].')
    elif name == "STOPSIGNAL" and known and not is_signal(known[0]):
        refuse(f"STOPSIGNAL {known[0]:.100} is no signal", "One is SIGTERM, TERM or 15, see signal(7).")
    elif name == "HEALTHCHECK":
        _check_health(one, refuse)


def _check_copy(one: Instruction, known: Sequence[str], refuse: Callable[[str, str], NoReturn]) -> None:
    if len(one.words) < 2:
        refuse(f"{one.name} with one word: {one.value:.100}", f"Write {one.name} SOURCE... DESTINATION.")
    *sources, destination = one.words
    if len(sources) > 1 and "$" not in destination and not destination.endswith(("/", ".", "/'", '/"')):
        refuse(
            f"{one.name} of several sources to {destination:.100}", "A directory holds them: end it with '/'."
        )
    for word in known if one.name == "ADD" else ():
        if _REMOTE.match(word):
            refuse(
                f"ADD from the network: {word:.100}",
                "The kit builds offline: fetch it into the context first, then ADD or COPY the file.",
            )
    if "$" in one.flags.get("from", ""):
        refuse(
            f"COPY --from={one.flags['from']:.100}: no variables there",
            "Write FROM with the variable, AS a name.",
        )
    mode = one.flags.get("chmod", "0755")
    if not re.fullmatch("[0-7]{3,4}", mode):
        refuse(f"{one.name} --chmod={mode:.40} is no mode in octal", "Write one like --chmod=0755.")


def _check_health(one: Instruction, refuse: Callable[[str, str], NoReturn]) -> None:
    kind, *command = one.words
    if kind == "NONE" and (command or one.flags):
        refuse("HEALTHCHECK NONE with something more", "NONE stands alone.")
    if kind not in ("CMD", "CMD-SHELL", "NONE") or (kind != "NONE" and not command):
        refuse(f"HEALTHCHECK {one.value:.100}", "Write HEALTHCHECK [--interval=30s] CMD command, or NONE.")
    for flag, text in one.flags.items():
        if flag != "retries":
            nanoseconds(text, one.where)
        elif not re.fullmatch("[0-9]{1,9}", text):
            refuse(f"HEALTHCHECK --retries={text:.40}", "A whole number, such as 3.")


def is_signal(text: str) -> bool:
    """Whether ``text`` is a signal of Linux, by number, by name, or by name without SIG; see signal(7)."""
    name = text.upper().removeprefix("SIG")
    known = set(signal.Signals.__members__)
    return f"SIG{name}" in known or bool(
        re.fullmatch(r"RTMIN\+([1-9]|1[0-5])|RTMAX-([1-9]|1[0-4])|[1-9]|[1-5][0-9]|6[0-4]", name)
    )
