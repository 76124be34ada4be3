"""What approaches cost, beside each other, on scales of powers of ten; each figure is written at its mark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10
from statistics import median
from typing import TYPE_CHECKING

from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from kit.lab.palette import INK, RULE, SERIES
from kit.lab.picture import Picture, figure, style
from kit.lab.tree import count
from kit.show import size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURES = ("start", "memory", "disk")


def costs(figures: Mapping[str, Mapping[str, float]], title: str = "what isolation costs") -> Picture:
    """Draw bars for each approach: ``{"4 processes": {"start": 0.004, "memory": 2e6, "disk": 1e6}, ...}``.

    ``start`` is in seconds, ``memory`` and ``disk`` in bytes; an approach may lack one. Raises ValueError
    for another name, for a figure that is not above zero, for more than four approaches and for none.
    """
    names = [name for name in FIGURES if any(name in one for one in figures.values())]
    _check("costs", {who: list(one.values()) for who, one in figures.items()})
    if unknown := {name for one in figures.values() for name in one} - set(FIGURES):
        raise ValueError(f"costs: there is no {', '.join(sorted(unknown))}; give {', '.join(FIGURES)}")
    made = figure(8.0, 0.9 + 0.42 * len(figures))
    for number, name in enumerate(names):
        axes = _log(made.add_subplot(1, len(names), number + 1), name, name, list(figures), not number)
        known = {row: one[name] for row, one in enumerate(figures.values()) if name in one}
        low, high = 10.0 ** floor(log10(min(known.values())) - 0.3), max(known.values())
        axes.set_xlim(low, low * (high / low) ** 1.75)  # room for the figures
        for row, value in known.items():
            axes.barh(row, value - low, left=low, height=0.62, color=SERIES[row].colour, alpha=0.75)
            axes.annotate(said(name, value), (value, row), (5, 0), textcoords="offset points", va="center",
                          color=INK, fontsize=9.5, weight="bold")  # fmt: skip
    told = (
        f"{who}: {', '.join(f'{name} {said(name, value)}' for name, value in one.items())}"
        for who, one in figures.items()
    )
    return Picture(made, title, f"{title}. {'; '.join(told)}.")


def starts(times: Mapping[str, Sequence[float]], title: str = "start times") -> Picture:
    """Draw each start as a dot, the median marked: ``{"processes": [0.0006, ...], "containers": [...]}``.

    Times are in seconds. Raises ValueError for a time that is not above zero, for more than four rows and
    for none.
    """
    _check("starts", times)
    made = figure(8.0, 0.75 + 0.62 * len(times))
    axes = _log(made.subplots(), "start", title, list(times), True)
    axes.grid(axis="x", color=RULE, alpha=0.35, linewidth=0.7)
    everything = [one for found in times.values() for one in found]
    axes.set_xlim(10.0 ** floor(log10(min(everything))), 10.0 ** ceil(log10(max(everything)) + 0.01))
    for row, (found, look) in enumerate(zip(times.values(), SERIES, strict=False)):
        heights = [row + 0.2 * ((number * 0.618) % 1 - 0.5) for number in range(len(found))]
        axes.plot(found, heights, look.marker, color=look.colour, alpha=0.6, markersize=5, markeredgewidth=0)
        middle = median(found)
        axes.plot([middle, middle], [row - 0.3, row + 0.3], color=look.colour, linewidth=2.6)
        axes.annotate(f"median {said('start', middle)}", (middle, row - 0.3), (0, 3), ha="center", color=INK,
                      textcoords="offset points", fontsize=9.5, weight="bold")  # fmt: skip
    told = (
        f"{who}: {count(len(found), 'start')}, median {said('start', median(found))}, from "
        f"{said('start', min(found))} to {said('start', max(found))}"
        for who, found in times.items()
    )
    return Picture(made, title, f"{title}. {'; '.join(told)}.")


def _check(what: str, rows: Mapping[str, Sequence[float]]) -> None:
    if not 1 <= len(rows) <= len(SERIES):
        raise ValueError(f"{what}: {len(rows)} rows; give one to {len(SERIES)}")
    for row, found in rows.items():
        if not found or min(found) <= 0:
            raise ValueError(f"{what}: {row!r} has {list(found)}; a scale of powers of ten begins above zero")


def said(name: str, value: float) -> str:
    """A figure in three digits: seconds for a start, else bytes."""
    return seconds(value) if name == "start" else size(round(value))


def seconds(value: float) -> str:
    """Seconds in three digits."""
    if value < 1:
        return f"{1000 * value:.3g} ms"
    return f"{value:.3g} s" if value < 1000 else f"{value:.0f} s"


def _log(axes: Axes, name: str, title: str, rows: Sequence[str], named: bool) -> Axes:
    """A plot of rows, the first on top, over powers of ten of the figure that ``name`` is."""
    style(axes, title)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=4))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: said(name, value)))
    axes.grid(visible=False)
    axes.set_yticks(range(len(rows)), rows if named else [""] * len(rows))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    return axes
