"""Whether an exact counter grows with the repetitions: pure arithmetic on samples, no threshold to guess.

A leak raises the *least* value of every stretch of the run; a buffer that is flushed, garbage that is collected
and temporary objects do not. So the last half of the run is cut into parts, and their minima must all rise,
at the pace of the whole, well above what the counter moves besides. ``growth`` answers the same question for
services, where the series are noisy; here one object in a hundred calls is proof enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pytest_leakguard.core.checks import Growth
from pytest_leakguard.core.shapes import Shape

PARTS = 4
STEADY = 0.4
"""A part must rise by at least this share of the pace of the whole."""
LASTING = 0.75
"""The pace of the last half, as a share of that of the quarter before it, below which growth is fading."""
QUIET = 3.0
"""Growth must exceed what the counter moves besides by this factor."""
FLOORS = {"blocks": 6, "bytes": 2048, "tasks": 6, "bytes of pages": 512 * 1024}
"""Rise over the last half below which a counter is still: interpreter caches and allocator bins move so much."""
RESOURCE_FLOOR = 4
OCTAVES = 4
LEAST_STEPS = 3
"""In each octave: buffers that grow by a quarter of their size take so many."""
LEAST_RATIO, MOST_RATIO, WHOLE_RATIO = 1.2, 6.0, 5.0
"""Of the rises over runs that double each time: a straight line makes them 2 and 8, a random walk's peak 1.4 and 2.8,
the peak of independent sizes 1 and 1."""
LEAST_CLIMB = 16 * 1024
"""Bytes in the last octave: smaller buffers take few steps, as a cache does whose last entries come by chance."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the samples of one counter say."""

    shape: Shape
    per_run: float
    low: float
    high: float
    runs: int
    detectable_per_run: float
    """The smallest leak that would have been seen."""
    has_settled: bool = False
    """The last half of the run ended no higher than it began."""

    def growth(self, metric: str, samples: Sequence[tuple[float, float]], unit: str) -> Growth:
        """As it stands in the report; pages are bytes there."""
        return Growth(
            metric,
            self.shape,
            self.per_run,
            self.low,
            self.high,
            self.runs,
            tuple(samples),
            unit="bytes" if unit.startswith("bytes") else unit,
            rise=samples[-1][1] - samples[0][1] if samples else 0.0,
            detectable_per_iteration=self.detectable_per_run,
        )


def weigh(runs: Sequence[float], values: Sequence[float], unit: str) -> Evidence:
    """The evidence of one counter; ``unit`` sets the floor. Samples must cover the last half with 8 or more."""
    end = runs[-1]
    half = end / 2
    floor = FLOORS.get(unit, RESOURCE_FLOOR)
    late = [(x, y) for x, y in zip(runs, values, strict=True) if x >= half]
    before = [y for x, y in zip(runs, values, strict=True) if half / 2 <= x < half] or [values[0]]
    minima = _part_minima(late, half, end)
    slope, error = _slope([(x, y) for x, y in zip(runs, values, strict=True) if x >= half / 2])
    moves = _besides(late)
    rise = minima[-1] - minima[0]
    grown = slope * half
    detectable = max(floor, QUIET * moves) / max(half, 1.0)
    facts = (slope, slope - error, slope + error, int(end), detectable)
    pace, _ = _slope(late)
    pace_before, _ = _slope(
        [(x, y) for x, y in zip(runs, values, strict=True) if half / 2 <= x < half]
    )
    is_fading = pace < LASTING * pace_before
    has_settled = (
        minima[-1] <= min(before) or minima[-1] <= minima[0] or (is_fading and rise < floor)
    )
    if unit == "bytes" and _climbs_in_steps(runs, values):
        return Evidence(Shape.LEAK, *facts)
    if has_settled or rise < floor * (PARTS - 1) / PARTS:
        early = min(before) - min(values[:2])
        is_cache = early > 4 * floor or min(late[0][1], minima[0]) - values[0] > 4 * floor
        return Evidence(Shape.CACHE if is_cache else Shape.STABLE, *facts, has_settled=has_settled)
    steady = all(
        later - earlier >= STEADY * slope * half / PARTS - 1
        and later > earlier - (1 if slope * half / PARTS < 2 else 0)
        for earlier, later in pairwise(minima)
    )
    if (
        steady
        and grown >= QUIET * moves
        and grown >= floor
        and not is_fading
        and min(before) < minima[0]
    ):
        return Evidence(Shape.LEAK, *facts)
    if rise < QUIET * moves:  # not above what it moves anyway: nothing this measurement could see
        return Evidence(Shape.STABLE, *facts)
    return Evidence(Shape.UNDECIDED, *facts)


def _climbs_in_steps(runs: Sequence[float], values: Sequence[float]) -> bool:
    """Whether it grows as a buffer does that takes a share of its size at once: ever larger steps, ever further apart.

    From octave to octave of the runs (the last half, the quarter before it, ...) such a counter rises twice as much,
    and it never falls.
    """
    ends = [runs[-1] / 2**octave for octave in range(OCTAVES, -1, -1)]
    reached = [
        max((y for x, y in zip(runs, values, strict=True) if x <= end), default=values[0])
        for end in ends
    ]
    rises = [later - earlier for earlier, later in pairwise(reached)]
    changes = [
        (x, later - earlier) for x, (earlier, later) in zip(runs[1:], pairwise(values), strict=True)
    ]
    steps = [
        sum(change > 0 for x, change in changes if start < x <= end)
        for start, end in pairwise(ends)
    ]
    falls = -sum(change for x, change in changes if change < 0 and x > ends[0])
    return (
        min(steps) >= LEAST_STEPS
        and rises[-1] >= max(LEAST_CLIMB, WHOLE_RATIO * rises[0])
        and falls <= 0.02 * (reached[-1] - reached[0])
        and all(
            LEAST_RATIO * earlier <= later <= MOST_RATIO * earlier
            for earlier, later in pairwise(rises)
        )
    )


def _part_minima(late: Sequence[tuple[float, float]], start: float, end: float) -> list[float]:
    """The least value of each part of the last half; a part without a sample takes its neighbour's."""
    length = (end - start) / PARTS or 1.0
    minima: list[float] = []
    for part in range(PARTS):
        inside = [
            y
            for x, y in late
            if part <= (x - start) / length < part + 1 or (part == PARTS - 1 and x == end)
        ]
        minima.append(min(inside) if inside else minima[-1] if minima else late[0][1])
    return minima


def _besides(late: Sequence[tuple[float, float]]) -> float:
    """How far the samples lie from their own line, from the lowest to the highest."""
    slope, _ = _slope(late)
    off = [y - slope * x for x, y in late]
    return max(off) - min(off)


def _slope(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Least squares and twice its standard error."""
    count = len(points)
    if count < 3:
        return 0.0, 0.0
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return 0.0, 0.0
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    left = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    return slope, 2.0 * (left / (count - 2) / spread) ** 0.5
