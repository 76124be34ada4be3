"""The wire view: what a client and the engine say to each other, as it happens.

Each request is an arrow to the engine, its answer one back. An answer that is a stream goes on while others
are asked, and a connection that was taken over is no longer HTTP's: bytes go both ways.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kit.lab.exchanges import Exchanges

if TYPE_CHECKING:
    from kit.engine import Engine


@contextmanager
def wire(engine: Engine, title: str = "over the wire") -> Iterator[Exchanges]:
    """Draw each request that an engine gets within the ``with`` block, and its answer, as they come.

        with lab.wire(engine):
            subprocess.run(["docker", "run", "--rm", "busybox", "true"])

    A row has the method and the path (of an id the first 12 digits), the status, what kind of answer it is,
    the seconds since the block began, and the bodies, or their beginnings, to be opened. The view that
    stays, ``[exchanges] TITLE``, has ``requests``. Outside of a notebook they are printed at the end.
    """
    raise NotImplementedError
    yield
