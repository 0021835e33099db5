"""Growth as a drawing: points, warm-up, fit and interval in the coordinates of an SVG, with axes.

Geometry only, no verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_leakguard.core.checks import Check, Diagnosis, Growth, Mark
from pytest_leakguard.core.metric_names import MetricName
from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.core.text import plural, quantity, two_digits
from pytest_leakguard.growth import thresholds
from pytest_leakguard.reporters.growth_text import deciding, head, rate
from pytest_leakguard.reporters.html_axes import Axis, Tick, horizontal, vertical

MOST_POINTS = 160
"""Points of one line; more cannot be told apart at this width."""
_LARGEST = 1e18
"""Samples above that come from a damaged report, and would overflow."""
_LIVE = (MetricName.HEAP_BYTES, MetricName.MAPPED_BYTES, MetricName.HEAP)
"""Parts of what a limit counts; a limit drawn beside them would seem farther than it is."""
_NEAR_LIMIT = 1.6
"""Times the highest sample up to which a limit is drawn; further up it would flatten the curve."""


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
    warm_up: tuple[float, float]
    """Left end and width of what was left out."""
    settled: float | None
    """Where filling had ended."""
    limit: Tick | None
    """The memory limit, where it is near enough to be drawn."""
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_title: str
    is_broken: bool
    """The upright axis does not begin at zero."""
    said: str
    """For those who do not see it."""
    facts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outlook:
    """When the memory limit is reached if the same traffic continues, drawn from zero."""

    check: str
    line: str
    """Of a polyline, from what is in use now."""
    interval: str
    """Of a polygon; empty where one end is not known."""
    levels: tuple[Tick, ...]
    """85 %, 95 % and the limit itself."""
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_title: str
    said: str


def curves_of(check: Check) -> tuple[Curve, ...]:
    """The series of ``check`` worth a drawing.

    That is the one that decided, and others that leak and are not bytes again. What every run of a
    test keeps the same of is a straight line, which its card says in one.
    """
    decisive = deciding(check.diagnosis, check.growth) if check.diagnosis else None
    series = [decisive] if decisive else []
    for growth in check.growth:
        is_again = decisive is not None and (growth is decisive or _is_bytes(growth))
        is_straight = check.kind == "test" and growth.low == growth.high
        if growth.shape is Shape.LEAK and not is_again and not is_straight:
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
    per, settled_at = "run", None
    answer = f"{growth.metric}: {rate(growth, per)}"
    limit_bytes = 0
    if check.diagnosis is not None:
        per = check.diagnosis.per
        answer = f"{growth.metric}: {rate(growth, per)}"
        is_limited = growth.unit == "bytes" and growth.metric not in _LIVE
        limit_bytes = check.diagnosis.limit_bytes if is_limited else 0
        if growth.metric == check.diagnosis.metric:
            settled_at = check.diagnosis.settled_at
            answer = head(check.diagnosis, check.growth)
    plane = _Plane.of(samples, growth.unit, limit_bytes)
    fit, interval = _fitted(growth, samples, plane, settled_at)
    warm_up = thresholds.WARM_UP * (plane.x.high - plane.x.low)
    return Curve(
        check=check.id,
        answer=answer,
        shape=growth.shape,
        points=plane.points(_thinned(samples)),
        fit=fit,
        interval=interval,
        warm_up=(plane.x.start, round(plane.x.at(plane.x.low + warm_up) - plane.x.start, 1)),
        settled=None if settled_at is None else plane.x.at(float(settled_at)),
        limit=plane.limit(limit_bytes),
        x_ticks=plane.x.ticks(),
        y_ticks=plane.y.ticks(),
        x_title=plural(per),
        is_broken=plane.y.is_broken,
        said=_said(samples, growth.unit, per, plane),
        facts=growth.evidence,
    )


def _said(samples: Sequence[tuple[float, float]], unit: str, per: str, plane: _Plane) -> str:
    first, last = quantity(samples[0][1], unit), quantity(samples[-1][1], unit)
    start = "does not begin at zero" if plane.y.is_broken else "begins at zero"
    return f"From {first} to {last} in {samples[-1][0]:,.0f} {plural(per)}; the axis {start}."


def _fitted(
    growth: Growth,
    samples: Sequence[tuple[float, float]],
    plane: _Plane,
    settled_at: int | None,
) -> tuple[str, str]:
    """Line and interval from where warm-up or filling had ended; both empty without a fit."""
    slopes = (growth.per_iteration, growth.low, growth.high)
    if growth.shape is Shape.UNDECIDED or not all(map(math.isfinite, slopes)):
        return "", ""
    left, right = samples[0][0], samples[-1][0]
    start = left + thresholds.WARM_UP * (right - left)
    if settled_at is not None and settled_at < right:
        start = max(start, float(settled_at))
    judged = [sample for sample in samples if sample[0] >= start] or samples
    centre = (sum(x for x, _ in judged) / len(judged), sum(y for _, y in judged) / len(judged))
    fit, low, high = (plane.line(centre, slope, (start, right)) for slope in slopes)
    # A polygon goes along the lower line and back along the upper one.
    return fit, f"{low} {' '.join(reversed(high.split()))}"


def outlook_of(check: Check) -> Outlook | None:
    """The forecast of ``check``; ``None`` where no limit was given or none will be reached."""
    diagnosis = check.diagnosis
    if diagnosis is None or not diagnosis.limit_bytes:
        return None
    ahead = [mark for mark in diagnosis.marks if mark.requests and mark.requests < _LARGEST]
    if not ahead or max(diagnosis.limit_bytes, diagnosis.current_bytes) >= _LARGEST:
        return None
    return _outlook(check.id, diagnosis, ahead)


def _outlook(check_id: str, diagnosis: Diagnosis, marks: Sequence[Mark]) -> Outlook:
    last = marks[-1]
    assert last.requests is not None
    limit, now = float(diagnosis.limit_bytes), float(diagnosis.current_bytes)
    plane = _Plane(horizontal(0.0, last.requests * 1.1), vertical((0.0, limit), "bytes"))
    pace = (last.share * limit - now) / last.requests
    ends = (0.0, plane.x.high)
    levels = [Tick(plane.y.at(mark.share * limit), f"{mark.share:.0%}") for mark in marks]
    words = "; ".join(
        f"{mark.share:.0%} after {two_digits(mark.requests or 0)} {plural(diagnosis.per)}"
        for mark in marks
    )
    return Outlook(
        check=check_id,
        line=plane.line((0.0, now), pace, ends),
        interval=_cone(plane, last, limit, now),
        levels=(*levels, Tick(plane.y.at(limit), f"limit {quantity(limit)}")),
        x_ticks=plane.x.ticks(),
        y_ticks=plane.y.ticks(),
        x_title=f"{plural(diagnosis.per)} from now on",
        said=f"{quantity(now)} of {quantity(limit)} in use; {words}.",
    )


def _cone(plane: _Plane, mark: Mark, limit: float, now: float) -> str:
    """Between the soonest and the latest; empty where one of them is not known."""
    soonest_s, latest_s = mark.soonest_s, mark.latest_s
    if not soonest_s or not latest_s or not mark.rate_per_s:
        return ""
    room = mark.share * limit - now
    paces = [room / (seconds * mark.rate_per_s) for seconds in (soonest_s, latest_s)]
    ends = (0.0, plane.x.high)
    upper, lower = (plane.line((0.0, now), pace, ends) for pace in paces)
    return f"{lower} {' '.join(reversed(upper.split()))}"


@dataclass(frozen=True, slots=True)
class _Plane:
    """Both axes of one drawing."""

    x: Axis
    y: Axis

    @classmethod
    def of(cls, samples: Sequence[tuple[float, float]], unit: str, limit_bytes: int) -> _Plane:
        xs, ys = [x for x, _ in samples], [y for _, y in samples]
        if 0 < limit_bytes <= _NEAR_LIMIT * max(ys):
            ys.append(float(limit_bytes))
        return cls(horizontal(min(xs), max(xs)), vertical(ys, unit))

    def limit(self, limit_bytes: int) -> Tick | None:
        """The limit, where the axis reaches it."""
        if not 0 < limit_bytes <= self.y.high:
            return None
        return Tick(self.y.at(limit_bytes), f"limit {quantity(limit_bytes)}")

    def points(self, samples: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x.at(x)},{self.y.at(y)}" for x, y in samples)

    def line(self, centre: tuple[float, float], slope: float, ends: tuple[float, float]) -> str:
        """Two points of the line through ``centre``; the drawing cuts off what leaves it."""
        return self.points([(x, centre[1] + slope * (x - centre[0])) for x in ends])


def _finite(samples: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Samples that can be drawn; a damaged report may hold others."""
    return [(x, y) for x, y in samples if abs(x) < _LARGEST and abs(y) < _LARGEST]


def _thinned(samples: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    step = max(1, math.ceil(len(samples) / MOST_POINTS))
    return [*samples[:-1:step], samples[-1]]
