"""What is wrong with an instruction: its form, and the values once they are known."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from kit.images.build.errors import BadDockerfile

if TYPE_CHECKING:
    from kit.images.build.instruction import Instruction

PAIRS = {"ARG", "ENV", "LABEL"}  # those of the form NAME=value
_REMOTE = re.compile(r"(https?|ftp|git|ssh)://|git@", re.IGNORECASE)
_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ns|us|µs|ms|s|m|h)")
_REAL_TIME = re.compile(r"RTMIN\+([1-9]|1[0-5])|RTMAX-([1-9]|1[0-4])|[1-9]|[1-5][0-9]|6[0-4]")


def check_form(one: Instruction) -> None:
    """Refuse words and flags that can mean nothing, whatever the variables in them are."""
    name, words, flags = one.name, one.words, one.flags
    wrong = remedy = ""
    if not one.value or (not words and name not in ("CMD", "ENTRYPOINT")):
        wrong, remedy = "says nothing", f"Something must follow {name}."
    elif name in ("ADD", "COPY") and len(words) < 2:
        wrong, remedy = f"with one word: {one.value:.100}", f"Write {name} SOURCE... DESTINATION."
    elif "$" in flags.get("from", ""):
        wrong, remedy = f"--from={flags['from']:.100}: no variables there", "FROM may have one."
    elif name in ("ADD", "COPY") and len(words) > 2 and not words[-1].endswith(("/", ".", "/'", '/"')):
        if "$" not in words[-1]:
            wrong, remedy = f"of several sources to {words[-1]:.100}", "Let the directory end with '/'."
    elif name in ("ENV", "LABEL") and (bad := [word for word in words if "=" not in word]):
        wrong, remedy = f"{bad[0]:.100}: no name, or no value", f"Write {name} NAME=value."
    elif name == "RUN" and flags.get("network", "none") not in ("none", "default", "host"):
        wrong, remedy = f"--network={flags['network']:.100}", "It is none, default or host."
    elif name == "SHELL" and not one.exec_form:
        wrong, remedy = f"{one.value:.100} is no JSON array", 'Write SHELL ["/bin/sh", "-c"].'
    elif name == "HEALTHCHECK":
        _check_health(one)
    if wrong:
        raise BadDockerfile(f"{name} {wrong}", one.where, remedy)


def check_values(one: Instruction) -> None:
    """Refuse words and flags that hold no variables any more."""
    name, wrong, remedy = one.name, "", ""
    for word in one.words:
        if not word:
            wrong, remedy = f"with an empty word: {one.value:.100}", "Is a variable empty, or misspelt?"
        elif "\0" in word:
            wrong, remedy = "with a NUL byte", "No name and no value of the kernel's can hold one."
        elif name in PAIRS and word.startswith("="):
            wrong, remedy = f"{word:.100}: no name", f"Write {name} NAME=value."
        elif name == "ADD" and _REMOTE.match(word):
            wrong, remedy = (
                f"from the network: {word:.100}",
                "Fetch it first, then COPY the file.",
            )
        elif name == "STOPSIGNAL" and not is_signal(word):
            wrong, remedy = f"{word:.100} is no signal", "One is SIGTERM, TERM or 15, see signal(7)."
        elif name == "EXPOSE":
            ports(word, one.where)
    mode = one.flags.get("chmod", "0755")
    if not re.fullmatch("[0-7]{3,4}", mode):
        wrong, remedy = f"--chmod={mode:.40} is no mode in octal", "Write one like --chmod=0755."
    if wrong:
        raise BadDockerfile(f"{name} {wrong}", one.where, remedy)


def _check_health(one: Instruction) -> None:
    kind, *command = one.words
    fits = not (command or one.flags) if kind == "NONE" else bool(command)
    if kind not in ("CMD", "CMD-SHELL", "NONE") or not fits:
        remedy = "Write HEALTHCHECK [--interval=30s] CMD command, or NONE and nothing more."
        raise BadDockerfile(f"HEALTHCHECK {one.value:.100}", one.where, remedy)
    for flag, text in one.flags.items():
        if flag != "retries":
            nanoseconds(text, one.where)
        elif not re.fullmatch("[0-9]{1,9}", text):
            raise BadDockerfile(f"HEALTHCHECK --retries={text:.40}", one.where, "A whole number, such as 3.")


def nanoseconds(text: str, where: str = "") -> int:
    """A duration as Go writes it ("1m30s", "500ms"), in nanoseconds. Raises BadDockerfile below 1 ms."""
    parts = _DURATION.findall(text)
    total = sum(int(float(number) * _UNITS[unit]) for number, unit in parts)
    if text != "0" and ("".join(number + unit for number, unit in parts) != text or 0 < total < 10**6):
        what = f"{text!r:.100} is no duration of HEALTHCHECK"
        raise BadDockerfile(what, where, "One is 30s, 1m30s or 500ms, at least 1ms.")
    return total


def ports(text: str, where: str) -> list[str]:
    """8000-8001/udp is 8000/udp and 8001/udp. Raises BadDockerfile."""
    found = _PORT.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not found or not 1 <= first <= last <= 65535:
        remedy = "A port is 1 to 65535, such as 80, 53/udp or 8000-8010."
        raise BadDockerfile(f"EXPOSE {text:.100} is no port", where, remedy)
    return [f"{port}/{(found[3] or 'tcp').lower()}" for port in range(first, last + 1)]


def is_signal(text: str) -> bool:
    """Whether ``text`` is a signal of Linux, by number, by name, or by name without SIG; see signal(7)."""
    name = text.upper().removeprefix("SIG")
    return f"SIG{name}" in signal.Signals.__members__ or bool(_REAL_TIME.fullmatch(name))
