"""Sliders bound to a control group's limits, and a table of the files that were really written."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from html import escape
from typing import Any

import ipywidgets as widgets
from IPython.core.getipython import get_ipython
from IPython.display import display

from kit.lab.subshell import answer_while_busy
from kit.show import Table, measured

MIB = 1 << 20
PERIOD = 100_000  # microseconds, the kernel's default


def _percent(value: float) -> str:
    return f"{value:g} % of one CPU"


def _mib(value: int) -> str:
    return f"{value / MIB:g} MiB" if value < 1024 * MIB else f"{value / (1024 * MIB):.3g} GiB"


def human(name: str, value: Any) -> str:
    """A limit as a reader says it."""
    if value == "max" or (name == "cpu.max" and value[0] == "max"):
        return "no limit"
    if name == "cpu.max":
        return _percent(100 * value[0] / value[1])
    return _mib(value) if name == "memory.max" else str(value)


def _choices(name: str, given: Sequence[Any] | bool) -> list[tuple[str, Any]]:
    """What a slider offers: (what the reader reads, what is written)."""
    if name == "cpu.max":
        percents = given if not isinstance(given, bool) else range(5, 100 * (os.cpu_count() or 1) + 1, 5)
        return [(_percent(p), (round(p * PERIOD / 100), PERIOD)) for p in percents] + [("no limit", "max")]
    if name == "memory.max":
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        usual = [
            half * MIB << power for power in range(2, 30) for half in (2, 3)
        ]  # 8, 12, 16, 24, 32, ... MiB
        sizes = given if not isinstance(given, bool) else [size for size in usual if size < total / 2]
        return [(_mib(size), size) for size in sizes] + [("no limit", "max")]
    weights = given if not isinstance(given, bool) else (1, 10, 25, 50, 100, 200, 400, 1000, 10_000)
    return [(f"{weight}" + (" (default)" if weight == 100 else ""), weight) for weight in weights]


LABELS = {"cpu.max": "CPU at most", "cpu.weight": "CPU weight", "memory.max": "memory at most"}


class LimitSliders:
    """Sliders for one group; made by :func:`limits`. ``sliders`` maps ``"cpu.max"`` ... to the ipywidgets
    slider.
    """

    def __init__(self, group: Any, offered: dict[str, Sequence[Any] | bool]) -> None:
        self.group = group
        self.sliders: dict[str, Any] = {}
        self._choices = {name: _choices(name, given) for name, given in offered.items()}
        self._moving_back = False
        self._said: dict[str, Any] = {}
        self._display_id = f"kit-limits-{uuid.uuid4().hex}"
        rows = []
        for name, choices in self._choices.items():
            slider = widgets.SelectionSlider(
                options=[label for label, _ in choices], value=_nearest(choices, group[name]),
                description=LABELS[name], style={"description_width": "9em"}, layout={"width": "36em"},
            )  # fmt: skip
            slider.tooltip = f"{name} of {group.name}"
            answer_while_busy(slider)
            said = widgets.HTML("&nbsp;", layout={"margin": "0 0 0 1em"})
            slider.observe(
                lambda change, name=name, values=dict(choices): self._set(name, values[change.new]), "value"
            )
            self.sliders[name], self._said[name] = slider, said
            rows.append(widgets.HBox([slider, said], layout={"align_items": "center"}))
        self.widget = widgets.VBox(rows)

    def _set(self, name: str, value: Any) -> None:
        """Write a limit; runs in the thread of the widget's message, also while a cell is busy."""
        if self._moving_back:
            return
        try:
            self.group[name] = value
        except (OSError, ValueError) as refused:
            self._said[name].value = f'<span role="alert">⚠ refused: {escape(str(refused))}</span>'
            self._move_back(name)
            return
        self._said[name].value = '<span role="status">✓ written</span>'
        self._update()

    def _move_back(self, name: str) -> None:
        """Let the slider show what the group still has."""
        try:
            label = _nearest(self._choices[name], self.group[name])
        except OSError:
            return  # the group has gone: there is nothing to show
        self._moving_back = True
        self.sliders[name].value = label
        self._moving_back = False

    def table(self) -> Table:
        """The limits as they stand, and each file with the text that was last written for them."""
        rows = []
        for name in self.sliders:
            value = human(name, self.group[name])
            files = {written.path: written.text for written in self.group.written if written.name == name}
            for path, text in files.items() or [("not written yet", "")]:
                rows.append((name, value, path, text))
        return Table(f"limits of {self.group.name}", ("limit", "value", "file really written", "text"), rows)

    def _update(self) -> None:
        if get_ipython() is not None:
            display(self.table(), display_id=self._display_id, update=True)

    def _ipython_display_(self) -> None:
        names = ", ".join(self.sliders)
        data = self.widget._repr_mimebundle_()
        data["text/plain"] = f"[sliders] {names} of {self.group.name}"
        data["text/html"] = measured("<em>Sliders stand here while the notebook runs.</em>")
        display(data, raw=True)
        display(self.table(), display_id=self._display_id)


def _nearest(choices: list[tuple[str, Any]], value: Any) -> str:
    """The label of the choice that stands closest to what the kernel has now."""

    def number(one: Any) -> float:
        first = one[0] if isinstance(one, tuple | list) else one
        if first == "max":
            return float("inf")
        return first / one[1] if isinstance(one, tuple | list) else float(first)

    now = number(value)
    if now == float("inf"):
        return choices[-1][0]
    return min(
        (choice for choice in choices if number(choice[1]) < float("inf")),
        key=lambda c: abs(number(c[1]) - now),
    )[0]


def limits(
    group: Any,
    cpu_max: bool | Sequence[float] = True,
    cpu_weight: bool | Sequence[int] = False,
    memory_max: bool | Sequence[int] = False,
) -> LimitSliders:
    """Sliders that set a group's limits; they work while a cell is busy.

    ``cpu_max`` in percent of one CPU, ``cpu_weight`` 1 to 10000, ``memory_max`` in bytes: ``True`` offers a
    usual range, a sequence offers its values. The table below says which file was really written. A limit
    that the kernel refuses is said in one sentence beside the slider, and the group keeps what it had. Raises
    ValueError when nothing is asked for.
    """
    offered = {"cpu.max": cpu_max, "cpu.weight": cpu_weight, "memory.max": memory_max}
    asked: dict[str, Sequence[Any] | bool] = {
        name: given for name, given in offered.items() if given is not False
    }
    if not asked:
        raise ValueError("limits: no limit asked for; set cpu_max, cpu_weight or memory_max")
    return LimitSliders(group, asked)
