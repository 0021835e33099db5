"""Recorded series with restarts and daily cycles, made into what can be judged. Arithmetic only.

A restart takes back what had leaked, and a day's traffic moves memory more than a leak does: judged
as it stands, the one is a burst and the other a cache that levels off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median

from pytest_leakguard.growth import thresholds

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
"""Seconds; the two periods that traffic of people has."""
_DEVIATION = 1.4826
"""Standard deviation of a normal distribution as a multiple of its median absolute deviation."""


@dataclass(frozen=True, slots=True)
class Straightened:
    """A series without its restarts and cycles, and what was taken out."""

    ys: tuple[float | None, ...]
    notes: tuple[str, ...] = ()
    noise: float = 0.0
    """By how much one sample differs from the next by chance, where a cycle was taken out."""


def straightened(xs: Sequence[float], ys: Sequence[float]) -> Straightened:
    """Return what is left of a series over seconds; all of it where nothing is taken out."""
    restarts = restarts_in(ys)
    joined = _joined(ys, restarts)
    notes: list[str] = []
    if restarts:
        times = "restart" if len(restarts) == 1 else "restarts"
        notes.append(f"{len(restarts)} {times}: judged on the pieces between, one after another")
    for period, name in ((DAY_S, "daily"), (WEEK_S, "weekly")):
        if has_cycle(xs, joined, period):
            joined = without_cycle(xs, joined, period)
            notes.append(f"a {name} cycle is taken out")
    if not notes:
        return Straightened(tuple(ys))
    calmed = _calmed(joined)
    return Straightened(tuple(calmed), tuple(notes), _noise([y for y in calmed if y is not None]))


def _noise(ys: Sequence[float]) -> float:
    """Return the usual deviation, from what each sample differs by from its neighbours' mean."""
    if len(ys) < 3:
        return 0.0
    around = [abs(b - (a + c) / 2) for a, b, c in zip(ys, ys[1:], ys[2:], strict=False)]
    return float(_DEVIATION * median(around) / math.sqrt(1.5))


def _calmed(ys: Sequence[float]) -> list[float | None]:
    """Return the mean of each few samples at the last of them, so that about a hundred are left.

    What a cycle leaves behind is noise, and the larger the more samples there are.
    """
    size = max(1, len(ys) // thresholds.CALMED_SAMPLES)
    means: list[float | None] = [None] * len(ys)
    for end in range(size, len(ys) + 1, size):
        means[end - 1] = fmean(ys[end - size : end])
    return means


def restarts_in(ys: Sequence[float]) -> list[int]:
    """Return the samples at which a process began anew.

    Memory falls from one sample to the next to about what the first piece began with, and each
    piece is long: a collector's teeth are many and short.
    """
    if not ys:
        return []
    start = min(ys[: max(1, thresholds.PIECE_SAMPLES // 3)])
    found: list[int] = []
    top = ys[0]
    for i in range(1, len(ys)):
        top = max(top, ys[i - 1])
        gained = top - start
        is_fall = ys[i - 1] - ys[i] >= thresholds.RESTART_FALL * gained > 0
        is_low = ys[i] - start <= thresholds.RESTART_LEFT * gained
        if is_fall and is_low and gained >= thresholds.RESTART_OF_START * start:
            found.append(i)
            top = ys[i]
    bounds = [0, *found, len(ys)]
    lengths = [end - begin for begin, end in pairwise(bounds)]
    # The last piece may only have begun.
    if min(lengths[:-1], default=0) < thresholds.PIECE_SAMPLES or _rises_as_it_falls(ys, bounds):
        return []
    return found


def _rises_as_it_falls(ys: Sequence[float], bounds: Sequence[int]) -> bool:
    """Return whether it rises at once as it falls at once: that is traffic; leaks rise slowly."""
    falls = [ys[at - 1] - ys[at] for at in bounds[1:-1]]
    rises: list[float] = []
    for begin, end in pairwise(bounds):
        # A process may take much at its start.
        piece = ys[begin + (end - begin) // 10 : end]
        rises += [later - earlier for earlier, later in pairwise(piece)]
    return bool(falls) and max(rises, default=0.0) >= thresholds.RESTART_RISE * median(falls)


def _joined(ys: Sequence[float], restarts: Sequence[int]) -> list[float]:
    """Return the pieces, each going on where the one before it ended.

    What a start brings is no growth: a piece's first tenth is left out of the sum.
    """
    joined: list[float] = []
    bounds = [0, *restarts, len(ys)]
    level = 0.0
    for begin, end in pairwise(bounds):
        piece = ys[begin:end]
        settled = piece[min(len(piece) - 1, len(piece) // 10)]
        offset = level - settled if joined else 0.0
        for value in piece:
            joined.append(max(value + offset, level) if joined else value)
        level = joined[-1]
    return joined


def has_cycle(xs: Sequence[float], ys: Sequence[float], period: float) -> bool:
    """Return whether the series, without its trend, is much the same one period later."""
    span = xs[-1] - xs[0] if xs else 0.0
    if span < thresholds.CYCLES_NEEDED * period:
        return False
    step = span / (len(xs) - 1)
    lag = round(period / step)
    if lag < thresholds.CYCLE_SAMPLES:
        return False
    rest = _without_line(xs, ys)
    same = _correlation(rest[:-lag], rest[lag:])
    opposite = _correlation(rest[: -lag // 2], rest[lag // 2 :][: len(rest[: -lag // 2])])
    return same >= thresholds.CYCLE_ALIKE and same > opposite


def _without_line(xs: Sequence[float], ys: Sequence[float]) -> list[float]:
    mean_x, mean_y = fmean(xs), fmean(ys)
    spread = sum((x - mean_x) ** 2 for x in xs) or 1.0
    both = zip(xs, ys, strict=True)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in both) / spread
    return [y - mean_y - slope * (x - mean_x) for x, y in zip(xs, ys, strict=True)]


def _correlation(first: Sequence[float], second: Sequence[float]) -> float:
    if len(first) < 2:
        return 0.0
    mean_1, mean_2 = fmean(first), fmean(second)
    both = sum((a - mean_1) * (b - mean_2) for a, b in zip(first, second, strict=True))
    size_1 = sum((a - mean_1) ** 2 for a in first)
    size_2 = sum((b - mean_2) ** 2 for b in second)
    return both / (size_1 * size_2) ** 0.5 if size_1 > 0 and size_2 > 0 else 0.0


def without_cycle(xs: Sequence[float], ys: Sequence[float], period: float) -> list[float]:
    """Return the series without what it does in each period, its trend left in.

    A mean over a period would do as well, but its neighbours would then depend on one another, and
    chance would look like growth.
    """
    bins = max(1, round(period * (len(xs) - 1) / (xs[-1] - xs[0])))
    phases = [int((x - xs[0]) % period / period * bins) % bins for x in xs]
    sums, counts = [0.0] * bins, [0] * bins
    # A cycle has a slope of its own where it is cut, but none from one period to the next.
    slope = fmean(ys[i + bins] - ys[i] for i in range(len(ys) - bins)) / period
    for phase, x, y in zip(phases, xs, ys, strict=True):
        rest = y - ys[0] - slope * (x - xs[0])
        sums[phase] += rest
        counts[phase] += 1
    usual = [total / max(1, count) for total, count in zip(sums, counts, strict=True)]
    return [y - usual[phase] for phase, y in zip(phases, ys, strict=True)]


@dataclass(frozen=True, slots=True)
class Difference:
    """How much faster one group grows than another, per unit of the axis."""

    candidate: float
    reference: float
    faster: float
    low: float
    high: float
    """95 % interval of ``faster``."""

    @property
    def is_faster(self) -> bool:
        return self.low > 0


def compared(
    candidate: tuple[Sequence[float], Sequence[float]],
    reference: tuple[Sequence[float], Sequence[float]],
) -> Difference | None:
    """Return how much faster the candidate grows; ``None`` where either is too short to say."""
    rates: list[list[float]] = []
    for xs, ys in (candidate, reference):
        found = _block_rates(xs, ys)
        if len(found) < thresholds.COMPARED_BLOCKS // 2:
            return None
        rates.append(found)
    centers = [median(found) for found in rates]
    error = sum(_squared_error(found) for found in rates) ** 0.5
    faster = centers[0] - centers[1]
    half = thresholds.COMPARED_ERRORS * error
    return Difference(centers[0], centers[1], faster, faster - half, faster + half)


def _block_rates(xs: Sequence[float], ys: Sequence[float]) -> list[float]:
    """Return the growth per unit within each of the blocks, the start of the service left out."""
    begin = len(xs) // 10
    xs, ys = xs[begin:], ys[begin:]
    size = len(xs) // thresholds.COMPARED_BLOCKS
    if size < 2:
        return []
    levels: list[tuple[float, float]] = []
    for at in range(0, len(xs) - size + 1, size):
        levels.append((fmean(xs[at : at + size]), fmean(ys[at : at + size])))
    rates: list[float] = []
    for (x0, y0), (x1, y1) in pairwise(levels):
        if x1 > x0:
            rates.append((y1 - y0) / (x1 - x0))
    return rates


def _squared_error(rates: Sequence[float]) -> float:
    """Return the squared standard error of their middle, robust against single steps."""
    middle = median(rates)
    spread = _DEVIATION * median([abs(rate - middle) for rate in rates])
    mean = fmean(rates)
    usual = (sum((rate - mean) ** 2 for rate in rates) / max(1, len(rates) - 1)) ** 0.5
    return float(max(spread, usual / 2)) ** 2 / len(rates) * 1.57
