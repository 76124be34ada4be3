"""Chapter 07: a registry, and a client of registries. See the OCI distribution-spec 1.1.

``pull`` and ``push`` move images between a registry and a store of chapter 05, ``tags`` lists what a
repository has, and a ``Client`` makes single requests, each of which shows itself.
"""

from kit.registries.client import Client
from kit.registries.exchange import Exchange
from kit.registries.pull import pull, tags
from kit.registries.push import push

__all__ = ["Client", "Exchange", "pull", "push", "tags"]
