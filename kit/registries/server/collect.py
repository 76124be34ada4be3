"""Making room in a registry while it serves: what no manifest needs, and uploads that nobody ends.

A blob is pushed before the manifest that names it. So what came, was mounted or asked for within the last
hour stays, needed or not: the time stands on the repository's link. See the OCI distribution-spec, "Push".
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from kit.images import gc
from kit.images.errors import StoreBusy
from kit.images.gc import Collected
from kit.images.store import Store

HOUR, DAY = 3600.0, 86400.0  # seconds
_TRIES, _PAUSE = 50, 0.05  # a push holds the store only while it ends


def collect(store: Store, younger: float = HOUR, abandoned: float = DAY) -> Collected:
    """Remove blobs that no manifest needs and that are not ``younger`` (seconds), and ``abandoned`` uploads.

    Raises as :func:`kit.images.gc.collect`; StoreBusy where pushes hold the store all the time.
    """
    for _ in range(_TRIES):
        try:
            with store.collecting():  # no push is between a blob, its link and its manifest now
                return _collect(store, younger, abandoned)
        except BlockingIOError:
            time.sleep(_PAUSE)
    raise StoreBusy("something is always being pushed", store.directory, "Collect again later.")


def _collect(store: Store, younger: float, abandoned: float) -> Collected:
    now = time.time()
    for upload in (store.directory / "repositories").glob("**/_uploads/*"):
        if now - upload.stat().st_mtime > abandoned:
            upload.unlink()
    young = {digest for digest, link in _links(store) if now - link.stat().st_mtime < younger}
    found = gc.sweep(store, among=set(store.digests()) - young)
    for digest, link in _links(store):
        if not store.has(digest):
            link.unlink()
    return found


def _links(store: Store) -> Iterator[tuple[str, Path]]:
    for link in (store.directory / "repositories").glob("**/_blobs/*/*"):
        yield f"{link.parent.name}:{link.name}", link
