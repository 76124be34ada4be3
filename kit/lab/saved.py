"""What a mirror saves: the bytes that it gave to its clients, beside those that it had to fetch once."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from kit.lab.palette import BLUE, GREEN, INK, VERMILLION
from kit.lab.picture import Picture, figure, style
from kit.lab.tree import count
from kit.show import size


def saved(registry: Any, title: str = "what the mirror saves") -> Picture:
    """Draw a mirror's log: bytes given to clients and bytes fetched from the other registry, added up.

    Raises ValueError for a registry that mirrors no other one, and while nobody has asked it for anything.
    """
    log = list(registry.log)
    if registry.mirror is None:
        raise ValueError(f"saved: {registry!r} is no mirror; serve(..., mirror_of=URL) makes one")
    if not any(one.sent for one in log):
        raise ValueError(f"saved: nothing was pulled from {registry!r} yet; pull an image, then look again")
    given = [0, *accumulate(one.sent for one in log)]
    fetched = [0, *accumulate(one.fetched for one in log)]
    given_said, fetched_said = f"{size(given[-1])} given to clients", f"{size(fetched[-1])} fetched"
    less = given[-1] - fetched[-1]
    less_said = f"{size(less)} saved ({100 * less / given[-1]:.0f} %)"
    made = figure(8.0, 3.2)
    axes = style(made.subplots(), title)
    requests, edge = len(log), 1.03 * len(log)  # some room, so that the last step is seen
    numbers = [*range(requests + 1), edge]
    given, fetched = [*given, given[-1]], [*fetched, fetched[-1]]
    axes.fill_between(numbers, fetched, given, step="post", color=GREEN, alpha=0.14, linewidth=0)
    for values, colour, dash in ((given, BLUE, "-"), (fetched, VERMILLION, (0, (5, 2)))):
        axes.plot(numbers, values, color=colour, linestyle=dash, linewidth=2, drawstyle="steps-post")
    texts = {given[-1]: given_said, fetched[-1]: fetched_said}
    if less > 0.2 * given[-1]:
        texts[given[-1] - less / 2] = less_said
        arrow = {"arrowstyle": "<|-|>", "color": GREEN, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (edge, given[-1]), (edge, fetched[-1]), arrowprops=arrow, annotation_clip=False)
    for value, text in texts.items():
        axes.annotate(text, (edge, value), (10, 0), textcoords="offset points", color=INK, fontsize=9.5,
                      weight="bold" if text == less_said else "normal", va="center")  # fmt: skip
    axes.set(xlim=(0, edge), ylim=(0, 1.08 * given[-1]))
    axes.yaxis.set_major_formatter(lambda value, _: size(round(value)))
    axes.set_xlabel("requests, in their order", fontsize=9)
    words = f"{given_said}, {fetched_said} from the other registry, so {less_said}"
    return Picture(made, title, f"{title}. In {count(requests, 'request')}: {words}.")
