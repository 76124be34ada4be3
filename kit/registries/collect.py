"""Making room in a registry while it serves: what no manifest needs, and uploads that nobody ends.

A blob is pushed before the manifest that names it. So what came, was mounted or asked for within the last
hour stays, needed or not: the time stands on the repository's link. See the OCI distribution-spec, "Push".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from kit.images import gc
from kit.images.gc import Collected
from kit.images.store import Store

HOUR, DAY = 3600.0, 86400.0  # seconds
_TRIES, _PAUSE = 50, 0.05  # a push holds the store only while it ends

T = TypeVar("T")


def collect(store: Store, younger: float = HOUR, abandoned: float = DAY) -> Collected:
    """Remove blobs that no manifest needs and that are not ``younger`` (seconds), and ``abandoned`` uploads.

    Raises as :func:`kit.images.gc.collect`; StoreBusy where a push always holds the store.
    """
    now = time.time()
    for upload in (store.directory / "repositories").glob("**/_uploads/*"):
        if now - upload.stat().st_mtime > abandoned:
            upload.unlink(missing_ok=True)
    young = {digest for digest, link in _links(store) if now - link.stat().st_mtime < younger}
    found = _patiently(lambda: gc.collect(store, among=[one for one in store.digests() if one not in young]))
    _patiently(lambda: _forget(store))
    return found


def _links(store: Store) -> Iterator[tuple[str, Path]]:
    for link in (store.directory / "repositories").glob("**/_blobs/*/*"):
        yield f"{link.parent.name}:{link.name}", link


def _forget(store: Store) -> None:
    """Remove links to what is not there, when no push is between a link and its blob."""
    with store.collecting():
        for digest, link in _links(store):
            if not store.has(digest):
                link.unlink()


def _patiently(act: Callable[[], T]) -> T:
    for _ in range(_TRIES):
        try:
            return act()
        except BlockingIOError:
            time.sleep(_PAUSE)
    return act()
