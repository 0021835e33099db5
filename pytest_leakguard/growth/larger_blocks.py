"""Growth in ever larger steps: a buffer or a table that is made anew, larger, when it is full.

Each step is as large as what was added since the last one, or a part of it, so that the steps
become rarer and rarer and a trend sees a run that levels off. Numbers only, no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from pytest_leakguard.growth import thresholds


@dataclass(frozen=True, slots=True)
class Steps:
    """Growth in such steps, in bytes."""

    per_request: float
    """What is added with each request: a step has room for what comes until the next."""
    low: float
    high: float
    rise: int
    """Of all steps."""
    since: int
    """Requests at the first of them."""


@dataclass(frozen=True, slots=True)
class _Step:
    requests: int
    size: int


def steps_in(ends: Sequence[int], totals: Sequence[int]) -> Steps | None:
    """Return the steps in which ``totals`` grew; ``None`` where it does not grow so.

    ``ends[i]`` are the requests after which ``totals[i]`` bytes were alive. Steps of one size, as a
    service takes them that warms up, are none of these, nor those that came to an end.
    """
    steps = _steps(ends, totals)
    if len(steps) < thresholds.LARGER_STEPS or not _are_rare(steps, ends):
        return None
    last = steps[-1]
    gaps = [after.requests - one.requests for one, after in pairwise(steps)]
    rates = [one.size / gap for one, gap in zip(steps, gaps, strict=False)]
    usual = median(rates)
    next_gap = last.size / usual
    has_ended = ends[-1] - last.requests > thresholds.LARGER_OVERDUE * next_gap
    if has_ended or not _are_rarer(gaps) or not _are_on_a_line(steps):
        return None
    alike = sum(usual / 2 <= rate <= usual * 2 for rate in rates)
    if alike < thresholds.AGED_ALIKE * len(rates):
        return None
    rise = sum(one.size for one in steps)
    low, high = min(rates), max(rates)
    return Steps(usual, low, high, rise, steps[0].requests)


def _steps(ends: Sequence[int], totals: Sequence[int]) -> list[_Step]:
    """Return the rises that were not taken back, without the small ones beside them."""
    rises: list[_Step] = []
    least = totals[-1] if totals else 0
    for i in range(len(ends) - 1, 0, -1):
        least = min(least, totals[i])
        before = min(least, totals[i - 1])
        if least > before and ends[i] >= ends[-1] / thresholds.LARGER_SINCE:
            rises.append(_Step(ends[i], least - before))
    rises.reverse()
    # Later ones are larger: what is small beside the last that came before it is nothing.
    found, largest = list[_Step](), 0
    for one in rises:
        largest = max(largest, one.size)
        if one.size >= thresholds.LARGER_LEAST * largest:
            found.append(one)
    return found


def _are_rare(steps: Sequence[_Step], ends: Sequence[int]) -> bool:
    """Return whether there are batches between them in which nothing was gained."""
    between = sum(steps[0].requests <= end <= steps[-1].requests for end in ends)
    return len(steps) <= between / thresholds.LARGER_EVERY


def _are_rarer(gaps: Sequence[int]) -> bool:
    """Return whether they come at longer and longer distances."""
    half = len(gaps) // 2
    return median(gaps[-half:]) >= thresholds.LARGER_GAPS * median(gaps[:half])


def _are_on_a_line(steps: Sequence[_Step]) -> bool:
    """Return whether what there is after each step is as the requests are."""
    levels, level = list[int](), 0
    for one in steps:
        level += one.size
        levels.append(level)
    first, last = steps[0], steps[-1]
    rise = levels[-1] - levels[0]
    for one, level in zip(steps, levels, strict=True):
        share = (one.requests - first.requests) / (last.requests - first.requests)
        expected = levels[0] + share * rise
        if abs(level - expected) > thresholds.LARGER_APART * rise:
            return False
    return True
