"""A registry: the OCI distribution-spec 1.1, served over HTTP from a store of chapter 05.

with serve(directory) as registry:
    registry.address, registry.log
"""

from kit.registries.server.registry import Registry, put_base_images, serve

__all__ = ["Registry", "put_base_images", "serve"]
