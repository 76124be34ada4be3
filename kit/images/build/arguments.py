"""ARG: the variables of a build, which are there while it runs and are not kept in the image.

See the Dockerfile reference, "ARG". An ARG before the first FROM counts in FROM lines alone, until a stage
says ARG with its name again. A value given with --build-arg goes before the default in the Dockerfile.
"""

from __future__ import annotations

from collections.abc import Mapping

from kit.images.build.dockerfile import Dockerfile
from kit.images.build.instruction import Instruction, expanded
from kit.images.descriptor import Platform

#: Known without an ARG: a RUN sees them when they are given, and they make no difference to the cache.
PROXIES = {
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
}


class Arguments:
    """The values given for a build, and those of the ARGs before the first FROM (``before_from``)."""

    def __init__(self, dockerfile: Dockerfile, given: Mapping[str, str]) -> None:
        self.given = dict(given)
        here = Platform.here()
        parts = {"PLATFORM": str(here), "OS": here.os, "ARCH": here.architecture, "VARIANT": here.variant}
        self._platform = {f"{side}{key}": text for side in ("BUILD", "TARGET") for key, text in parts.items()}
        self.before_from = dict(self._platform)
        for one in dockerfile.args:
            whole = expanded(one, self.before_from, dockerfile.escape)
            self.before_from |= self._values(whole, self._platform)

    def declared(self, one: Instruction) -> dict[str, str]:
        """What an ARG in a stage, its variables replaced, brings into scope; one without a value brings
        nothing.
        """
        return self._values(one, self.before_from)

    def _values(self, one: Instruction, otherwise: Mapping[str, str]) -> dict[str, str]:
        values = {}
        for word in one.words:
            name, equals, default = word.partition("=")
            if name in self.given:
                values[name] = self.given[name]
            elif equals:
                values[name] = default
            elif name in otherwise:
                values[name] = otherwise[name]
        return values

    def proxies(self) -> dict[str, str]:
        """Those of the proxy variables that were given."""
        return {name: text for name, text in self.given.items() if name in PROXIES}
