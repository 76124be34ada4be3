"""A still picture: drawn once, readable in every theme, with words for those who can't see it.

JupyterLab sets no ``alt`` on an ``image/png`` output, so the picture also comes as HTML with an ``<img
alt=...>``, which JupyterLab prefers. The PNG is for what reads no HTML, such as a PDF made through LaTeX;
nbconvert takes its words from the metadata. Figures are made without pyplot, whose global list of figures is
not safe in threads and is never emptied.
"""

from __future__ import annotations

import base64
import io
from html import escape
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kit.lab.palette import INK, RULE
from kit.show import measured

CSS_DPI = 96  # CSS pixels per inch: a figure 8 inches wide stands 768 CSS pixels wide in the page
SCALE = 2  # device pixels per CSS pixel, for high-resolution screens and print
# Where the page tells its theme, the middle tones move away from its background. JupyterLab drops this from a
# notebook that it doesn't trust yet; then they stay in the middle, readable on both.
ON_LIGHT, ON_DARK = 0.8, 1.5
THEMES = "".join(
    f"[data-jp-theme-light={light}] .kit-picture{{filter:brightness({factor})}}"
    for light, factor in (("true", ON_LIGHT), ("false", ON_DARK))
)


class Picture:
    """A PNG with its words. In a cell it shows itself; ``save(path)`` writes the PNG.

    ``title`` is the fixed ``text/plain`` and must hold nothing measured; ``alt`` may.
    """

    def __init__(self, figure: Figure, title: str, alt: str) -> None:
        if not alt.strip():
            raise ValueError(f"picture {title!r}: alt is empty; say in words what the picture shows")
        self.title, self.alt = title, alt
        self.width, self.height = (round(inches * CSS_DPI) for inches in figure.get_size_inches())
        buffer = io.BytesIO()
        figure.savefig(
            buffer,
            format="png",
            dpi=CSS_DPI * SCALE,
            transparent=True,
            metadata={"Software": None, "Description": alt},
        )
        self.png = buffer.getvalue()

    def __str__(self) -> str:
        return self.alt

    def save(self, path: str) -> None:
        """Write the PNG, twice as many pixels wide as the picture has CSS pixels."""
        with open(path, "wb") as file:
            file.write(self.png)

    def html(self) -> str:
        """The picture as an ``<img>`` that carries everything within itself, marked as measured."""
        source = base64.b64encode(self.png).decode("ascii")
        look = f'class="kit-picture" width="{self.width}" style="max-width:100%;height:auto;background:none"'
        image = f'<img alt="{escape(self.alt)}" {look} src="data:image/png;base64,{source}">'
        return measured(f"<style>{THEMES}</style>{image}")

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        data = {
            "text/plain": f"[picture] {self.title}",
            "text/html": self.html(),
            "image/png": base64.b64encode(self.png).decode("ascii"),
        }
        return data, {"image/png": {"width": self.width, "alt": self.alt}}


def figure(width: float = 8.0, height: float = 3.0) -> Figure:
    """A figure without background. Width and height in inches of 96 CSS pixels."""
    made = Figure(figsize=(width, height), layout="constrained")
    made.patch.set_alpha(0)
    return made


def style(axes: Axes, title: str = "") -> Axes:
    """Give a plot the kit's look: no box, quiet grid, middle-tone text, title at the left."""
    axes.patch.set_alpha(0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(colors=INK, labelsize=9, length=3, width=0.8)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=RULE, alpha=0.35, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    if title:
        axes.set_title(title, loc="left", color=INK, fontsize=10.5, fontweight="bold", parse_math=False)
    return axes


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one axes that fills it, without frame: its units are CSS pixels, y running down."""
    made = Figure(figsize=(width / CSS_DPI, height / CSS_DPI))
    made.patch.set_alpha(0)
    axes = made.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return made, axes
