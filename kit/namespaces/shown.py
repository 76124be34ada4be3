"""Data that shows itself as a table."""

from __future__ import annotations

from typing import Any

from kit.show import Table


class Shown:
    """Base of results: in a terminal and in a notebook cell they look like their :meth:`table`."""

    def table(self) -> Table:
        """The data in rows."""
        raise NotImplementedError

    def __str__(self) -> str:
        return str(self.table())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return self.table()._repr_mimebundle_()
