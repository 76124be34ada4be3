"""Networks of containers: bridges, addresses, names, and ports of the machine that lead to them.

`Network.create` makes one, `connect` plugs a container in, `publish` leads a port of the machine to one. A
container with the host's network, none, or another container's needs nothing from here.
"""

from kit.containers.networks.network import Endpoint, Network
from kit.containers.networks.publish import Published, publish

__all__ = ["Endpoint", "Network", "Published", "publish"]
