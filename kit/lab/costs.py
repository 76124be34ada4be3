"""What approaches cost, beside each other: start time, memory, disk, on scales of powers of ten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kit.lab.picture import Picture


def costs(figures: Mapping[str, Mapping[str, float]], title: str = "what isolation costs") -> Picture:
    """Draw bars for each approach: ``{"4 processes": {"start": 0.004, "memory": 2e6, "disk": 1e6}, ...}``.

    ``start`` is in seconds, ``memory`` and ``disk`` in bytes; an approach may lack one. The scale is
    logarithmic, so each figure is written beside its bar. Raises ValueError for another name, for a figure
    that is not above zero, and for nothing to draw.
    """
    raise NotImplementedError


def starts(times: Mapping[str, Sequence[float]], title: str = "start times") -> Picture:
    """Draw each start as a dot, the median marked: ``{"processes": [0.0006, ...], "containers": [...]}``.

    Times are in seconds, the scale logarithmic. Raises ValueError for nothing to draw, and a time not above
    zero.
    """
    raise NotImplementedError
