"""What can be wrong with a container's configuration."""

from __future__ import annotations

from collections.abc import Mapping


class BadConfig(ValueError):
    """A configuration that was refused before anything was made; it says what and why."""


def known(document: Mapping[str, object], keys: str, where: str) -> None:
    """Raise :class:`BadConfig` for a value under none of ``keys``: nothing is ignored silently."""
    for key, value in document.items():
        if key not in keys.split() and value not in (None, False, 0, "", [], {}):
            raise BadConfig(f"{where}.{key} is not supported; supported are {', '.join(keys.split())}")
