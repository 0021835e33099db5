"""Growth as a drawing: points, warm-up, fit and interval in the coordinates of an SVG. Geometry only, no verdicts."""

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
MOST_POINTS = 160
_MARGIN = 8


@dataclass(frozen=True, slots=True)
class Curve:
    """One series of one check, drawn."""

    check: str
    told: str
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
    """The series of ``check`` worth a drawing: the one that decided, and others that leak and are not bytes again."""
    decisive = deciding(check.diagnosis, check.growth) if check.diagnosis else None
    told = [decisive] if decisive else []
    told += [
        one
        for one in check.growth
        if one is not decisive and one.shape is Shape.LEAK and not (told and _is_bytes(one))
    ]
    if not told and check.growth and check.kind != "test":
        told = [check.growth[0]]
    return tuple(drawn(check, one) for one in told if len(_finite(one.samples)) > 1)


def _is_bytes(growth: Growth) -> bool:
    """Resident, private and live bytes are readings of the same memory."""
    return growth.unit == "bytes"


def drawn(check: Check, growth: Growth) -> Curve:
    """``growth`` with its fit, which goes through the middle of what was judged."""
    samples = _finite(growth.samples)
    per = check.diagnosis.per if check.diagnosis else "run"
    scale = _Scale.of(samples)
    is_decisive = check.diagnosis is not None and growth.metric == check.diagnosis.metric
    settled = check.diagnosis.settled_at if check.diagnosis and is_decisive else None
    start = scale.left + thresholds.WARM_UP * (scale.right - scale.left)
    if settled is not None and settled < scale.right:
        start = max(start, float(settled))
    judged = [sample for sample in samples if sample[0] >= start] or samples
    centre = (sum(x for x, _ in judged) / len(judged), sum(y for _, y in judged) / len(judged))
    ends = (start, scale.right)
    slopes = (growth.per_iteration, growth.low, growth.high)
    is_fitted = all(map(math.isfinite, slopes)) and growth.shape is not Shape.UNDECIDED
    fit, low, high = (
        (scale.line(centre, slope, ends) for slope in slopes) if is_fitted else ("", "", "")
    )
    return Curve(
        check=check.id,
        told=head(check.diagnosis, check.growth)
        if check.diagnosis and is_decisive
        else f"{growth.metric}: {rate(growth, per)}",
        shape=growth.shape,
        points=scale.points(_thinned(samples)),
        fit=fit,
        interval=f"{low} {' '.join(reversed(high.split()))}" if is_fitted else "",
        warm_up=round(thresholds.WARM_UP * WIDTH, 1),
        settled=round(scale.x(float(settled)), 1) if settled is not None else None,
        top=quantity(scale.high, growth.unit),
        bottom=quantity(scale.low, growth.unit),
        first=f"{scale.left:,.0f}",
        last=f"{scale.right:,.0f} {per}s",
        facts=growth.evidence,
    )


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
        """Two points of the line through ``centre``; it may leave the drawing, which cuts it off."""
        return self.points([(x, centre[1] + slope * (x - centre[0])) for x in ends])


def _share(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low) if high > low else 0.0
    return min(10.0, max(-10.0, share))


def _finite(samples: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Samples that can be drawn; a damaged report may hold others."""
    return [(x, y) for x, y in samples if abs(x) < 1e18 and abs(y) < 1e18]


def _thinned(samples: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    step = max(1, math.ceil(len(samples) / MOST_POINTS))
    return [*samples[:-1:step], samples[-1]]
