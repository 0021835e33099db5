"""Finds the step or the excursion that makes up a run's growth. No leak depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pytest_leakguard.growth import thresholds
from pytest_leakguard.growth.metrics import Metric
from pytest_leakguard.growth.statistics import Point, Run, envelope


@dataclass(frozen=True, slots=True)
class Step:
    """What a burst is made of."""

    summary: str
    is_early: bool = False
    """It came while caches fill and runtimes start."""


@dataclass(frozen=True, slots=True, order=True)
class _Leap:
    """The rise over two neighbouring windows."""

    size: float = 0.0
    where: float = 0.0
    """Request of the window in the middle."""
    window: int = 0
    """Number of the window before it."""


def burst_in(run: Run, metric: Metric) -> Step | None:
    """Return the step or excursion that makes up the run's growth; ``None`` when there is none.

    A step is a rise within two neighbouring windows that makes up half of all rise; a small one
    must be nearly all of it, two together most of it. While caches fill, it must come after a
    rest. An excursion was given back, and was more than what was kept.
    """
    points = envelope(run, thresholds.RUN_WINDOWS)
    # In the samples rather than the windows, whose minima hide what was given back.
    given_back = _given_back(run.ys)
    if given_back >= max(metric.step, points[-1][1] - points[0][1]):
        return Step(f"{given_back:.0f} {metric.unit} were taken and given back")
    # Rises alone: what falls in between would hide how much was filled.
    rises = sum(max(0.0, b - a) for (_, a), (_, b) in pairwise(points))
    filled = run.xs[0] + thresholds.FILLING * run.span
    leaps = _leaps(points, filled, run.xs[0] + thresholds.WARM_UP * run.span)
    first = max(leaps, default=_Leap())
    if _is_step(first.size, rises, metric):
        summary = f"a step of {first.size:.0f} {metric.unit} near request {first.where:.0f}"
        return Step(summary, first.where < filled)
    return _two_steps(first, leaps, rises, filled, metric)


def _given_back(ys: Sequence[float]) -> float:
    """Return the largest fall from a sample to any later one."""
    most, lowest = 0.0, ys[-1]
    for y in reversed(ys):
        lowest = min(lowest, y)
        most = max(most, y - lowest)
    return most


def _leaps(points: Sequence[Point], filled: float, begin: float) -> list[_Leap]:
    """Return the rises that may be steps; those before ``filled`` only after a rest."""
    leaps: list[_Leap] = []
    for i in range(len(points) - 2):
        (_, low), (x, _), (_, high) = points[i : i + 3]
        # A cache that is filled in few readings looks like a step, but no rest comes before.
        if x >= filled or _follows_a_rest(points, i, begin):
            leaps.append(_Leap(high - low, x, i))
    return leaps


def _follows_a_rest(points: Sequence[Point], i: int, begin: float) -> bool:
    """Return whether next to nothing rose before the rise that begins at point ``i``.

    Before it means some part of its own width at least; all of it must come after ``begin``.
    """
    (x, low), (end, high) = points[i], points[i + 2]
    distance = thresholds.REST_WIDTH * (end - x)
    before = [y for earlier, y in points[:i] if x - earlier >= distance]
    if x < begin or not before:
        return False
    return low - before[-1] < thresholds.REST_RISE * (high - low)


def _is_step(size: float, rises: float, metric: Metric) -> bool:
    is_large = size >= max(metric.step, thresholds.BURST_SHARE * rises)
    small = thresholds.SMALL_BURST * metric.step
    return is_large or size >= max(small, thresholds.SMALL_BURST_SHARE * rises)


def _two_steps(
    first: _Leap, leaps: Sequence[_Leap], rises: float, filled: float, metric: Metric
) -> Step | None:
    """Return one step in each of two workers."""
    # Neighbours share a window with the first, and are the same step.
    apart = [leap for leap in leaps if abs(leap.window - first.window) > 1]
    second = max(apart, default=_Leap())
    is_large = min(first.size, second.size) >= metric.step
    if not is_large or first.size + second.size < thresholds.BURST_PAIR_SHARE * rises:
        return None
    sizes = f"{first.size:.0f} and {second.size:.0f} {metric.unit}"
    places = f"{first.where:.0f} and {second.where:.0f}"
    summary = f"steps of {sizes} near requests {places}"
    return Step(summary, max(first.where, second.where) < filled)
