"""Images by their sizes: beside an operating system's disk, and beside one another, as they share layers."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from itertools import cycle
from string import ascii_uppercase
from typing import NamedTuple

from matplotlib.axes import Axes

from kit.images.descriptor import Descriptor
from kit.images.explore import created_by, explore
from kit.images.image import Image
from kit.lab.layers import instruction
from kit.lab.palette import BLUE, GREEN, PURPLE, RULE, VERMILLION
from kit.lab.picture import Picture, canvas
from kit.lab.tree import box, count, cut, fit, rule, text_width, write
from kit.show import size

WIDTH, ROW, TOP = 800, 40, 44  # CSS pixels
SYSTEM = "this machine's system"
LEAST = 2  # power of ten of the bytes where the scale of sizes begins
HUES = (BLUE, GREEN, VERMILLION, PURPLE)


def sizes(
    images: Mapping[str, Image], title: str = "the size of an image, and of an operating system"
) -> Picture:
    """Draw images by name, each with the bytes of its files, beside what is in use on this machine's root
    file system (statvfs(3)). Each step of the scale is ten times the one before.

    Reads every layer: raises what :func:`kit.images.explore.explore` does, ValueError for no image.
    """
    if not images:
        raise ValueError("sizes: no images to draw; give them by name, such as {'busybox': image}")
    disk = os.statvfs("/")
    system = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    bars = []
    for name, image in images.items():
        unpacked = explore(image).unpacked
        small = 0 < 2 * unpacked < system
        share = f", 1/{float(f'{system / unpacked:.2g}'):,.0f} of that disk" if small else ""
        bars.append((cut(name), unpacked, f"{size(image.size)} packed{share}", BLUE))
    bars.append((SYSTEM, system, "in use on /", VERMILLION))
    left, foot = 24 + max(text_width(name, bold=True) for name, *_ in bars), TOP + ROW * len(bars)
    last = math.ceil(math.log10(max(figure for _, figure, *_ in bars)))
    step = (WIDTH - left - 150) / (last - LEAST)  # CSS pixels for ten times as much
    figure, axes = canvas(WIDTH, foot + 34)
    write(axes, 12, 18, title, bold=True, size=11.5)
    for row, (name, unpacked, more, hue) in enumerate(bars):
        y, end = TOP + ROW * (row + 0.5), left + max(3, step * (math.log10(max(1, unpacked)) - LEAST))
        write(axes, left - 12, y, name, bold=True, align="right")
        box(axes, left, y - 10, end - left, 20, hue, fill=0.85, edge=0)
        write(axes, end + 10, y - 7, size(unpacked), bold=True)
        write(axes, end + 10, y + 9, more, size=8.5)
    rule(axes, left, WIDTH - 150, foot - 1)
    for power in range(LEAST + 1, last + 1):
        x = left + step * (power - LEAST)
        axes.plot([x, x], [foot - 4, foot + 2], color=RULE, linewidth=1.1)
        if power % 3 == 0:
            write(axes, x, foot + 14, size(10**power), size=9, align="center")
    write(axes, WIDTH - 12, foot + 14, "each tick: ten times as much", size=8.5, align="right")
    said = "; ".join(f"{name} {size(unpacked)}, {more}" for name, unpacked, more, _ in bars)
    return Picture(figure, title, f"{title}, on a scale of powers of ten: {said}.")


class Block(NamedTuple):
    """A layer that one or several ``images`` have: a ``letter`` for it, and its line of the history."""

    letter: str
    layer: Descriptor
    line: str
    images: list[str]


def blocks(images: Mapping[str, Image]) -> dict[str, Block]:
    """Every layer of the images once, by its digest, in the order in which they come."""
    letters = cycle(ascii_uppercase)
    found: dict[str, Block] = {}
    for name, image in images.items():
        for layer, line in zip(image.layers, created_by(image), strict=True):
            if layer.digest not in found:
                found[layer.digest] = Block(next(letters), layer, instruction(line), [])
            if name not in found[layer.digest].images:
                found[layer.digest].images.append(name)
    return found


def shared(images: Mapping[str, Image], title: str = "layers that images share") -> Picture:
    """Draw the layers of several images, by name: a layer that more than one has is kept and sent once.

    Sizes are those of the blobs, as kept. Raises ValueError for fewer than two images.
    """
    if len(images) < 2:
        raise ValueError(f"shared: {count(len(images), 'image')}; give two or more by name")
    found = blocks(images)
    several = [one for one in found.values() if len(one.images) > 1]
    hues = dict(zip((one.layer.digest for one in several), cycle(HUES)))
    left = 24 + max(text_width(cut(name), bold=True) for name in images)
    most = max(1, *(len(image.layers) for image in images.values()))
    room = WIDTH - left - 110
    least = min(86, room / most - 4)  # the width of an empty layer, for its text; the rest goes by bytes
    scale = (room - most * (least + 4)) / max(1, *(image.size for image in images.values()))
    foot = TOP + ROW * len(images)
    figure, axes = canvas(WIDTH, foot + 26 * (len(several) + 1) + 22)
    write(axes, 12, 18, title, bold=True, size=11.5)
    for row, (name, image) in enumerate(images.items()):
        y, x = TOP + ROW * (row + 0.5), left
        write(axes, left - 12, y, cut(name), bold=True, align="right")
        for layer in image.layers:
            one = found[layer.digest]
            width = least + scale * layer.size
            text = f"{one.letter}  {size(layer.size)}"
            text = text if text_width(text) < width - 6 else one.letter
            _block(axes, x, y - 15, width, 30, text, hues.get(layer.digest))
            x += width + 4
        write(axes, WIDTH - 12, y, size(image.size), bold=True, align="right")
    apart, once = sum(image.size for image in images.values()), sum(one.layer.size for one in found.values())
    total = f"each by itself {size(apart)}, together {size(once)}: {size(apart - once)} saved"
    rule(axes, 8, WIDTH - 8, foot + 6)
    write(axes, WIDTH - 12, foot + 20, total, bold=True, align="right")
    for row, one in enumerate(several):
        y = foot + 46 + 26 * row
        _block(axes, 12, y - 10, 26, 20, one.letter, hues[one.layer.digest])
        text = f"{size(one.layer.size)}, {one.line}, in {', '.join(one.images)}"
        write(axes, 48, y, fit(text, WIDTH - 60))
    said = [f"{title}: {total}."]
    for name, image in images.items():
        these = [found[layer.digest] for layer in image.layers]
        parts = [f"{one.letter}{' (shared)' * (one in several)} {size(one.layer.size)}" for one in these]
        said.append(f"{name}: {', '.join(parts) or 'no layers'}.")
    return Picture(figure, title, " ".join(said))


def _block(axes: Axes, x: float, y: float, width: float, height: float, text: str, hue: str | None) -> None:
    """A layer; in colour when several images have it."""
    fill, edge = (0.42, 1.4) if hue else (0.06, 0.9)
    box(axes, x, y, width, height, hue or RULE, fill=fill, edge=edge)
    write(axes, x + width / 2, y + height / 2, text, bold=bool(hue), align="center")
