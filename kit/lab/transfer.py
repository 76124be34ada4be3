"""An image on its way from or to a registry, in a notebook: a bar for each blob, in a table that stays.

The transfer itself runs in the cell; :mod:`kit.lab.following` draws what the events have told.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from html import escape
from typing import Any

from IPython.core.getipython import get_ipython

from kit import registries
from kit.images.descriptor import Descriptor
from kit.images.errors import ImageError
from kit.images.image import Image
from kit.images.reference import Reference
from kit.images.store import Store
from kit.lab.following import following
from kit.lab.rows import row, table
from kit.lab.tree import count
from kit.registries.progress import Event, Printer
from kit.show import size

# How a blob's state looks; see build.css.
_LOOKS = {
    "transferring": "running", "transferred": "done", "there already": "cached", "mounted": "mounted",
    "trying again": "failed",
}  # fmt: skip
_ENDS = ("transferred", "there already", "mounted")


class TransferView:
    """What a transfer's events told, as HTML; give it to a pull or a push as its ``progress``."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._began, self._took = time.monotonic(), 0.0
        self._blobs: dict[str, Event] = {}  # what was last heard of each digest
        self._names: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        self._blobs[event.digest] = event

    def name(self, image: Image) -> None:
        """Say which blob is which part of the image."""
        for number, layer in enumerate(image.layers, 1):
            self._names.setdefault(layer.digest, f"layer {number}")
        self._names[image.config_descriptor.digest] = "configuration"

    def end(self) -> None:
        """The transfer is over, however it went."""
        self._took = time.monotonic() - self._began

    def html(self) -> str:
        """The transfer as a table."""
        blobs = list(self._blobs.values())  # the transfer goes on in other threads
        states = [one.state for one in blobs]
        moved = sum(one.done for one in blobs if one.state not in ("there already", "mounted"))
        parts = [f"{size(moved)} of {size(sum(one.total for one in blobs))} transferred"]
        parts += [f"{states.count(one)} {one}" for one in ("there already", "mounted") if one in states]
        seconds = self._took or time.monotonic() - self._began
        parts.append(f"{'in' if self._took else 'for'} {seconds:.1f} s")
        said = f"{count(len(blobs), 'blob')}: {', '.join(parts)}"
        body = "".join(map(self._row, blobs))
        return table("build.css", "kit-build kit-transfer", self.title, said, body)

    def _row(self, blob: Event) -> str:
        share = 100 * blob.done / max(1, blob.total)
        look, said = _LOOKS.get(blob.state, "waiting"), str(blob.state)
        if self._took and blob.state not in _ENDS:
            look, said = "failed", "✗ stopped"
        elif blob.state == "transferring":
            said = f"{share:.0f} %"
        bar = f'<span class="kit-time" aria-hidden="true"><i style="width:{share:.0f}%"></i></span>'
        cells = {
            "text": f"<code>{escape(blob.digest.partition(':')[2][:12])}</code>",
            "name": self._names.get(blob.digest, ""),
            "bar": "" if look in ("cached", "mounted") else bar,
            "outcome": f'<span class="kit-state">{said}</span>',
            "size": size(blob.total),
        }
        return row(look, cells)


def pull(store: Store, name: str, **options: Any) -> Image:
    """Pull an image and show how it goes, a bar for each blob; what is there already is not fetched.

    ``options`` are those of :func:`kit.registries.pull.pull`, such as ``mirrors=[hub.url]``, and it raises
    what that does. Outside of a notebook it prints what `kit pull` does.
    """
    return _shown("pull", store, name, options)  # type: ignore[no-any-return]


def push(store: Store, name: str, **options: Any) -> Descriptor:
    """Push an image and show how it goes, a bar for each blob; what is there already is not sent.

    As :func:`pull`, with the options of :func:`kit.registries.push.push`.
    """
    return _shown("push", store, name, options)  # type: ignore[no-any-return]


def _shown(verb: Any, store: Store, name: str, options: dict[str, Any]) -> Any:
    move, reference = getattr(registries, verb), Reference.parse(name)
    if get_ipython() is None:
        return move(store, name, progress=Printer(sys.stdout, verb.capitalize()), **options)
    view = TransferView(f"{verb} of {reference.familiar()}")
    # A registry's port, and a digest, may be others the next time.
    plain = f"[{verb}] {reference.repository}"
    with following(lambda: {"text/plain": plain, "text/html": view.html()}):
        try:
            found = move(store, name, progress=view, **options)
            with suppress(ImageError):  # an artifact, or images for other machines: their blobs have no names
                view.name(found if verb == "pull" else Image.of(store, found, options.get("platform")))
        finally:
            view.end()
    return found
