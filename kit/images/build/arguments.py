"""ARG: the variables of a build, which are there while it runs and are not kept in the image.

See the Dockerfile reference, "ARG". An ARG before the first FROM counts in FROM lines alone, until a stage
says ARG with its name again. A value given with --build-arg goes before the default in the Dockerfile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kit.images.build.dockerfile import Dockerfile
from kit.images.build.instruction import Instruction, expanded
from kit.images.descriptor import Platform

#: Known without an ARG: a RUN sees them when they are given, and they make no difference to the cache.
PROXIES = {
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
}


def before_from(dockerfile: Dockerfile, given: Mapping[str, str]) -> dict[str, str]:
    """The variables that FROM lines see: those of the platform, and of the ARGs before the first FROM."""
    here = Platform.here()
    parts = {"PLATFORM": str(here), "OS": here.os, "ARCH": here.architecture, "VARIANT": here.variant}
    values = {f"{side}{key}": text for side in ("BUILD", "TARGET") for key, text in parts.items()}
    for one in dockerfile.args:
        values |= declared(expanded(one, values, dockerfile.escape), given, values)
    return values


def declared(one: Instruction, given: Mapping[str, str], otherwise: Mapping[str, str]) -> dict[str, str]:
    """What an ARG brings into scope: the value given, its default, or that of ``otherwise``, or nothing."""
    values = {}
    for word in one.words:
        name, equals, default = word.partition("=")
        if name in given:
            values[name] = given[name]
        elif equals:
            values[name] = default
        elif name in otherwise:
            values[name] = otherwise[name]
    return values


def unused(given: Mapping[str, str], instructions: Iterable[Instruction]) -> list[str]:
    """The values given that no ARG takes."""
    taken = {word.partition("=")[0] for one in instructions if one.name == "ARG" for word in one.words}
    return sorted(given.keys() - taken - PROXIES)
