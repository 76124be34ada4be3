"""The instructions that change no file: what each writes into the image's configuration.

See the OCI image-spec, config.md, and for Healthcheck, OnBuild and Shell Docker's image specification v1.2,
whose keys every tool passes on.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from kit.images import documents
from kit.images.build.check import nanoseconds
from kit.images.build.instruction import Instruction
from kit.images.documents import Document

SHELL = ("/bin/sh", "-c")
_HEALTH = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
    "retries": "Retries",
}


def environment(config: Document) -> dict[str, str]:
    """What the image gives to its programs."""
    return dict(one.partition("=")[::2] for one in config.get("Env") or ())


def command(config: Document, one: Instruction) -> list[str]:
    """The words of a RUN, CMD or ENTRYPOINT; its shell form is for the image's shell."""
    return list(one.words) if one.exec_form else [*(config.get("Shell") or SHELL), one.value]


def directory(config: Document, path: str) -> str:
    """An absolute path from one that an instruction names, which may start from the image's WorkingDir."""
    whole = posixpath.normpath(posixpath.join("/", config.get("WorkingDir") or "/", path))
    return "/" + whole.lstrip("/")  # "//" at the beginning means something to POSIX, and nothing here


def created_by(config: Document, one: Instruction, args: Mapping[str, str]) -> str:
    """How the image's history tells of an instruction, in BuildKit's way; a RUN sees ``args``."""
    words = list(one.words)
    match one.name:
        case "RUN":
            told = [f"|{len(args)}", *(f"{name}={text}" for name, text in args.items())] if args else []
            return " ".join(["RUN", *told, *command(config, one)])
        case "WORKDIR":
            words = [directory(config, words[0])]
        case "CMD" | "ENTRYPOINT":
            words = [documents.encode(command(config, one)).decode()]
        case "SHELL":
            words = [documents.encode(words).decode()]
        case "HEALTHCHECK" | "ONBUILD":
            words = [one.value]
    return " ".join([one.name, *(f"--{name}={text}" for name, text in one.flags.items()), *words])


def configure(config: Document, one: Instruction) -> None:
    """Note an instruction, its variables replaced, in the image's configuration."""
    words = list(one.words)
    pairs = dict(word.partition("=")[::2] for word in words)
    names: Document = {word: {} for word in words}
    match one.name:
        case "ENV":
            config["Env"] = [f"{name}={value}" for name, value in {**environment(config), **pairs}.items()]
        case "LABEL":
            config["Labels"] = {**(config.get("Labels") or {}), **pairs}
        case "EXPOSE":
            config["ExposedPorts"] = {**(config.get("ExposedPorts") or {}), **names}
        case "VOLUME":
            config["Volumes"] = {**(config.get("Volumes") or {}), **names}
        case "CMD":
            config["Cmd"] = command(config, one)
        case "ENTRYPOINT":
            config["Entrypoint"] = command(config, one)
        case "USER":
            config["User"] = words[0]
        case "WORKDIR":
            config["WorkingDir"] = directory(config, words[0])
        case "STOPSIGNAL":
            config["StopSignal"] = words[0]
        case "SHELL":
            config["Shell"] = words
        case "ONBUILD":
            config["OnBuild"] = [*(config.get("OnBuild") or ()), words[0]]
        case "HEALTHCHECK":
            flags = {
                _HEALTH[flag]: int(text) if flag == "retries" else nanoseconds(text)
                for flag, text in one.flags.items()
            }
            config["Healthcheck"] = {"Test": words, **flags}
