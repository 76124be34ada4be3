"""The image explorer: the layers of an image, what each added, changed and removed, and what is wasted.

The page is sent the layers, and of their files only what it shows: a directory's content when it is opened.
Before the widget stands its static twin, a picture, which the widget hides for as long as it lives: so a
stored notebook, or one opened without its kernel, shows the picture.
"""

from __future__ import annotations

import uuid
from typing import Any

import anywidget
import traitlets
from IPython.display import display

from kit.images.explore import Exploration
from kit.images.explore import explore as read
from kit.images.image import Image
from kit.lab.canvas import STATIC, view_of
from kit.lab.explored import MARKS, Node, attributes, lost, note, printable, size_of, telling, tree
from kit.lab.layers import draw, headline, instruction
from kit.lab.picture import Picture
from kit.lab.subshell import answer_while_busy
from kit.show import measured, size

AT_ONCE = 18  # rows that a layer is shown with, before anything is opened
MOST_WASTED = 20
MOST = 500  # rows of one directory


class _Widget(anywidget.AnyWidget):
    """The page's side; ``layers`` and ``wasted`` are rows of text, ``twin`` marks what the page hides."""

    _esm = STATIC / "explorer.js"
    _css = STATIC / "explorer.css"

    title = traitlets.Unicode().tag(sync=True)
    headline = traitlets.Unicode().tag(sync=True)
    layers: Any = traitlets.List().tag(sync=True)
    wasted: Any = traitlets.List().tag(sync=True)
    twin = traitlets.Unicode().tag(sync=True)

    def __init__(self, found: Exploration, **state: Any) -> None:
        super().__init__(**state)
        self._found = found
        self._view: tuple[int, bool, Node] | None = None  # the last one asked for
        self.on_msg(self._told)
        answer_while_busy(self)

    def _told(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        """A request is {"layer": 2, "whole": false} or, for one directory in it, also {"open": "0/3"}."""
        layer, whole, path = content.get("layer"), bool(content.get("whole")), content.get("open")
        if isinstance(layer, int) and 1 <= layer <= len(self._found.layers):
            self.send({"layer": layer, "whole": whole, "rows": self._rows(layer, whole, path)})

    def _rows(self, layer: int, whole: bool, path: Any) -> dict[str, list[list[Any]]]:
        """The rows of each opened directory, by its place: the places of its parents and its own."""
        root = self._tree(layer, whole)
        if isinstance(path, str):
            node = root
            for place in path.split("/"):
                node = node.children[int(place)]
            return {path: _listing(node)}
        places, rows = {root: ""}, {}
        for node in telling(root, AT_ONCE):  # parents before their children
            rows[places[node]] = _listing(node)
            for index, child in enumerate(node.children):
                places[child] = f"{places[node]}/{index}".lstrip("/")
        return rows

    def _tree(self, layer: int, whole: bool) -> Node:
        if self._view is None or self._view[:2] != (layer, whole):
            files = self._found.tree(layer).values() if whole else ()
            self._view = (layer, whole, tree(self._found.layers[layer - 1].changes, files))
        return self._view[2]


def _listing(node: Node) -> list[list[Any]]:
    """Name, what happened to it, size, attributes, note, whether something is below; at most MOST rows."""
    rows: list[list[Any]] = []
    for child in node.children[:MOST]:
        seen = attributes(child.file) if child.file else ""
        rows.append(
            [printable(child.name), child.how, size_of(child), seen, note(child), bool(child.children)]
        )
    if len(node.children) > MOST:
        rows.append(["…", None, "", "", f"{len(node.children) - MOST:,} more", False])
    return rows


class Explorer:
    """An image to look into; made by :func:`explore`. ``found`` is what the explorer shows, as data."""

    def __init__(self, image: Image, title: str) -> None:
        self.title = title
        self.found = read(image)
        self._lost = lost(self.found)
        self._widget: _Widget | None = None

    def picture(self) -> Picture:
        """The static twin."""
        return draw(self.found, self._lost, self.title)

    def _state(self) -> dict[str, Any]:
        hidden = dict.fromkeys((one.number for one in self.found.layers), 0)
        for wasted in self.found.wasted:
            hidden[wasted.layer] += wasted.size
        layers = [
            {
                "number": one.number,
                "by": instruction(one.created_by),
                "unpacked": size(one.unpacked),
                "packed": size(one.size),
                "bytes": one.unpacked,
                "hidden": hidden[one.number],
                "counts": [
                    f"{mark}{one.count(how):,}" if one.count(how) else "" for how, mark in MARKS.items()
                ],
            }
            for one in self.found.layers
        ]
        return {
            "title": self.title,
            "headline": headline(self.found),
            "layers": layers,
            "wasted": [[one.path, size(one.size), str(one)] for one in self._lost[:MOST_WASTED]],
        }

    def _ipython_display_(self) -> None:
        twin = f"kit-twin-{uuid.uuid4().hex}"
        data, metadata = self.picture()._repr_mimebundle_()
        data["text/html"] = measured(f'<div class="{twin}">') + data["text/html"] + measured("</div>")
        display(data, metadata=metadata, raw=True)
        self._widget = _Widget(self.found, twin=twin, **self._state())
        view = {"application/vnd.jupyter.widget-view+json": view_of(self._widget)}
        display({"text/plain": f"[explorer] {self.title}", "text/html": measured(""), **view}, raw=True)


def explore(image: Image, title: str = "the image, layer by layer") -> Explorer:
    """Look into an image: choose a layer, see its files and what the layer did to them.

    Arrow keys move, right opens and left closes. Each layer is read once, when this is called: raises what
    :func:`kit.images.explore.explore` does.
    """
    return Explorer(image, title)
