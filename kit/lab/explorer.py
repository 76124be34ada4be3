"""The image explorer: the layers of an image, what each added, changed and removed, and what is wasted.

The page is sent the layers, and of their files only what it shows: a directory's content when it is opened.
Before the widget stands its static twin, a picture, which the widget hides for as long as it lives: so a
stored notebook, or one opened without its kernel, shows the picture.
"""

from __future__ import annotations

import uuid
from functools import lru_cache
from typing import Any

import anywidget
import traitlets
from IPython.display import display

from kit.images.explore import explore as read
from kit.images.image import Image
from kit.lab.canvas import STATIC, view_of
from kit.lab.explored import MARKS, Node, attributes, lost, note, size_of, tree, unfold
from kit.lab.layers import draw, headline, instruction
from kit.lab.picture import Picture
from kit.lab.subshell import answer_while_busy
from kit.show import measured, size

AT_ONCE = 18  # rows that a layer is shown with, before anything is opened
MOST_WASTED = 20
MOST = 500  # rows of one directory


class Explorer(anywidget.AnyWidget):
    """An image to look into; made by :func:`explore`. ``found`` is what the explorer shows, as data."""

    _esm = STATIC / "explorer.js"
    _css = STATIC / "explorer.css"

    title = traitlets.Unicode().tag(sync=True)
    headline = traitlets.Unicode().tag(sync=True)
    layers: Any = traitlets.List().tag(sync=True)
    wasted: Any = traitlets.List().tag(sync=True)  # rows of text
    twin = traitlets.Unicode().tag(sync=True)  # the class of what the page hides

    def __init__(self, image: Image, title: str) -> None:
        self.found = found = read(image)
        layers = [
            {
                "by": instruction(one.created_by),
                "unpacked": size(one.unpacked),
                "packed": size(one.size),
                "bytes": one.unpacked,
                "hidden": found.wasted_in(one.number),
                "counts": [one.count(how) for how in MARKS],
            }
            for one in found.layers
        ]
        self._lost = lost(found)
        wasted = [[one.path, size(one.size), str(one)] for one in self._lost[:MOST_WASTED]]
        twin = f"kit-twin-{uuid.uuid4().hex}"
        super().__init__(title=title, headline=headline(found), layers=layers, wasted=wasted, twin=twin)
        self._tree = lru_cache(maxsize=1)(self._files)  # the last one asked for
        self.on_msg(self._told)
        answer_while_busy(self)

    def picture(self) -> Picture:
        """The static twin."""
        return draw(self.found, self._lost, self.title)

    def _files(self, layer: int, whole: bool) -> Node:
        files = self.found.tree(layer).values() if whole else ()
        return tree(self.found.layers[layer - 1].changes, files)

    def _told(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        """A request is {"layer": 2, "whole": false}, or for one directory in it also {"open": "usr/lib"}."""
        layer, whole = content["layer"], content["whole"]
        root = self._tree(layer, whole)
        opened = [root.way(content["open"])[-1]] if "open" in content else unfold(root, AT_ONCE)[0]
        self.send({"layer": layer, "whole": whole, "rows": {one.path: _listing(one) for one in opened}})

    def _ipython_display_(self) -> None:
        data, metadata = self.picture()._repr_mimebundle_()
        data["text/html"] = measured(f'<div class="{self.twin}">') + data["text/html"] + measured("</div>")
        display(data, metadata=metadata, raw=True)
        view = {"application/vnd.jupyter.widget-view+json": view_of(self)}
        display({"text/plain": f"[explorer] {self.title}", "text/html": measured(""), **view}, raw=True)


def _listing(node: Node) -> list[list[Any]]:
    """Name, what happened to it, size, attributes, note, whether something is below; at most MOST rows."""
    rows: list[list[Any]] = []
    for name in sorted(node.below)[:MOST]:
        one = node.below[name]
        seen = attributes(one.file) if one.file else ""
        rows.append([name, one.how, size_of(one), seen, note(one), bool(one.below)])
    if len(node.below) > MOST:
        rows.append(["…", None, "", "", f"{len(node.below) - MOST:,} more", False])
    return rows


def explore(image: Image, title: str = "the image, layer by layer") -> Explorer:
    """Look into an image: choose a layer, see its files and what the layer did to them.

    Arrow keys move, right opens and left closes. Each layer is read once, when this is called: raises what
    :func:`kit.images.explore.explore` does.
    """
    return Explorer(image, title)
