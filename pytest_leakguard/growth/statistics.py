"""What one series of readings says: its floor, its slope, and how surely it keeps rising.

Pure arithmetic on numbers already read. Must never know what the answer is called or who asks.
Lower envelopes remove the sawtooth of garbage collectors and bursts that were freed; tails that
scale with the run leave warm-up behind. What the rules compare with is in ``thresholds``.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean, linear_regression, median, stdev
from typing import TypeAlias

from pytest_leakguard.growth import thresholds
from pytest_leakguard.growth.metrics import Metric

Point: TypeAlias = tuple[float, float]
"""Requests and reading of one sample."""

_T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Quantiles of Student's t at 97.5 %, for 1 to 10 degrees of freedom."""


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

    def summary_in(self, unit: str) -> str:
        """What the rules say of it, for the reader."""
        rate = f"{_plain(self.slope.per_iteration)} {unit} per request"
        rules = "; ".join(self.against) or f"grows by {rate} (p = {self.chance:.2g})"
        return f"last {self.share:.0%}: {rules}"


def usable(requests: Sequence[float], values: Sequence[float | None]) -> Run:
    """Keep the samples that can be reasoned about; the rest is counted, never guessed."""
    sane = [x for x in requests[: len(values)] if _is_sane(x)]
    least = (max(sane) - min(sane)) * thresholds.LEAST_DISTANCE if sane else 0.0
    xs: list[float] = []
    ys: list[float] = []
    for x, y in zip(requests, values, strict=False):
        if y is None or not _is_sane(x) or not _is_sane(y):
            continue
        # Request counts only rise; a sample out of order belongs to another run.
        if not xs or x - xs[-1] > least:
            xs.append(float(x))
            ys.append(float(y))
    total = max(len(requests), len(values))
    if len(xs) > 1 and xs[-1] - xs[0] < thresholds.LEAST_DISTANCE:
        return Run((), (), total)
    return Run(tuple(xs), tuple(ys), total - len(xs))


def _plain(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _is_sane(number: float) -> bool:
    limit = thresholds.LARGEST_READING
    return -limit <= number <= limit  # false for NaN as well


def envelope(run: Run, windows: int) -> list[Point]:
    """Return the lowest sample of each of equally long request windows; empty ones are left out.

    A garbage collector's sawtooth and released bursts vanish; a leak raises the minima too.
    """
    if not run.xs:
        return []
    start, width = run.xs[0], run.span / windows or 1.0
    best: dict[int, Point] = {}
    for x, y in zip(run.xs, run.ys, strict=True):
        # The last sample lies on the edge of the run, and belongs to the last window.
        window = min(int((x - start) / width), windows - 1)
        if window not in best or y < best[window][1]:
            best[window] = (x, y)
    return [best[window] for window in sorted(best)]


def theil_sen(points: Sequence[Point]) -> float:
    """Return the median slope over all pairs of points: no outlier and no step moves it far."""
    slopes: list[float] = []
    for i, (x, y) in enumerate(points):
        for earlier_x, earlier_y in points[:i]:
            slopes.append((y - earlier_y) / (x - earlier_x))
    return median(slopes) if slopes else 0.0


def slope_of(points: Sequence[Point], quantum: float) -> Slope:
    """Return the Theil-Sen slope, and an interval from the rates of about eight blocks.

    The half-width is never below a share of the slope nor below one quantum over the span: both
    the counter and the choice of windows are coarser than the scatter alone would claim.
    """
    if len(points) < 2:
        return Slope()
    rate = theil_sen(points)
    # Windows hold their minima at different places, so that blocks are compared by their rates.
    edges = points[:: max(1, (len(points) - 1) // thresholds.INTERVAL_BLOCKS)]
    rates = [(yb - ya) / (xb - xa) for (xa, ya), (xb, yb) in pairwise(edges)]
    spread = _spread(rates) + quantum / (points[-1][0] - points[0][0])
    half = max(spread, thresholds.LEAST_HALF_WIDTH * abs(rate))
    mean = fmean(rates)
    return Slope(rate, min(rate, mean) - half, max(rate, mean) + half)


def _spread(rates: Sequence[float]) -> float:
    """Return the half-width of the 95 % interval of their mean; 0 for a single one."""
    count = len(rates)
    if count < 2:
        return 0.0
    t = _T975[min(count - 2, len(_T975) - 1)]
    return t * stdev(rates) / math.sqrt(count)


def sign_test(rising: int, falling: int) -> float:
    """Return the chance of at least so many rises among fair, independent changes."""
    changes = rising + falling
    return sum(math.comb(changes, k) for k in range(rising, changes + 1)) / (1 << changes)


def mann_kendall(values: Sequence[float]) -> float:
    """Return the one-sided p of an upward trend, ties corrected (Kendall 1975)."""
    score = 0
    for i, value in enumerate(values):
        for earlier in values[:i]:
            score += (value > earlier) - (value < earlier)
    ties = sum(_permutations(values.count(value)) for value in set(values))
    variance = (_permutations(len(values)) - ties) / 18
    if score <= 0 or variance <= 0:
        return 1.0
    return 0.5 * math.erfc((score - 1) / math.sqrt(2 * variance))


def _permutations(count: int) -> int:
    """Return 18 times the variance of Kendall's score over ``count`` values in random order."""
    return count * (count - 1) * (2 * count + 5)


def judge_tail(run: Run, share: float, metric: Metric) -> Tail:
    """Ask six rules whether the last ``share`` of the run grows; all of them must say so.

    As an intersection-union test the whole has the level of its weakest part.
    """
    points = envelope(run.part(1 - share), thresholds.TAIL_WINDOWS)
    values = [y for _, y in points]
    steps = [b - a for a, b in pairwise(values)]
    rising = sum(step >= metric.quantum for step in steps)
    falling = sum(step <= -metric.quantum for step in steps)
    chance = sign_test(rising, falling)
    slope = slope_of(points, metric.quantum)
    rise = values[-1] - values[0] if values else 0.0
    floor = f"{metric.floor:.0f} {metric.unit}"
    is_unlikely = chance <= thresholds.SIGN_LEVEL or _has_trend(values, metric)
    # In the order in which a reader would check them: data, chance, size, form.
    rules = (
        ("too few samples in it", len(points) >= thresholds.MIN_WINDOWS),
        (f"{rising} rises and {falling} falls may be chance (p={chance:.2g})", is_unlikely),
        (f"the rise of {rise:.0f} is below {floor}", rise >= metric.floor),
        ("two steps make up most of the rise", _is_spread(steps)),
        ("the slope's interval holds zero", slope.low > 0 and slope.per_iteration > 0),
        ("its halves grow at different rates", _is_balanced(points)),
    )
    against = tuple(text for text, sees_growth in rules if not sees_growth)
    return Tail(share, len(points), slope, rise, rising, falling, chance, against)


def _has_trend(values: Sequence[float], metric: Metric) -> bool:
    return metric.allows_mann_kendall and mann_kendall(values) <= thresholds.TREND_LEVEL


def _is_spread(steps: Sequence[float]) -> bool:
    rises = sorted(step for step in steps if step > 0)
    # Two, as each of two workers may take one large step.
    return sum(rises[-2:]) <= thresholds.TWO_STEPS_SHARE * sum(rises)


def _is_balanced(points: Sequence[Point]) -> bool:
    middle = len(points) // 2
    first, second = _rate(points[: middle + 1]), _rate(points[middle:])
    has_begun = first >= thresholds.FIRST_HALF_PACE * second
    goes_on = second >= thresholds.SECOND_HALF_PACE * first
    return has_begun and goes_on


def _rate(points: Sequence[Point]) -> float:
    """Return the Theil-Sen rate; where stairs make it zero, the mean without the largest jump."""
    rate = theil_sen(points)
    if rate or len(points) < 2:
        return rate
    steps = [b[1] - a[1] for a, b in pairwise(points)]
    return (sum(steps) - max(steps)) / (points[-1][0] - points[0][0])


def is_slowing(run: Run) -> str:
    """Say how growth fades over the last three quarters of the run; empty when it does not.

    The ratio of neighbouring quarters is 0.58 and then 0.71 for a logarithm, constant and below
    one for an exponential approach, and one for a leak.
    """
    quarters = (run.part(k / 4, (k + 1) / 4) for k in (1, 2, 3))
    second, third, last = (theil_sen(envelope(part, thresholds.TAIL_WINDOWS)) for part in quarters)
    # Saturation fades at once and by much, a logarithm in each quarter by little.
    has_faded = (
        last < thresholds.FADED_QUARTER * third or last < thresholds.FADED_TWO_QUARTERS * second
    )
    fades = last < thresholds.FADING_QUARTER * third and third < thresholds.FADING_QUARTER * second
    if has_faded or fades:
        rates = f"{_plain(second)}, {_plain(third)}, {_plain(last)}"
        return f"growth fades: {rates} per request by quarter"
    return ""


def is_bent(run: Run) -> bool:
    """Return whether growth becomes slower over the longest tail, surely though not yet by much."""
    points = envelope(run.part(1 - thresholds.LONGEST_TAIL), thresholds.BENT_WINDOWS)
    if len(points) < thresholds.MIN_WINDOWS:
        return False
    rates = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(points)]
    places = range(len(rates))
    line = linear_regression(places, rates)
    spread = sum((place - fmean(places)) ** 2 for place in places)
    rests = [y - line.intercept - line.slope * x for x, y in zip(places, rates, strict=True)]
    error = math.sqrt(sum(rest**2 for rest in rests) / (len(rates) - 2) / spread)
    is_sure = -line.slope > thresholds.BENT_ERRORS * error
    end = line.intercept + line.slope * (len(rates) - 1)
    return is_sure and end < thresholds.BENT_SHARE * line.intercept


def without_release(run: Run, floor: float) -> Run:
    """Return the run without a fall below where it began: what was given back was there before.

    What it has gained itself it still has, unless that went too, which is no fall below.
    """
    if not run.ys:
        return run
    drops = [earlier - later for earlier, later in pairwise(run.ys)]
    largest = max(drops, default=0.0)
    at = drops.index(largest) + 1 if drops else 0
    gained = max(run.ys[:at], default=run.ys[0]) - run.ys[0]
    is_below = run.ys[at] <= run.ys[0] - thresholds.RELEASED_SHARE * gained
    if largest < thresholds.STEP_FLOORS * floor or gained < floor or not is_below:
        return run
    return replace(run, ys=(*run.ys[:at], *(y + largest for y in run.ys[at:])))


def has_stopped(run: Run, metric: Metric) -> str:
    """Say since when the run is flat, if that silence cannot be chance; empty otherwise.

    The rule of succession from the rises before gives the chance of each flat sample; the growth
    missing since then must be worth some floors, so that a rare large leak is not taken for an end.
    """
    half = run.part(1 - thresholds.MIDDLE_TAIL)
    if len(half.xs) < 3:
        return ""
    retained = _never_given_back(half.ys)
    steps = [b - a for a, b in pairwise(retained)]
    least = _least_rise(steps, metric)
    # Garbage that is collected late makes single samples high, never low, so minima are enough.
    flat = _trailing_flat(steps, least)
    before = steps[: len(steps) - flat]
    # One rise and one pause more than were seen: with few samples nothing is certain.
    rises = sum(step >= least for step in before)
    chance = (rises + 1) / (len(before) + 2)
    edge = half.xs[len(before)]
    earlier = (retained[len(before)] - retained[0]) / (edge - half.xs[0]) if before else 0.0
    missing = earlier * (half.xs[-1] - edge)
    is_chance = (1 - chance) ** flat > thresholds.STOPPED_LEVEL
    if is_chance or missing < thresholds.STOPPED_FLOORS * metric.floor:
        return ""
    return f"growth stopped {half.xs[-1] - edge:.0f} requests before the end"


def _never_given_back(ys: Sequence[float]) -> list[float]:
    """Return the greatest non-decreasing series that nowhere exceeds ``ys``."""
    retained = list(ys)
    # From the end, as only what comes later shows whether a rise was given back.
    for i in range(len(retained) - 2, -1, -1):
        retained[i] = min(retained[i], retained[i + 1])
    return retained


def _least_rise(steps: Sequence[float], metric: Metric) -> float:
    rises = [step for step in steps if step >= metric.quantum]
    if not rises:
        return metric.quantum
    return max(metric.quantum, thresholds.STOPPED_STEP * median(rises))


def _trailing_flat(steps: Sequence[float], least: float) -> int:
    """Return how many steps at the end are below ``least``."""
    for count, step in enumerate(reversed(steps)):
        if step >= least:
            return count
    return len(steps)
