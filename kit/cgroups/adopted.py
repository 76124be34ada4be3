"""A control group that another program has made and given away: see :meth:`kit.cgroups.Cgroup.give_away`."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from pathlib import Path

from kit.cgroups import hierarchy, placement
from kit.cgroups.group import Cgroup
from kit.cgroups.translation import Log
from kit.linux import cgroupfs


class Adopted(Cgroup):
    """The group at ``places``, as :meth:`Cgroup.places` told them. It stays until :meth:`close`."""

    def __init__(self, name: str, places: Mapping[str, tuple[int, str]]) -> None:
        self.name = self.path = name
        self.parent, self.children, self.written, self._started = None, [], Log(), []
        self._places = placement.Places({key: (one[0], Path(one[1])) for key, one in places.items()})
        self.controllers = tuple(key for key in places if key in hierarchy.CONTROLLERS)
        self._finalizer = weakref.finalize(self, lambda places: None, self._places)

    def close(self) -> None:
        """Kill what is inside, and remove it."""
        placement.kill(self._places)
        for directory in self.directories:
            cgroupfs.remove(str(directory))
