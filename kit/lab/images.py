"""Images by their sizes: beside an operating system's disk, and beside one another, as they share layers."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import NamedTuple

from matplotlib.axes import Axes

from kit.images.descriptor import Descriptor
from kit.images.explore import created_by, explore
from kit.images.image import Image
from kit.lab.layers import fit, instruction
from kit.lab.palette import BLUE, GREEN, PURPLE, RULE, VERMILLION
from kit.lab.picture import Picture, canvas
from kit.lab.tree import box, count, cut, text_width, write
from kit.show import size

WIDTH, ROW, TOP = 800, 40, 44  # CSS pixels
SYSTEM = "this machine's system"
LEAST = 100  # bytes: where the scale of sizes begins
HUES = (BLUE, GREEN, VERMILLION, PURPLE)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


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
    bars = [(name, explore(image).unpacked, image.size) for name, image in images.items()]
    left = 24 + max(text_width(cut(name), bold=True) for name in [*images, SYSTEM])
    figure, axes = canvas(WIDTH, TOP + ROW * (len(bars) + 1) + 34)
    write(axes, 12, 18, title, bold=True, size=11.5)
    last = math.ceil(math.log10(max(system, *(unpacked for _, unpacked, _ in bars))))
    scale = (WIDTH - left - 150) / (last - math.log10(LEAST))
    foot = TOP + ROW * (len(bars) + 1)
    axes.plot([left, WIDTH - 150], [foot - 1, foot - 1], color=RULE, linewidth=0.7, alpha=0.6)
    write(axes, WIDTH - 12, foot + 14, "each tick: ten times as much", size=8.5, align="right")
    for power in range(3, last + 1):
        x = left + scale * (power - math.log10(LEAST))
        axes.plot([x, x], [foot - 4, foot + 2], color=RULE, linewidth=1.1)
        if power % 3 == 0:
            write(axes, x, foot + 14, size(10**power), size=9, align="center")
    said = []
    for row, (name, unpacked, packed) in enumerate([*bars, (SYSTEM, system, 0)]):
        y = TOP + ROW * row + ROW / 2
        width = scale * (math.log10(max(unpacked, LEAST * 1.2)) - math.log10(LEAST))
        more = "in use on /" if row == len(bars) else f"{size(packed)} packed{_share(unpacked, system)}"
        write(axes, left - 12, y, cut(name), bold=True, align="right")
        box(axes, left, y - 10, width, 20, VERMILLION if row == len(bars) else BLUE, fill=0.85, edge=0)
        write(axes, left + width + 10, y - 7, size(unpacked), bold=True)
        write(axes, left + width + 10, y + 9, more, size=8.5)
        said.append(f"{name} {size(unpacked)}, {more}")
    return Picture(figure, title, f"{title}, on a scale of powers of ten: {'; '.join(said)}.")


def _share(part: int, whole: int) -> str:
    return f", 1/{float(f'{whole / part:.2g}'):,.0f} of that disk" if 0 < part * 2 < whole else ""


class Block(NamedTuple):
    """A layer that one or several images have: a ``letter`` for it, and the ``images`` by their names."""

    letter: str
    layer: Descriptor
    line: str
    images: list[str]


def blocks(images: Mapping[str, Image]) -> dict[str, Block]:
    """Every layer of the images once, by its digest, in the order in which they come."""
    found: dict[str, Block] = {}
    for name, image in images.items():
        for layer, line in zip(image.layers, created_by(image), strict=True):
            index = len(found)
            letter = LETTERS[index % 26] + (str(index // 26) if index >= 26 else "")
            block = found.setdefault(layer.digest, Block(letter, layer, instruction(line), []))
            if name not in block.images:
                block.images.append(name)
    return found


def shared(images: Mapping[str, Image], title: str = "layers that images share") -> Picture:
    """Draw the layers of several images, by name: a layer that more than one has is kept and sent once.

    Sizes are those of the blobs, as kept. Raises ValueError for fewer than two images.
    """
    if len(images) < 2:
        raise ValueError(f"shared: {count(len(images), 'image')}; give two or more by name")
    found = blocks(images)
    several = [one for one in found.values() if len(one.images) > 1]
    hues = {one.layer.digest: HUES[index % len(HUES)] for index, one in enumerate(several)}
    left = 24 + max(text_width(cut(name), bold=True) for name in images)
    largest = max([1, *(one.layer.size for one in found.values())])
    room = WIDTH - left - 110
    most = max(1, *(len(image.layers) for image in images.values()))
    narrow = min(86.0, room / most - 4)
    scale = max(
        0.0, min((room - len(i.layers) * (narrow + 4)) * largest / max(1, i.size) for i in images.values())
    )

    listed = several[:8]
    figure, axes = canvas(WIDTH, TOP + ROW * len(images) + 26 * (len(listed) + 1) + 22)
    write(axes, 12, 18, title, bold=True, size=11.5)
    for row, (name, image) in enumerate(images.items()):
        y, x = TOP + ROW * row + ROW / 2, float(left)
        write(axes, left - 12, y, cut(name), bold=True, align="right")
        for layer in image.layers:
            width = narrow + scale * layer.size / largest
            _block(axes, x, y, width, found[layer.digest], hues.get(layer.digest, ""))
            x += width + 4
        write(axes, WIDTH - 12, y, size(image.size), bold=True, align="right")
    y = TOP + ROW * len(images) + 20.0
    apart, once = sum(image.size for image in images.values()), sum(one.layer.size for one in found.values())
    total = f"each by itself {size(apart)}, together {size(once)}: {size(apart - once)} saved"
    axes.plot([8, WIDTH - 8], [y - 14, y - 14], color=RULE, linewidth=0.7, alpha=0.6)
    write(axes, WIDTH - 12, y, total, bold=True, align="right")
    for one in listed:
        y += 26
        _block(axes, 12, y, 26, one, hues[one.layer.digest], small=True)
        text = f"{size(one.layer.size)}, {one.line}, in {', '.join(one.images)}"
        write(axes, 48, y, fit(text, WIDTH - 60))
    return Picture(figure, title, words(images, found, f"{title}: {total}."))


def _block(axes: Axes, x: float, y: float, width: float, one: Block, hue: str, small: bool = False) -> None:
    height = 20 if small else 30
    box(
        axes,
        x,
        y - height / 2,
        width,
        height,
        hue or RULE,
        fill=0.42 if hue else 0.06,
        edge=1.4 if hue else 0.9,
    )
    text = f"{one.letter}  {size(one.layer.size)}"
    if small or text_width(text) > width - 6:
        text = one.letter
    write(axes, x + width / 2, y, text, bold=bool(hue), align="center")


def words(images: Mapping[str, Image], found: Mapping[str, Block], total: str) -> str:
    """The picture of shared layers in sentences."""
    said = [total]
    for name, image in images.items():
        layers = (found[layer.digest] for layer in image.layers)
        parts = [
            f"{one.letter}{' (shared)' if len(one.images) > 1 else ''} {size(one.layer.size)}"
            for one in layers
        ]
        said.append(f"{name}: {', '.join(parts) or 'no layers'}.")
    return " ".join(said)
