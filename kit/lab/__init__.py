"""Everything seen: stills, live views, sliders. The only part of the kit that draws.

It reads what the other rooms hand out and changes nothing, but for the sliders, which set the limits they are
bound to.
"""

from kit.lab.beside import side_by_side
from kit.lab.build import build
from kit.lab.cgroups import cgroup_tree
from kit.lab.costs import costs, starts
from kit.lab.exchanges import exchanges, watching
from kit.lab.explorer import explore
from kit.lab.found import found
from kit.lab.images import shared, sizes
from kit.lab.lifecycle import lifecycle
from kit.lab.limits import limits
from kit.lab.live import live
from kit.lab.namespaces import namespace_tree
from kit.lab.overlay import overlay
from kit.lab.picture import Picture
from kit.lab.plot import plot
from kit.lab.processes import process_tree
from kit.lab.progress import progress
from kit.lab.saved import saved
from kit.lab.stats import stats
from kit.lab.topology import topology
from kit.lab.transfer import pull, push
from kit.lab.wire import wire

__all__ = [
    "Picture",
    "build",
    "cgroup_tree",
    "costs",
    "exchanges",
    "explore",
    "found",
    "lifecycle",
    "limits",
    "live",
    "namespace_tree",
    "overlay",
    "plot",
    "process_tree",
    "progress",
    "pull",
    "push",
    "saved",
    "shared",
    "side_by_side",
    "sizes",
    "starts",
    "stats",
    "topology",
    "watching",
    "wire",
]
