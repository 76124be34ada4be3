"""A still plot of what one or several groups used over time, beside their limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator

from kit.lab.frames import Frame, frames
from kit.lab.palette import INK, SERIES, VERMILLION
from kit.lab.picture import Picture, figure, style

MIB = 1 << 20


class Quantity(NamedTuple):
    """One measured quantity and how it is said."""

    title: str
    height: float  # share of the picture
    scale: float  # the value is divided by this
    unit: str
    limit: str  # the Frame's field with its limit, or ""


QUANTITIES = {
    "cpu": Quantity("CPU used, percent of one CPU", 2.2, 1, "%", "cpu_limit"),
    "throttled": Quantity("throttled, percent of periods", 1.0, 1, "%", ""),
    "memory": Quantity("memory, MiB", 1.7, MIB, "MiB", "memory_limit"),
    "pids": Quantity("processes and threads", 1.2, 1, "", ""),
}


def plot(
    source: Any,
    *,
    what: Sequence[str] = ("cpu", "throttled", "memory"),
    title: str = "what the group used",
    alt: str = "",
) -> Picture:
    """Draw a recording: a Sampler, a live view or a list of samples; or several, as ``{"name": sampler,
    ...}``.

    ``what`` chooses from ``cpu`` (percent of one CPU), ``throttled`` (percent of the bandwidth periods in
    which the group had to wait), ``memory`` (MiB) and ``pids``. A limit is a dashed line of its own. Without
    ``alt`` the words are made from the figures. Raises ValueError for an unknown quantity.
    """
    unknown = [name for name in what if name not in QUANTITIES]
    if unknown or not what:
        raise ValueError(
            f"plot: unknown quantity {', '.join(unknown) or '(none)'}; choose from {', '.join(QUANTITIES)}"
        )
    groups = source if isinstance(source, Mapping) else {"": source}
    return draw({name: frames(one) for name, one in groups.items()}, what=what, title=title, alt=alt)


def draw(
    groups: Mapping[str, Sequence[Frame]],
    *,
    what: Sequence[str],
    title: str,
    alt: str = "",
    seconds: float | None = None,
) -> Picture:
    """Draw frames by group name. ``seconds`` fixes the length of the time axis."""
    if len(groups) > len(SERIES):
        raise ValueError(
            f"{len(groups)} groups in one plot; {len(SERIES)} lines are all that stay easy to tell apart"
        )
    heights = [QUANTITIES[name].height for name in what]
    made = figure(8.0, 0.75 + 0.82 * sum(heights))
    panels = made.subplots(len(what), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    end = seconds or max((rows[-1].t for rows in groups.values() if rows), default=1.0)
    for name, panel in zip(what, panels, strict=True):
        _panel(panel, name, groups)
        panel.set_xlim(0, max(end, 0.1))
        panel.tick_params(axis="x", length=0)
    panels[-1].tick_params(axis="x", length=3)
    panels[-1].set_xlabel("seconds", fontsize=9)
    made.align_ylabels(panels)
    return Picture(made, title, alt or f"{title}. {words(groups, what)}")


def _panel(axes: Axes, name: str, groups: Mapping[str, Sequence[Frame]]) -> None:
    quantity = QUANTITIES[name]
    style(axes, quantity.title)
    alone = len(groups) == 1
    top = 0.0
    for index, ((label, rows), look) in enumerate(zip(groups.items(), SERIES, strict=False)):
        if not rows:
            continue
        times = [row.t for row in rows]
        values = [getattr(row, name) / quantity.scale for row in rows]
        top = max(top, *values)
        steps = name == "throttled"
        if steps or alone:
            colour = VERMILLION if steps and alone else look.colour
            axes.fill_between(times, values, step="mid" if steps else None, color=colour,
                              alpha=0.4 if steps else 0.12, linewidth=0)  # fmt: skip
        axes.plot(times, values, color=look.colour, linestyle=look.dash, linewidth=1.2 if steps else 1.9,
                  label=label or "used", marker="" if alone else look.marker, markersize=4,
                  markevery=(index * 3, max(1, len(rows) // 9)),
                  drawstyle="steps-mid" if steps else "default")  # fmt: skip
        if quantity.limit:
            limits = [getattr(row, quantity.limit) for row in rows]
            _limit(axes, times, limits, quantity, VERMILLION if alone else look.colour, label)
            top = max([top, *(value / quantity.scale for value in limits if value is not None)])
    axes.set_ylim(0, 105 if name == "throttled" else max(top * 1.15, 1))
    ticks = (
        FixedLocator([0, 50, 100])
        if name == "throttled"
        else MaxNLocator(4, integer=True, steps=[1, 2, 5, 10])
    )
    axes.yaxis.set_major_locator(ticks)
    if name != "throttled" and (quantity.limit or not alone) and axes.lines:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False, labelcolor=INK,
                    fontsize=9.5, borderpad=0, borderaxespad=0.35, handlelength=2.6,
                    columnspacing=1.6)  # fmt: skip


def _limit(
    axes: Axes, times: list[float], limits: list[float | None], quantity: Quantity, colour: str, label: str
) -> None:
    values = [float("nan") if value is None else value / quantity.scale for value in limits]
    known = [value for value in values if value == value]
    if known:
        text = f"{label + ' ' if label else ''}limit {known[-1]:g} {quantity.unit}"
        axes.plot(times, values, color=colour, label=text, linestyle=(0, (6, 3)), linewidth=1.5,
                  drawstyle="steps-post")  # fmt: skip


def words(groups: Mapping[str, Sequence[Frame]], what: Sequence[str]) -> str:
    """The plot said in a few sentences, for those who don't see it."""
    said = []
    for label, rows in groups.items():
        if not rows:
            said.append(f"{label + ': ' if label else ''}nothing was recorded.")
            continue
        parts = []
        if "cpu" in what:
            mean = sum(row.cpu for row in rows) / len(rows)
            parts.append(
                f"CPU {mean:.0f} % of one CPU on average, {_span([row.cpu_limit for row in rows], '%', 1)}"
            )
        if "throttled" in what:
            parts.append(f"throttled in up to {max(row.throttled for row in rows):.0f} % of the periods")
        if "memory" in what:
            peak = max(row.memory for row in rows) / MIB
            parts.append(
                f"memory at most {peak:.1f} MiB, {_span([row.memory_limit for row in rows], 'MiB', MIB)}"
            )
        if "pids" in what:
            parts.append(f"at most {max(row.pids for row in rows)} processes and threads")
        said.append(f"{label + ': ' if label else ''}{'; '.join(parts)}; over {rows[-1].t:.0f} seconds.")
    return " ".join(said)


def _span(limits: Sequence[float | None], unit: str, scale: float) -> str:
    known = [value / scale for value in limits if value is not None]
    if not known:
        return "no limit"
    low, high = min(known), max(known)
    return (
        f"limit {low:.0f} {unit}" if low == high else f"limit moved between {low:.0f} and {high:.0f} {unit}"
    )
