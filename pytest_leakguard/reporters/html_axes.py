"""Axes of a drawing: from zero or with a marked break, with ticks at round numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 440, 220
"""Of one drawing with its labels, in units of its SVG; a column of the page is about as wide."""
LEFT, RIGHT, TOP, BOTTOM = 66, 28, 14, 34
"""Room beside the drawing itself, for the labels of the ticks."""
_MOST_TICKS = 5
"""Distances between ticks on one axis; labels of more would touch each other."""
_FLAT = 0.4
"""Share of its height that a series must rise for its axis to begin at zero; below, the rise could
not be seen, and the axis is broken and says so."""
_FARTHEST = 10.0
"""Widths or heights that a point may lie outside; browsers draw nothing with larger numbers."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Where on the drawing, and what it says."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """From values to units of the drawing."""

    low: float
    high: float
    start: float
    """Where on the drawing ``low`` is."""
    end: float
    unit: str = ""

    @property
    def is_broken(self) -> bool:
        """Whether it begins above zero, which has to be marked."""
        return self.low > 0

    def at(self, value: float) -> float:
        """Where ``value`` is on the drawing."""
        span = self.high - self.low
        share = (value - self.low) / span if span > 0 else 0.0
        share = min(_FARTHEST, max(-_FARTHEST, share))
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> tuple[Tick, ...]:
        """At round numbers; its ends are among them where they are round."""
        step = _step(self.high - self.low, self.unit)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        values = [number * step for number in range(first, last + 1)][: 2 * _MOST_TICKS]
        return tuple(Tick(self.at(value), self.label(value)) for value in values)

    def label(self, value: float) -> str:
        """``14.25 MiB``, to the last digit, since ticks stand close; of plain numbers ``1,500``."""
        if self.unit == "bytes":
            return _bytes(value, max(abs(self.high), abs(self.low)))
        if value == int(value):
            return f"{value:,.0f}"
        return f"{value:,.3g}"


def _bytes(value: float, largest: float) -> str:
    """In the unit that the largest value of the axis is told in."""
    size, name = 1.0, "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if largest < 1024 * size:
            break
        size, name = 1024 * size, larger
    number = f"{value / size:,.4f}".rstrip("0").rstrip(".")
    return f"{number} {name}" if value else "0"


def horizontal(low: float, high: float) -> Axis:
    """Along the bottom."""
    return Axis(low, high if high > low else low + 1, LEFT, WIDTH - RIGHT)


def vertical(values: Sequence[float], unit: str) -> Axis:
    """From zero where the rise can be seen so; broken below the series otherwise."""
    low, high = min(values), max(values)
    if low >= 0 and (high - low) < _FLAT * high:
        # A flat series lies in the middle of its axis.
        step = _step((high - low) or _FLAT * high, unit)
        bottom = max(0.0, math.floor(low / step) * step - (step if high == low else 0))
        top = max(math.ceil(high / step) * step, bottom + step)
    else:
        step = _step(high - min(low, 0.0), unit)
        bottom = min(0.0, math.floor(low / step) * step)
        top = max(math.ceil(high / step) * step, bottom + step)
    return Axis(bottom, top, HEIGHT - BOTTOM, TOP, unit)


def _step(span: float, unit: str) -> float:
    """A round distance between ticks: 1, 2 or 5 times a power of ten; of bytes, a power of two."""
    if span <= 0 or not math.isfinite(span):
        span = 1.0
    rough = span / _MOST_TICKS
    if unit == "bytes" and rough >= 1:
        return float(2.0 ** math.ceil(math.log2(rough * 0.999)))
    power = 10.0 ** math.floor(math.log10(rough))
    for factor in (1, 2, 5):
        if factor * power >= rough * 0.999:
            return factor * power
    return 10 * power
