"""Chapter 03: processes that see a world of their own. See namespaces(7).

``start`` and ``run`` make a process in new namespaces, ``inside`` goes where one is, ``inside_outside``
shows both sides at once, ``of``, ``members`` and ``tree`` list what exists, ``Root`` is a root directory to
pivot into, and ``Host``, ``Bridge``, ``connect`` and ``topology`` build networks. Each name's file holds
one idea and is meant to be opened.
"""

from kit.linux.spawn import Mount, Process, Result
from kit.namespaces.inside import Inside, inside
from kit.namespaces.members import Member, Members, Membership, members, of
from kit.namespaces.model import Interface, Link, Namespace, NamespaceTree, Node, Topology
from kit.namespaces.network import Bridge, Host, connect
from kit.namespaces.ping import Ping, ping
from kit.namespaces.process import run, start
from kit.namespaces.root import Root
from kit.namespaces.sides import compare, inside_outside
from kit.namespaces.topology import topology
from kit.namespaces.tree import tree
from kit.namespaces.until import until

__all__ = [
    "Bridge", "Host", "Inside", "Interface", "Link", "Member", "Members", "Membership", "Mount", "Namespace",
    "NamespaceTree", "Node", "Ping", "Process", "Result", "Root", "Topology", "compare", "connect", "inside",
    "inside_outside", "members", "of", "ping", "run", "start", "topology", "tree", "until",
]  # fmt: skip
