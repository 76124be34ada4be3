"""An image on its way from or to a registry, in a notebook: a bar for each blob, in a table that stays.

The transfer itself runs in the cell; :mod:`kit.lab.following` draws what the events have told.
"""

from __future__ import annotations

import sys
import time
from html import escape
from typing import Any

from IPython.core.getipython import get_ipython

from kit import registries
from kit.images.descriptor import Descriptor
from kit.images.image import Image
from kit.images.reference import Reference
from kit.images.store import Store
from kit.lab.canvas import STATIC
from kit.lab.following import following
from kit.lab.tree import count
from kit.registries.progress import Event, Printer
from kit.show import measured, size

_LOOKS = {"transferred": "done", "there already": "cached", "mounted": "mounted", "trying again": "failed"}


class _Row:
    """One blob, as far as it has got."""

    def __init__(self) -> None:
        self.event, self.began, self.seconds, self.name = Event("", "waiting", 0, 0), 0.0, 0.0, ""

    def told(self, event: Event) -> None:
        """Take note of what happened to it."""
        if event.state != "waiting" and not self.began:
            self.began = time.monotonic()
        self.event, self.seconds = event, time.monotonic() - self.began

    def html(self, ended: bool) -> str:
        """A row of the table; ``ended``, so that nothing more will happen to it."""
        event, share = self.event, self.event.done / max(1, self.event.total)
        look, said = _LOOKS.get(event.state, "waiting"), str(event.state)
        if event.state == "transferred":
            said = f"✓ {self.seconds:.1f} s"
        elif event.state not in _LOOKS and ended:
            look, said = "failed", "✗ stopped"
        elif event.state == "transferring":
            look, said = "running", f"{100 * share:.0f} %"
        bar = f'<span class="kit-time" aria-hidden="true"><i style="width:{100 * share:.0f}%"></i></span>'
        cells = {
            "text": f"<code>{escape(event.digest.partition(':')[2][:12])}</code>",
            "name": self.name,
            "bar": "" if look in ("cached", "mounted") else bar,
            "outcome": f'<span class="kit-state">{said}</span>',
            "size": size(event.total),
        }
        inner = " ".join(f'<div role="cell" class="kit-{name}">{html}</div>' for name, html in cells.items())
        return f'<div role="row" class="kit-{look}">{inner}</div>'


class TransferView:
    """What a transfer's events told, as HTML; give it to a pull or a push as its ``progress``."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._began, self._took = time.monotonic(), 0.0
        self._rows: dict[str, _Row] = {}

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        self._rows.setdefault(event.digest, _Row()).told(event)

    def name(self, image: Image) -> None:
        """Say which blob is which part of the image."""
        names = {layer.digest: f"layer {number}" for number, layer in enumerate(image.layers, 1)}
        for digest, name in {**names, image.config_descriptor.digest: "configuration"}.items():
            if digest in self._rows:
                self._rows[digest].name = name

    def end(self) -> None:
        """The transfer is over, however it went."""
        self._took = time.monotonic() - self._began

    def html(self) -> str:
        """The transfer as a table, all of it measured; of ``div``, as JupyterLab styles every ``table``."""
        rows = list(self._rows.values())  # the transfer goes on in other threads
        events, ended = [row.event for row in rows], bool(self._took)
        moved = sum(one.done for one in events if one.state not in ("there already", "mounted"))
        parts = [f"{size(moved)} of {size(sum(one.total for one in events))}"]
        for state in ("there already", "mounted"):
            if number := [one.state for one in events].count(state):
                parts.append(f"{number} {state}")
        seconds = self._took or time.monotonic() - self._began
        said = f"{count(len(rows), 'blob')}, {', '.join(parts)}, {'in' if ended else 'for'} {seconds:.1f} s"
        head = f"<header><strong>{escape(self.title)}</strong> <span>{said}</span></header>"
        style = f"<style>{(STATIC / 'build.css').read_text()}</style>"
        body = "".join(row.html(ended) for row in rows)
        table = f'<div role="table" aria-label="{escape(self.title)}">{body}</div>'
        return measured(f'{style}<div class="kit-build kit-transfer">{head}{table}</div>')


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
            view.name(found if verb == "pull" else Image.of(store, found, options.get("platform")))
        finally:
            view.end()
    return found
