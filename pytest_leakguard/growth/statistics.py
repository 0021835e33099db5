"""What one series of readings says: its floor, its slope, and how surely it keeps rising.

Pure arithmetic on numbers already read. Must never know what the answer is called or who asks.
The rules and their measurements are those of the growth study (algorithm v3.1): lower envelopes
against garbage-collector sawtooth and freed bursts, scale-free tails against warm-up.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median, stdev

from pytest_leakguard.growth.metrics import Metric

SIGN_LEVEL = 0.001
"""One-sided level of the sign test: at least ten rises and no fall."""
TREND_LEVEL = 1e-4
"""One-sided level of Mann-Kendall, where a metric allows it."""
TAIL_WINDOWS = 24
RUN_WINDOWS = 48
WARM_UP = 0.05
"""Share of the run whose rise is start-up, not a cache; only names depend on it, no leak does."""
FILLING = 0.15
"""Share in which a cache may be filled within two windows, without a rest before."""
MIN_WINDOWS = 11
"""Eleven windows have the ten rises that the sign test needs."""
MIN_SAMPLES = 15
"""As many samples as give the last three quarters of a run eleven windows."""

_USABLE = 2.0**63
"""No counter of this kernel goes beyond; larger readings are damage, and would overflow here."""
_NEXT_SAMPLE = 1e-9
"""Least distance of two samples, as a share of the run: below, a rate is rounding error."""
_T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t, 97.5 %, 1 to 10 degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Run:
    """The usable samples of one series, in order; ``xs`` strictly increase."""

    xs: tuple[float, ...]
    ys: tuple[float, ...]
    dropped: int = 0
    """Samples that were missing, not a number, absurd, or out of order."""

    @property
    def span(self) -> float:
        return self.xs[-1] - self.xs[0] if self.xs else 0.0

    def part(self, start: float, end: float = 1.0) -> Run:
        """Return the samples between two shares of the run (0 its first request, 1 its last)."""
        first = bisect_left(self.xs, self.xs[0] + start * self.span)
        last = bisect_right(self.xs, self.xs[0] + end * self.span) if end < 1 else len(self.xs)
        return Run(self.xs[first:last], self.ys[first:last])


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth per request with its 95 % interval."""

    per_iteration: float = 0.0
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True, slots=True)
class Tail:
    """What the last part of a run says about growth."""

    share: float
    """Which part: the last 3/4, 1/2 or 1/4."""
    windows: int
    slope: Slope
    rise: float
    rising: int
    falling: int
    chance: float
    """Probability of as many rises where each is as likely as a fall."""
    against: tuple[str, ...]
    """The rules that do not see growth here; empty when all do."""

    @property
    def is_growing(self) -> bool:
        return not self.against

    @property
    def told(self) -> str:
        rate = f"{_plain(self.slope.per_iteration)} per request"
        said = "; ".join(self.against) or f"grows by {rate}, chance {self.chance:.2g}"
        return f"last {self.share:.0%}: {said}"


def usable(requests: Sequence[float], values: Sequence[float | None]) -> Run:
    """Keep the samples that can be reasoned about; the rest is counted, never guessed."""
    pairs = list(zip(requests, values, strict=False))
    reach = [x for x, _ in pairs if _is_sane(x)]
    least = (max(reach) - min(reach)) * _NEXT_SAMPLE if reach else 0.0
    xs: list[float] = []
    ys: list[float] = []
    for x, y in pairs:
        if y is not None and _is_sane(x) and _is_sane(y) and (not xs or x - xs[-1] > least):
            xs.append(float(x))
            ys.append(float(y))
    total = max(len(requests), len(values))
    if len(xs) > 1 and xs[-1] - xs[0] < _NEXT_SAMPLE:
        return Run((), (), total)
    return Run(tuple(xs), tuple(ys), total - len(xs))


def _plain(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _is_sane(number: float) -> bool:
    return -_USABLE <= number <= _USABLE  # false for NaN as well


def envelope(run: Run, windows: int) -> list[tuple[float, float]]:
    """Return the lowest sample of each of equally long request windows; empty ones are left out.

    A garbage collector's sawtooth and released bursts vanish; a leak raises the minima too.
    """
    if not run.xs:
        return []
    start, width = run.xs[0], run.span / windows or 1.0
    best: dict[int, tuple[float, float]] = {}
    for x, y in zip(run.xs, run.ys, strict=True):
        window = min(int((x - start) / width), windows - 1)
        if window not in best or y < best[window][1]:
            best[window] = (x, y)
    return [best[window] for window in sorted(best)]


def theil_sen(points: Sequence[tuple[float, float]]) -> float:
    """Return the median slope over all pairs of points: no outlier and no step moves it far."""
    slopes = [(yb - ya) / (xb - xa) for i, (xb, yb) in enumerate(points) for xa, ya in points[:i]]
    return median(slopes) if slopes else 0.0


def slope_of(points: Sequence[tuple[float, float]], quantum: float) -> Slope:
    """Return the Theil-Sen slope, and an interval from the rates of about eight blocks.

    The half-width is never below 5 % of the slope nor below one quantum over the span: both the
    counter and the choice of windows are coarser than the scatter alone would claim.
    """
    if len(points) < 2:
        return Slope()
    rate = theil_sen(points)
    edges = points[:: max(1, (len(points) - 1) // 8)]
    rates = [(yb - ya) / (xb - xa) for (xa, ya), (xb, yb) in pairwise(edges)]
    count = len(rates)
    spread = 0.0
    if count > 1:
        t = _T975[min(count - 2, len(_T975) - 1)]
        spread = t * stdev(rates) / math.sqrt(count)
    half = max(spread + quantum / (points[-1][0] - points[0][0]), 0.05 * abs(rate))
    mean = fmean(rates)
    return Slope(rate, min(rate, mean) - half, max(rate, mean) + half)


def sign_test(rising: int, falling: int) -> float:
    """Return the chance of at least so many rises among fair, independent changes."""
    changes = rising + falling
    return sum(math.comb(changes, k) for k in range(rising, changes + 1)) / (1 << changes)


def mann_kendall(values: Sequence[float]) -> float:
    """Return the one-sided p of an upward trend, ties corrected (Kendall 1975)."""
    n = len(values)
    score = sum((b > a) - (b < a) for i, b in enumerate(values) for a in values[:i])
    ties = [values.count(v) for v in set(values)]
    variance = (n * (n - 1) * (2 * n + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties)) / 18
    if score <= 0 or variance <= 0:
        return 1.0
    return 0.5 * math.erfc((score - 1) / math.sqrt(2 * variance))


def look_at_tail(run: Run, share: float, metric: Metric) -> Tail:
    """Ask five rules whether the last ``share`` of the run grows; all of them must say so.

    As an intersection-union test the whole has the level of its weakest part.
    """
    points = envelope(run.part(1 - share), TAIL_WINDOWS)
    values = [y for _, y in points]
    steps = [b - a for a, b in pairwise(values)]
    rising = sum(step >= metric.quantum for step in steps)
    falling = sum(step <= -metric.quantum for step in steps)
    chance = sign_test(rising, falling)
    slope = slope_of(points, metric.quantum)
    rise = values[-1] - values[0] if values else 0.0
    rules = (
        ("too few samples in it", len(points) >= MIN_WINDOWS),
        (
            f"{rising} rises and {falling} falls may be chance (p={chance:.2g})",
            chance <= SIGN_LEVEL
            or (metric.allows_mann_kendall and mann_kendall(values) <= TREND_LEVEL),
        ),
        (f"the rise of {rise:.0f} is below {metric.floor:.0f} {metric.unit}", rise >= metric.floor),
        ("two steps make up most of the rise", _is_spread(steps)),
        ("the slope's interval holds zero", slope.low > 0 and slope.per_iteration > 0),
        ("its halves grow at different rates", _is_balanced(points)),
    )
    against = tuple(text for text, sees_growth in rules if not sees_growth)
    return Tail(share, len(points), slope, rise, rising, falling, chance, against)


def _is_spread(steps: Sequence[float]) -> bool:
    rises = sorted(step for step in steps if step > 0)
    return sum(rises[-2:]) <= 0.6 * sum(rises)


def _is_balanced(points: Sequence[tuple[float, float]]) -> bool:
    middle = len(points) // 2
    first, second = _rate(points[: middle + 1]), _rate(points[middle:])
    return first >= 0.3 * second and second >= 0.6 * first


def _rate(points: Sequence[tuple[float, float]]) -> float:
    """Return the Theil-Sen rate; where stairs make it zero, the mean without the largest jump."""
    rate = theil_sen(points)
    if rate or len(points) < 2:
        return rate
    steps = [b[1] - a[1] for a, b in pairwise(points)]
    return (sum(steps) - max(steps)) / (points[-1][0] - points[0][0])


def is_slowing(run: Run) -> str:
    """Say how growth fades over the last three quarters of the run; empty when it does not.

    The ratio of neighbouring quarters is 0.58 then 0.71 for logarithmic creep (0.41 in all), constant below one
    for exponential saturation, and one for a leak.
    """
    second, third, last = (
        theil_sen(envelope(run.part(k / 4, (k + 1) / 4), TAIL_WINDOWS)) for k in (1, 2, 3)
    )
    fades = last < 0.6 * third or last < 0.4 * second
    if fades or (last < 0.8 * third and third < 0.8 * second):
        return f"growth fades: {_plain(second)}, {_plain(third)}, {_plain(last)} per request by quarter"
    return ""


def has_stopped(run: Run, metric: Metric) -> str:
    """Say since when the run is flat, if that silence cannot be chance; empty otherwise.

    The rule of succession from the rises before gives the chance of each flat sample; the growth
    missing since then must be worth two floors, so that a rare large leak is not taken for an end.
    """
    half = run.part(0.5)
    if len(half.xs) < 3:
        return ""
    retained = list(half.ys)  # greatest non-decreasing minorant: what was never given back
    for i in range(len(retained) - 2, -1, -1):
        retained[i] = min(retained[i], retained[i + 1])
    steps = [b - a for a, b in pairwise(retained)]
    rises = [step for step in steps if step >= metric.quantum]
    least = max(metric.quantum, 0.2 * median(rises)) if rises else metric.quantum
    flat = next((i for i, step in enumerate(reversed(steps)) if step >= least), len(steps))
    before = steps[: len(steps) - flat]
    chance = (sum(step >= least for step in before) + 1) / (len(before) + 2)
    edge = half.xs[len(before)]
    earlier = (retained[len(before)] - retained[0]) / (edge - half.xs[0]) if before else 0.0
    missing = earlier * (half.xs[-1] - edge)
    if (1 - chance) ** flat <= 0.01 and missing >= 2 * metric.floor:
        return f"growth stopped {half.xs[-1] - edge:.0f} requests before the end"
    return ""


@dataclass(frozen=True, slots=True)
class Step:
    """What a burst is made of."""

    told: str
    is_early: bool = False
    """It came while caches fill and runtimes start."""


def burst_in(run: Run, metric: Metric) -> Step | None:
    """Return what step or excursion makes up the run's growth; ``None`` when it is filling or flat.

    A step is a rise within two neighbouring windows that makes up half of all rise; a small one
    must be nearly all of it, two together most of it. In the first 15 %, where caches fill, it
    must come after a rest. An excursion was given back, and was more than what was kept.
    """
    points = envelope(run, RUN_WINDOWS)
    values = [y for _, y in points]
    given_back, lowest = 0.0, run.ys[-1]
    for y in reversed(run.ys):
        lowest = min(lowest, y)
        given_back = max(given_back, y - lowest)
    if given_back >= max(metric.step, values[-1] - values[0]):
        return Step(f"{given_back:.0f} {metric.unit} were taken and given back")
    rises = sum(max(0.0, b - a) for a, b in pairwise(values))
    filled = run.xs[0] + FILLING * run.span
    leaps = [
        (c - a, x, i)
        for i, (a, (x, _), c) in enumerate(zip(values, points[1:], values[2:], strict=False))
        if x >= filled or _follows_a_rest(points, i, run.xs[0] + WARM_UP * run.span)
    ]
    leap, where, at = max(leaps, default=(0.0, 0.0, 0))
    is_all_there_is = leap >= max(metric.step / 4, 0.9 * rises)
    if is_all_there_is or leap >= max(metric.step, 0.5 * rises):
        return Step(f"a step of {leap:.0f} {metric.unit} near request {where:.0f}", where < filled)
    second, again, _ = max((one for one in leaps if abs(one[2] - at) > 1), default=(0.0, 0.0, 0))
    if (
        min(leap, second) >= metric.step and leap + second >= 0.8 * rises
    ):  # one in each of two workers
        told = f"steps of {leap:.0f} and {second:.0f} {metric.unit} near requests {where:.0f} and {again:.0f}"
        return Step(told, max(where, again) < filled)
    return None


def _follows_a_rest(points: Sequence[tuple[float, float]], i: int, begin: float) -> bool:
    """Whether the rise from point ``i`` to the next but one comes after ``begin``, and next to nothing rose before it.

    Before it means over half its width at least.
    """
    (x, low), (end, high) = points[i], points[i + 2]
    before = [y for at, y in points[:i] if x - at >= (end - x) / 2]
    return x >= begin and bool(before) and low - before[-1] < 0.1 * (high - low)
