"""Colours that stand on white and on JupyterLab's dark theme, and that the colour-blind tell apart.

A stored picture can't know the theme it will be read in, so it has no background and uses middle tones. No
tone reaches 4.5:1 (WCAG 2.2, 1.4.3) on white and on #111111 at once: the best possible on both is 4.35:1, and
:data:`INK` is that tone. Hues are Okabe and Ito's; each also gets its own line style and marker, so that
nothing is said by colour alone.
"""

from __future__ import annotations

from typing import NamedTuple

WHITE, DARK = "#ffffff", "#111111"  # --jp-layout-color0 in JupyterLab's light and dark themes

INK = "#797979"  # text
RULE = "#8a8a8a"  # lines, arrows, frames; drawn thin
BLUE, VERMILLION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"


class Series(NamedTuple):
    """How one measured line looks: colour, dash pattern and marker (matplotlib's names)."""

    colour: str
    dash: str | tuple[float, tuple[float, ...]]
    marker: str


SERIES = (
    Series(BLUE, "-", "o"),
    Series(VERMILLION, (0, (5, 2)), "s"),
    Series(GREEN, (0, (1, 1.2)), "^"),
    Series(PURPLE, (0, (6, 2, 1, 2)), "D"),
)


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb``, 0 (black) to 1 (white), as WCAG defines it."""
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21, as WCAG defines it."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
