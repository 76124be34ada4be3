"""A container's life: the states that there are, and the way that one really took.

The states are those of the Docker Engine API ("State" of a container), the ways between them its events.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from kit.lab.costs import seconds
from kit.lab.palette import BLUE, INK, RULE
from kit.lab.picture import Picture, canvas
from kit.lab.tree import box, cut, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kit.engine import Engine

# All in CSS pixels, y running down.
WIDE, TALL = 96.0, 46.0  # a state's box
WIDTH, HEIGHT, TOP = 872.0, 322.0, 30.0
PLACES = {
    "created": (160.0, 150.0), "running": (360.0, 150.0), "paused": (360.0, 30.0), "exited": (628.0, 150.0),
    "removed": (808.0, 150.0),
}  # fmt: skip
STATES = {
    "create": "created", "start": "running", "pause": "paused", "unpause": "running", "die": "exited",
    "destroy": "removed",
}  # fmt: skip


class Way(NamedTuple):
    """What leads along it, the line, and where the words stand: the figures one line below."""

    said: str
    line: tuple[tuple[float, float], ...]
    x: float
    y: float
    align: str = "center"
    below: float = 28.0


WAYS = {
    ("", "created"): Way("docker create", ((16, 150), (112, 150)), 62, 136),
    ("created", "running"): Way("docker start", ((208, 150), (312, 150)), 258, 136),
    ("running", "paused"): Way("docker pause", ((342, 127), (342, 53)), 332, 83, "right", 16),
    ("paused", "running"): Way("docker unpause", ((378, 53), (378, 127)), 388, 83, "left", 16),
    ("running", "exited"): Way("its end, docker stop, kill", ((408, 150), (580, 150)), 492, 136),
    ("exited", "running"): Way("docker start", ((628, 173), (628, 230), (360, 230), (360, 173)), 494, 217),
    ("exited", "removed"): Way("docker rm", ((676, 150), (760, 150)), 716, 136),
    ("created", "removed"): Way("docker rm", ((160, 173), (160, 292), (808, 292), (808, 173)), 494, 279),
}


class Step(NamedTuple):
    """One way taken: when, in seconds since the first event, and the exit status where it was the end."""

    way: tuple[str, str]
    at: float
    status: str = ""


def lifecycle(
    engine: Engine | None = None, container: str = "", title: str = "the life of a container"
) -> Picture:
    """Draw a container's states and the commands between them; the way one took bold, with its times.

    ``container`` is a name, or the beginning of an id, that the engine's events tell of, also of one that
    was removed since. A time is in seconds since the first of them; in the boxes stands how long each state
    lasted. Without an engine the states alone are drawn. Raises ValueError where no event is about it.
    """
    about, steps = _life(engine, container) if engine else ("", [])
    moved = TOP if steps else 0.0
    figure, axes = canvas(WIDTH, HEIGHT + moved)
    axes.set_ylim(HEIGHT, -moved)  # room for the name, above
    if about:
        write(axes, 16, 13 - moved, about, bold=True, size=10.5)
    spent: dict[str, float] = {}
    for step, then in pairwise(steps):
        spent[step.way[1]] = spent.get(step.way[1], 0.0) + then.at - step.at
    reached = {step.way[1] for step in steps}
    for way in WAYS:
        _way(axes, way, [(number, step) for number, step in enumerate(steps, 1) if step.way == way])
    for state, (x, y) in PLACES.items():
        there = state in reached
        colour, fill, edge = (BLUE, 0.16, 2.4) if there else (RULE, 0.06, 1.0)
        box(axes, x - WIDE / 2, y - TALL / 2, WIDE, TALL, colour, fill=fill, edge=edge, radius=7)
        write(axes, x, y - (9 if state in spent else 0), state, bold=there, size=11, align="center")
        if state in spent:
            write(axes, x, y + 10, seconds(spent[state]), size=9.5, align="center")
    return Picture(figure, title, f"{title}. {_words(about, steps)}")


def _life(engine: Engine, container: str) -> tuple[str, list[Step]]:
    """Whose life it is, and its steps."""
    heard = [one for one in list(engine.events.kept) if one["Type"] == "container"]
    fits = [
        one for one in heard
        if container and (one["Actor"]["Attributes"].get("name") == container.lstrip("/")
                          or one["Actor"]["ID"].startswith(container))
    ]  # fmt: skip
    if not fits:
        raise ValueError(f"lifecycle: no event is about {container!r}; give a container's name or id")
    whole = fits[-1]["Actor"]["ID"]  # of several that had the name, the last
    events = [one for one in heard if one["Actor"]["ID"] == whole and one["Action"] in STATES]
    steps, state = [], ""
    for event in events:
        at, status = (event["timeNano"] - events[0]["timeNano"]) / 1e9, ""
        if event["Action"] == "die":
            status = event["Actor"]["Attributes"].get("exitCode", "")
            if state == "paused":  # the frozen can't die: it was thawed for that
                steps.append(Step(("paused", "running"), at))
                state = "running"
        steps.append(Step((state, STATES[event["Action"]]), at, status))
        state = STATES[event["Action"]]
    attributes = fits[-1]["Actor"]["Attributes"]
    about = (attributes.get("name", ""), whole[:12], attributes.get("image", ""))
    return cut(" · ".join(about)), steps


def _way(axes: Axes, way: tuple[str, str], taken: list[tuple[int, Step]]) -> None:
    said, line, x, y, align, below = WAYS[way]
    colour, width = (BLUE, 2.8) if taken else (RULE, 1.0)
    xs, ys = zip(*line, strict=True)
    axes.plot(xs[:-1] + xs[-1:], ys, color=colour, linewidth=width, solid_joinstyle="round", zorder=0.5)
    head = {
        "arrowstyle": "-|>,head_width=.32,head_length=.6",
        "color": colour,
        "linewidth": width,
        "shrinkB": 0,
    }
    axes.annotate("", line[-1], line[-2], arrowprops={**head, "shrinkA": 0})
    write(axes, x, y, said, bold=bool(taken), size=9, align=align)
    for row, text in enumerate(_taken(taken)):
        write(axes, x, y + below + 15 * row, text, bold=True, size=9, align=align, colour=INK)


def _taken(taken: list[tuple[int, Step]]) -> list[str]:
    """The figures at a way: which steps it was, and when; of many the first and the last."""
    texts = [
        f"{number}:  {seconds(step.at)}" + f", status {step.status}" * bool(step.status)
        for number, step in taken
    ]
    return texts if len(texts) < 3 else [f"{texts[0]} …", f"{texts[-1]}"]


def _words(about: str, steps: list[Step]) -> str:
    """The drawing said in sentences."""
    if not steps:
        ways = [
            f"{way.said} leads from {here or 'nothing'} to {there}" for (here, there), way in WAYS.items()
        ]
        return f"States: {', '.join(PLACES)}. {'; '.join(ways)}."
    went = [
        f"{step.way[1]} after {seconds(step.at)}" + f" with exit status {step.status}" * bool(step.status)
        for step in steps
    ]
    return f"{about}: {', '.join(went)}."
