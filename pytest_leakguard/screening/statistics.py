"""What a series of runs says of one counter. Pure.

Does every run keep as much, do some of them, or do the later ones keep ever less?
"""

from __future__ import annotations

import math
from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise

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
    grown_bytes: float = 0.0
    """By which older blocks had grown then, whether anything else was kept or not."""


def answer(series: Sequence[Kept], totals: Sequence[Total], is_rare: bool) -> Answer:
    """What the runs say of one counter; the last entry of ``series`` is of the newest calls.

    Two things must hold for a leak: no old run has lost all it had kept, and in the later half of
    the calls all runs together keep ever more, as much in each part. A cache that is full uses the
    blocks of old entries for new ones: only the second tells. A leak beside a cache that fills
    shows when that is full.
    """
    if is_rare:
        return _answer_of_rare(series, totals)
    if has_lost_all(series[:-1] or series, is_rare):
        return Answer.NOTHING
    pace = _later_pace(totals)
    if pace is None:
        return Answer.FADING  # nothing can be said yet
    if pace.whole < thresholds.LEAST_PER_CALL:
        return Answer.NOTHING if _is_flat(totals) else Answer.FADING
    return Answer.STEADY if pace.holds(thresholds.STEADY_SHARE) else Answer.FADING


@dataclass(frozen=True, slots=True)
class _Pace:
    """What all runs together gain per call in the later half of the calls."""

    early: float
    """Between the least of its first third and the least of its second."""
    late: float
    """Between the least of its second third and the least of its last."""
    whole: float

    def holds(self, share: float) -> bool:
        """Whether the late pace has at least this share of the early one."""
        return self.late >= share * self.early > 0


def _later_pace(totals: Sequence[Total]) -> _Pace | None:
    """``None`` with too few totals.

    A leak raises the least of every stretch. What is pruned now and then, or freed once, does not
    change it.
    """
    end = totals[-1].calls if totals else 0
    parts: list[list[Total]] = [[], [], []]
    for total in totals:
        if total.calls > end / 2:
            part = int(3 * (total.calls - end / 2 - 1e-9) / (end / 2))
            parts[min(2, part)].append(total)
    if min(map(len, parts)) < thresholds.LEAST_STEPS:
        return None
    first, second, third = (min(part, key=lambda total: total.weight) for part in parts)
    return _Pace(_per_call(first, second), _per_call(second, third), _per_call(first, third))


def is_steady(totals: Sequence[Total]) -> bool:
    """Whether the later half of the calls does not say that what grew has ended, or slows down."""
    pace = _later_pace(totals)
    if pace is None:
        return True
    return pace.whole >= thresholds.LEAST_PER_CALL and pace.holds(thresholds.STEADY_SHARE)


def _is_flat(totals: Sequence[Total]) -> bool:
    """Whether the later half of the calls would show a leak, whatever else comes and goes there."""
    end = totals[-1].calls
    later = [total.weight for total in totals if total.calls > end / 2]
    is_long = end >= thresholds.FLAT_AFTER
    return is_long and max(later) - min(later) < thresholds.LEAST_PER_CALL * end / 2


def _per_call(before: Total, after: Total) -> float:
    return (after.weight - before.weight) / (after.calls - before.calls)


def is_growth(series: Sequence[Kept]) -> bool:
    """Whether nothing but the growth of older blocks is kept."""
    return any(kept.is_growth for kept in series) and not any(kept.blocks > 0 for kept in series)


def _answer_of_rare(series: Sequence[Kept], totals: Sequence[Total]) -> Answer:
    """For a leak that is not in every run: what either its blocks or older blocks' growth says.

    A list that becomes longer and shorter has nothing to do with blocks that stay. Of blocks, what
    the newest calls have left says nothing: a thread or process of theirs may still have it.
    """
    if not any(kept.blocks > 0 for kept in series):
        return _answer_of_growth(series, totals)
    grown = [Total(total.calls, total.grown_bytes) for total in totals]
    answers = (
        _answer_of_losses([replace(kept, grown_bytes=0) for kept in series[:-1]]),
        _answer_of_growth([replace(kept, blocks=0) for kept in series], grown),
    )
    return max(answers, key=(Answer.NOTHING, Answer.FADING, Answer.STEADY).index)


def _answer_of_losses(series: Sequence[Kept]) -> Answer:
    """Blocks that stay, do not stop to come, nor become rarer."""
    if _is_over(series):
        return Answer.NOTHING
    early, late = _outer_thirds(series)
    is_fewer = early - late > thresholds.FEWER_SIGMAS * math.sqrt(early + late)
    has_some = late >= max(thresholds.RARE_LATE_EVENTS, thresholds.RARE_SHARE * early)
    return Answer.STEADY if has_some and not is_fewer else Answer.FADING


def _is_over(series: Sequence[Kept]) -> bool:
    gaps, silence = _gaps(series)
    return not gaps or silence > thresholds.SILENCE * max(gaps) or _has_all_gone(series)


def _has_all_gone(series: Sequence[Kept]) -> bool:
    """Whether only newer runs still hold something, of enough that older ones should as well."""
    half = sum(kept.calls for kept in series) / 2
    older = newer = seen = 0
    for kept in series:
        seen += kept.calls
        if not kept.is_nothing:
            older += seen <= half
            newer += seen > half
    return older == 0 and newer >= thresholds.NEWER_EVENTS


def _answer_of_growth(series: Sequence[Kept], totals: Sequence[Total]) -> Answer:
    """Of a buffer: the least that it takes in each part of the calls must rise.

    Otherwise it is emptied now and then.
    """
    if _is_over(series):
        return Answer.NOTHING
    pace = _later_pace(totals)
    if pace is None:
        return Answer.FADING
    if pace.whole <= 0:
        return Answer.NOTHING if totals[-1].calls >= thresholds.FLAT_AFTER else Answer.FADING
    return Answer.STEADY if pace.holds(thresholds.RARE_SHARE) else Answer.FADING


def _gaps(series: Sequence[Kept]) -> tuple[list[int], int]:
    """Calls between the entries that have kept something, and since the last of them."""
    gaps, since = [], 0
    for kept in series:
        since += kept.calls
        if not kept.is_nothing:
            gaps.append(since)
            since = 0
    return gaps, since


def _outer_thirds(series: Sequence[Kept]) -> tuple[float, float]:
    """Losses in the first and in the last third of the calls.

    Several in one entry are as many as its blocks are of the fewest that any entry has.
    """
    of_one = min((kept.blocks for kept in series if kept.blocks > 0), default=1)
    calls = sum(kept.calls for kept in series)
    early = late = 0.0
    seen = 0
    for kept in series:
        middle = seen + kept.calls / 2
        seen += kept.calls
        losses = max(0, kept.blocks) / of_one
        if middle < calls / 3:
            early += losses
        elif middle >= 2 * calls / 3:
            late += losses
    return early, late


def has_lost_all(old: Sequence[Kept], is_rare: bool) -> bool:
    """Whether one of the old runs keeps nothing any more.

    Of a leak that is not in every run, whether all do.
    """
    if is_rare:
        return all(kept.is_nothing for kept in old)
    return any(kept.is_nothing for kept in old)


def events(series: Sequence[Kept]) -> int:
    """Entries that have kept something."""
    return sum(not kept.is_nothing for kept in series)


def per_run(series: Sequence[Kept], is_rare: bool) -> PerRun:
    """What one run keeps: what most of the old runs have, or the mean where they differ."""
    old = series[1:-1] or series
    calls = sum(kept.calls for kept in old)
    if not is_rare:
        exact = _most_common(old)
        if exact is not None:
            return exact
        old = _of_common_count(old)
        calls = sum(kept.calls for kept in old)
    blocks_kept = sum(max(0, kept.blocks) for kept in old)
    grown_bytes = sum(kept.grown_bytes for kept in old)
    bytes_kept = sum(kept.size_bytes for kept in old) + max(0, grown_bytes)
    return PerRun(blocks_kept / calls, bytes_kept / calls, is_exact=False)


def _of_common_count(series: Sequence[Kept]) -> Sequence[Kept]:
    """Those that have kept as many blocks as nearly all others, whose sizes differ; or all."""
    tally: Tally[float] = Tally()
    for kept in series:
        tally[kept.blocks / kept.calls] += kept.calls
    (blocks, count), *_ = tally.most_common(1)
    calls = sum(kept.calls for kept in series)
    if blocks <= 0 or not blocks.is_integer() or count < thresholds.EXACT_SHARE * calls:
        return series
    return [kept for kept in series if kept.blocks / kept.calls == blocks]


def is_even(series: Sequence[Kept]) -> bool:
    """Whether nearly every run has kept just as much as the others."""
    old = series[1:-1] or series
    return _most_common(old) is not None or _has_even_shares(old)


def _has_even_shares(series: Sequence[Kept]) -> bool:
    """Whether that is so but for what the calls under one number share.

    Where each keeps a traceback, all of them keep the frame of the one loop that has called them.
    """
    one = _most_common([kept for kept in series if kept.calls == 1])
    several = [kept for kept in series if kept.calls > 1]
    if one is None or not several:
        return False
    shares: Tally[tuple[float, float]] = Tally()
    for kept in several:
        others = kept.calls - 1
        blocks = (kept.calls * one.blocks - kept.blocks) / others
        shares[blocks, (kept.calls * one.size_bytes - kept.size_bytes) / others] += kept.calls
    (blocks, size_bytes), count = shares.most_common(1)[0]
    is_share = 0 <= blocks < one.blocks and 0 <= size_bytes < one.size_bytes
    return is_share and count >= thresholds.EXACT_SHARE * sum(kept.calls for kept in several)


def is_ever_more(series: Sequence[Kept]) -> bool:
    """Whether each run keeps more blocks than those before it.

    It goes through all that they have left, and adds to each. No cache fills ever faster.
    """
    paces = [kept.blocks / kept.calls for kept in series[1:-1]]
    if len(paces) < thresholds.LEAST_RUNS or min(paces) <= 0:
        return False
    more = sum(before < after for before, after in pairwise(paces))
    return more >= thresholds.EXACT_SHARE * (len(paces) - 1)


def _most_common(series: Sequence[Kept]) -> PerRun | None:
    """What one run keeps, when that is the same in nearly all of them.

    Growth counts where nothing else is kept.
    """
    if not series:
        return None
    growth = is_growth(series)
    calls = sum(kept.calls for kept in series)
    tally: Tally[tuple[float, float]] = Tally()
    for kept in series:
        kept_bytes = kept.grown_bytes if growth else kept.size_bytes
        tally[kept.blocks / kept.calls, kept_bytes / kept.calls] += kept.calls
    (blocks, size_bytes), count = tally.most_common(1)[0]
    is_whole = blocks.is_integer() and size_bytes.is_integer()
    is_something = blocks > 0 or (growth and size_bytes > 0)
    if is_something and is_whole and count >= thresholds.EXACT_SHARE * calls:
        return PerRun(int(blocks), int(size_bytes), is_exact=True)
    return None
