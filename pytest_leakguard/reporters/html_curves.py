"""Growth as a drawing: points, warm-up, fit and interval in the coordinates of an SVG.

Geometry only, no verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_leakguard.core.checks import Check, Growth
from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.core.text import quantity
from pytest_leakguard.growth import thresholds
from pytest_leakguard.reporters.growth_text import deciding, head, rate

WIDTH, HEIGHT = 600, 160
"""Of one drawing, in units of its SVG; the page scales it."""
MOST_POINTS = 160
"""Points of one line; more cannot be told apart at this width."""
_MARGIN = 8
"""Above and below the line, so that it is not cut by half its width."""
_FARTHEST = 10.0
"""Widths or heights that a point may lie outside; browsers draw nothing with larger numbers."""
_LARGEST = 1e18
"""Samples above that come from a damaged report, and would overflow."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One series of one check, drawn."""

    check: str
    answer: str
    """The answer in words, as every other report gives it."""
    shape: Shape
    points: str
    """Of a polyline."""
    fit: str
    """Of a polyline; empty where nothing was fitted."""
    interval: str
    """Of a polygon between the ends of the confidence interval; empty where nothing was fitted."""
    warm_up: float
    """Width from the left that was left out."""
    settled: float | None
    """Where filling had ended."""
    top: str
    bottom: str
    first: str
    last: str
    facts: tuple[str, ...] = ()


def curves_of(check: Check) -> tuple[Curve, ...]:
    """The series of ``check`` worth a drawing.

    That is the one that decided, and others that leak and are not bytes again.
    """
    decisive = deciding(check.diagnosis, check.growth) if check.diagnosis else None
    series = [decisive] if decisive else []
    for growth in check.growth:
        is_again = decisive is not None and (growth is decisive or _is_bytes(growth))
        if growth.shape is Shape.LEAK and not is_again:
            series.append(growth)
    if not series and check.growth and check.kind != "test":
        series = [check.growth[0]]
    return tuple(drawn(check, growth) for growth in series if len(_finite(growth.samples)) > 1)


def _is_bytes(growth: Growth) -> bool:
    """Resident, private and live bytes are readings of the same memory."""
    return growth.unit == "bytes"


def drawn(check: Check, growth: Growth) -> Curve:
    """``growth`` with its fit, which goes through the middle of what was judged."""
    samples = _finite(growth.samples)
    scale = _Scale.of(samples)
    per, settled_at = "run", None
    answer = f"{growth.metric}: {rate(growth, per)}"
    if check.diagnosis is not None:
        per = check.diagnosis.per
        answer = f"{growth.metric}: {rate(growth, per)}"
        if growth.metric == check.diagnosis.metric:
            settled_at = check.diagnosis.settled_at
            answer = head(check.diagnosis, check.growth)
    fit, interval = _fitted(growth, samples, scale, settled_at)
    return Curve(
        check=check.id,
        answer=answer,
        shape=growth.shape,
        points=scale.points(_thinned(samples)),
        fit=fit,
        interval=interval,
        warm_up=round(thresholds.WARM_UP * WIDTH, 1),
        settled=None if settled_at is None else round(scale.x(float(settled_at)), 1),
        top=quantity(scale.high, growth.unit),
        bottom=quantity(scale.low, growth.unit),
        first=f"{scale.left:,.0f}",
        last=f"{scale.right:,.0f} {per}s",
        facts=growth.evidence,
    )


def _fitted(
    growth: Growth,
    samples: Sequence[tuple[float, float]],
    scale: _Scale,
    settled_at: int | None,
) -> tuple[str, str]:
    """Line and interval from where warm-up or filling had ended; both empty without a fit."""
    slopes = (growth.per_iteration, growth.low, growth.high)
    if growth.shape is Shape.UNDECIDED or not all(map(math.isfinite, slopes)):
        return "", ""
    start = scale.left + thresholds.WARM_UP * (scale.right - scale.left)
    if settled_at is not None and settled_at < scale.right:
        start = max(start, float(settled_at))
    judged = [sample for sample in samples if sample[0] >= start] or samples
    centre = (sum(x for x, _ in judged) / len(judged), sum(y for _, y in judged) / len(judged))
    ends = (start, scale.right)
    fit, low, high = (scale.line(centre, slope, ends) for slope in slopes)
    # A polygon goes along the lower line and back along the upper one.
    return fit, f"{low} {' '.join(reversed(high.split()))}"


@dataclass(frozen=True, slots=True)
class _Scale:
    """From the values of a series to the coordinates of the drawing."""

    left: float
    right: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[tuple[float, float]]) -> _Scale:
        xs, ys = [x for x, _ in samples], [y for _, y in samples]
        return cls(min(xs), max(xs), min(ys), max(ys))

    def x(self, value: float) -> float:
        return _share(value, self.left, self.right) * WIDTH

    def y(self, value: float) -> float:
        share = _share(value, self.low, self.high) if self.high > self.low else 0.5
        return HEIGHT - _MARGIN - share * (HEIGHT - 2 * _MARGIN)

    def points(self, samples: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in samples)

    def line(self, centre: tuple[float, float], slope: float, ends: tuple[float, float]) -> str:
        """Two points of the line through ``centre``; the drawing cuts off what leaves it."""
        return self.points([(x, centre[1] + slope * (x - centre[0])) for x in ends])


def _share(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low) if high > low else 0.0
    return min(_FARTHEST, max(-_FARTHEST, share))


def _finite(samples: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Samples that can be drawn; a damaged report may hold others."""
    return [(x, y) for x, y in samples if abs(x) < _LARGEST and abs(y) < _LARGEST]


def _thinned(samples: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    step = max(1, math.ceil(len(samples) / MOST_POINTS))
    return [*samples[:-1:step], samples[-1]]
