"""What a series of runs says of one counter: does every run keep as much, some of them, or ever less? Pure."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from pytest_leakguard.screening import thresholds


@dataclass(frozen=True, slots=True)
class Kept:
    """What some calls under one number have left that is there now."""

    calls: int
    blocks: int
    """Blocks, or descriptors, threads, processes, files."""
    size_bytes: int
    """Of these blocks; 0 for what has no size."""
    grown_bytes: int = 0
    """By which older blocks have grown."""

    @property
    def is_nothing(self) -> bool:
        """Whether nothing is left."""
        return self.blocks <= 0 and self.grown_bytes <= 0

    @property
    def net_bytes(self) -> int:
        """By which memory has grown; below 0 where it has shrunk."""
        return self.size_bytes + self.grown_bytes

    @property
    def is_growth(self) -> bool:
        """Whether only older blocks have grown."""
        return self.blocks <= 0 < self.grown_bytes


class Answer(Enum):
    """What the runs say so far."""

    NOTHING = "nothing is kept"
    STEADY = "every part of the runs keeps as much"
    FADING = "the later runs keep less"


@dataclass(frozen=True, slots=True)
class PerRun:
    """What one run keeps."""

    blocks: float
    size_bytes: float
    is_exact: bool
    """Nearly all runs have kept the same."""


@dataclass(frozen=True, slots=True)
class Total:
    """What all runs together had kept after so many calls."""

    calls: int
    weight: float


def answer(series: Sequence[Kept], totals: Sequence[Total], is_rare: bool) -> Answer:
    """What the runs say of one counter; the last entry of ``series`` is of the newest calls.

    Two things must hold for a leak: no old run has lost all it had kept, and in the later half of the calls all runs
    together keep ever more, as much in each part. A cache that is full uses the blocks of old entries for new ones:
    only the second tells. A leak beside a cache that fills shows when that is full.
    """
    if is_rare:
        return _answer_of_rare(series, totals)
    if has_lost_all(series[:-1] or series, is_rare):
        return Answer.NOTHING
    least = _least_of_later_parts(totals)
    if least is None:
        return Answer.FADING  # nothing can be said yet
    first_rise, second_rise = least[1] - least[0], least[2] - least[1]
    per_call = (first_rise + second_rise) / (totals[-1].calls / 3)
    if per_call < thresholds.LEAST_PER_CALL:
        is_proved = totals[-1].calls >= thresholds.FLAT_AFTER
        return Answer.NOTHING if is_proved else Answer.FADING
    is_steady = second_rise >= thresholds.STEADY_SHARE * first_rise
    return Answer.STEADY if is_steady else Answer.FADING


def _least_of_later_parts(totals: Sequence[Total]) -> tuple[float, float, float] | None:
    """What all runs together kept at least in each third of the later half of the calls; ``None`` with too few.

    A leak raises the least of every stretch. What is pruned now and then, or freed once, does not change it.
    """
    end = totals[-1].calls if totals else 0
    parts: list[list[float]] = [[], [], []]
    for total in totals:
        if total.calls > end / 2:
            part = int(3 * (total.calls - end / 2 - 1e-9) / (end / 2))
            parts[min(2, part)].append(total.weight)
    if min(map(len, parts)) < thresholds.LEAST_STEPS // 3:
        return None
    return min(parts[0]), min(parts[1]), min(parts[2])


def is_growth(series: Sequence[Kept]) -> bool:
    """Whether nothing but the growth of older blocks is kept."""
    return any(kept.is_growth for kept in series) and not any(kept.blocks > 0 for kept in series)


def _answer_of_rare(series: Sequence[Kept], totals: Sequence[Total]) -> Answer:
    """For a leak that is not in every run: its losses must not stop, nor become rarer."""
    gaps, silence = _gaps(series)
    if not gaps or silence > thresholds.SILENCE * max(gaps):
        return Answer.NOTHING
    if not any(kept.blocks > 0 for kept in series):
        return _answer_of_growth(totals)
    first, last = _outer_thirds(series, [float(kept.blocks) for kept in series])
    needed = thresholds.RARE_SHARE * first
    _, late_events = _outer_thirds(series, [float(not kept.is_nothing) for kept in series])
    has_some = late_events >= thresholds.RARE_LATE_EVENTS
    return Answer.STEADY if has_some and last >= needed > 0 else Answer.FADING


def _answer_of_growth(totals: Sequence[Total]) -> Answer:
    """For a buffer: the least that it takes in each part of the calls must rise, or it is emptied now and then."""
    least = _least_of_later_parts(totals)
    if least is None:
        return Answer.FADING
    first_rise, second_rise = least[1] - least[0], least[2] - least[1]
    if first_rise + second_rise <= 0:
        return Answer.NOTHING if totals[-1].calls >= thresholds.FLAT_AFTER else Answer.FADING
    is_steady = second_rise >= thresholds.RARE_SHARE * first_rise
    return Answer.STEADY if is_steady else Answer.FADING


def _gaps(series: Sequence[Kept]) -> tuple[list[int], int]:
    """Calls between the entries that have kept something, and since the last of them."""
    gaps, since = [], 0
    for kept in series:
        since += kept.calls
        if not kept.is_nothing:
            gaps.append(since)
            since = 0
    return gaps, since


def _outer_thirds(series: Sequence[Kept], weights: Sequence[float]) -> tuple[float, float]:
    """The sums of the weights in the first and the last third of the calls."""
    calls = sum(kept.calls for kept in series)
    first = last = 0.0
    seen = 0
    for kept, weight in zip(series, weights, strict=True):
        middle = seen + kept.calls / 2
        seen += kept.calls
        if middle < calls / 3:
            first += weight
        elif middle >= 2 * calls / 3:
            last += weight
    return first, last


def has_lost_all(old: Sequence[Kept], is_rare: bool) -> bool:
    """Whether one of the old runs keeps nothing any more; of a leak that is not in every run, whether all do."""
    if is_rare:
        return all(kept.is_nothing for kept in old)
    return any(kept.is_nothing for kept in old)


def events(series: Sequence[Kept]) -> int:
    """Entries that have kept something."""
    return sum(not kept.is_nothing for kept in series)


def per_run(series: Sequence[Kept], is_rare: bool) -> PerRun:
    """What one run keeps: the amount that most of the old runs have, or the mean where they differ."""
    old = series[1:-1] or series
    calls = sum(kept.calls for kept in old)
    if not is_rare:
        tally: Tally[tuple[Fraction, Fraction]] = Tally()
        for kept in old:
            amount = Fraction(kept.blocks, kept.calls), Fraction(kept.size_bytes, kept.calls)
            tally[amount] += kept.calls
        (blocks, size_bytes), count = tally.most_common(1)[0]
        is_whole = blocks.denominator == size_bytes.denominator == 1
        if blocks > 0 and is_whole and count >= thresholds.EXACT_SHARE * calls:
            return PerRun(int(blocks), int(size_bytes), is_exact=True)
    blocks_kept = sum(max(0, kept.blocks) for kept in old)
    bytes_kept = sum(kept.size_bytes + max(0, kept.grown_bytes) for kept in old)
    return PerRun(blocks_kept / calls, bytes_kept / calls, is_exact=False)
