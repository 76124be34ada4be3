"""Chapter 07: a registry, and a client of registries. See the OCI distribution-spec 1.1.

``serve`` starts a registry. ``pull`` and ``push`` move images between one and a store of chapter 05, ``tags``
lists what a repository has, and a ``Client`` makes single requests, each of which shows itself.
"""

from typing import TYPE_CHECKING, Any

from kit.registries.client import Client
from kit.registries.exchange import Exchange
from kit.registries.pull import pull, tags
from kit.registries.push import push

if TYPE_CHECKING:
    from kit.registries.server import Registry, serve

__all__ = ["Client", "Exchange", "Registry", "pull", "push", "serve", "tags"]


def __getattr__(name: str) -> Any:
    """The server, whose aiohttp a client need not load."""
    if name not in ("Registry", "serve"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kit.registries import server

    return getattr(server, name)
