"""Whether memory or a counter grows per request, and how: no I/O.

``judge_series`` answers for one series, ``judge`` for all series of a run. The arithmetic is in
``statistics``, the numbers it compares with are in ``thresholds``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeAlias

from pytest_leakguard.core.metric_names import MetricName
from pytest_leakguard.growth import thresholds
from pytest_leakguard.growth.ages import Ages, Counted, Fate, largest_leak_missed
from pytest_leakguard.growth.answers import (
    Burst,
    Cache,
    Estimate,
    Fragmentation,
    Judgement,
    Leaking,
    Stable,
    Trend,
    Undecided,
    answer,
)
from pytest_leakguard.growth.bursts import burst_in
from pytest_leakguard.growth.filling import Filling
from pytest_leakguard.growth.metrics import METRICS, RESIDENT, RUNTIMES, Metric, Source
from pytest_leakguard.growth.statistics import (
    Run,
    Tail,
    envelope,
    has_stopped,
    is_bent,
    is_slowing,
    judge_tail,
    usable,
    without_release,
)

Values: TypeAlias = Sequence[float | None]
"""Readings of one series; ``None`` where one is missing."""


def judge_series(
    requests: Sequence[float],
    values: Values,
    metric: Metric = RESIDENT,
    processes: int = 1,
) -> Trend:
    """Return whether one series grows with the requests; unusable samples are left out.

    ``processes`` is how many there were: each has free heap of its own that a leak fills first.
    """
    whole = usable(requests, values)
    run = without_release(whole, metric.floor) if metric.source is not Source.COUNTER else whole
    if len(run.xs) < thresholds.MIN_SAMPLES:
        return _too_few(Estimate(metric=metric, iterations=int(run.span)), len(run.xs))
    longest = judge_tail(run, thresholds.LONGEST_TAIL, metric)
    middle = judge_tail(run, thresholds.MIDDLE_TAIL, metric)
    latest = judge_tail(run, thresholds.LATEST_TAIL, metric)
    # A cache grows as steadily as a leak until it is full; only its end tells it apart.
    vetoes = tuple(filter(None, (is_slowing(run), has_stopped(run, metric))))
    growing = None if vetoes else _growing_of(longest, middle)
    tails = (longest, middle, latest)
    facts = _measured(run, metric, processes, tails, growing or middle, vetoes)
    if longest.windows < thresholds.MIN_WINDOWS:
        return _too_few(replace(facts, detectable_per_iteration=None), len(run.xs))
    if growing:
        return _leaks(facts, run)
    if metric.name == MetricName.PROCESSES and _counts_up(run):
        return answer(Leaking, _counted_up(facts, run), "one more again and again, and none fewer")
    if latest.is_growing and not vetoes:
        return _began_late(facts, run)
    return _named(facts, whole)


def _counts_up(run: Run) -> bool:
    """Return whether there is one more in each part of the run, several in all, and never fewer.

    Each process that is kept is deliberate; whether they are many enough for a trend is no matter.
    """
    if any(later < earlier for earlier, later in pairwise(run.ys)):
        return False
    count = thresholds.AGED_PARTS
    parts = [run.part(i / count, (i + 1) / count) for i in range(count)]
    grows = all(part.ys and part.ys[-1] > part.ys[0] for part in parts)
    return grows and run.ys[-1] - run.ys[0] >= thresholds.AGED_EVENTS


def _counted_up(facts: Estimate, run: Run) -> Estimate:
    rate = (run.ys[-1] - run.ys[0]) / run.span
    one = 1 / run.span
    return replace(facts, per_iteration=rate, low=rate - one, high=rate + one)


def _growing_of(longest: Tail, middle: Tail) -> Tail | None:
    if longest.is_growing:
        return longest
    return middle if middle.is_growing else None


def _named(facts: Estimate, run: Run) -> Trend:
    """Return what to call a run that does not leak."""
    metric = facts.metric
    # Without the sample before the first request, which opens connections and loads modules.
    step = burst_in(Run(run.xs[1:], run.ys[1:]), metric)
    if step:
        return answer(Burst, facts, step.summary, is_early=step.is_early)
    if facts.rise >= metric.settled:
        return answer(Cache, facts, f"rose by {facts.rise:.0f} {metric.unit} and levels off")
    return answer(Stable, facts, f"rose by {facts.rise:.0f} {metric.unit} in all")


def _measured(
    run: Run,
    metric: Metric,
    processes: int,
    tails: Sequence[Tail],
    decisive: Tail,
    vetoes: tuple[str, ...],
) -> Estimate:
    points = envelope(run.part(thresholds.WARM_UP), thresholds.RUN_WINDOWS)
    # A leak first fills free heap, then must rise by the floor; nor is one seen below the noise.
    detectable = (metric.slack * processes + metric.floor) / run.span
    noise = 0.0 if decisive.is_growing else decisive.slope.high
    dropped = (f"{run.dropped} samples were unusable",) if run.dropped else ()
    return Estimate(
        metric=metric,
        per_iteration=decisive.slope.per_iteration,
        low=decisive.slope.low,
        high=decisive.slope.high,
        rise=points[-1][1] - points[0][1],
        late_rise=tails[0].rise,
        iterations=int(run.span),
        detectable_per_iteration=max(detectable, noise),
        evidence=(*(tail.summary_in(metric.unit) for tail in tails), *vetoes, *dropped),
    )


def _too_few(facts: Estimate, have: int) -> Undecided:
    # Unevenly spread samples may be many and still leave the last part of the run too thin.
    need = max(thresholds.MIN_SAMPLES, have + 1)
    return answer(
        Undecided,
        facts,
        reason=f"{have} samples are too few, or too few of them in the last part of the run",
        remedy=f"take at least {need} evenly spread samples",
        counted_in="samples",
        have=have,
        need=need,
    )


def _began_late(facts: Estimate, run: Run) -> Undecided:
    # Growth began in the latest tail, so it is decided once the middle tail holds nothing before.
    onset = (1 - thresholds.LATEST_TAIL) * run.span
    need = math.ceil(onset / (1 - thresholds.MIDDLE_TAIL))
    return answer(
        Undecided,
        facts,
        reason="growth began late: only the last quarter of the run shows it",
        remedy=f"extend the run to {need} requests",
        counted_in="requests",
        have=facts.iterations,
        need=need,
    )


def _leaks(facts: Estimate, run: Run) -> Trend:
    """Return that it does, where growth is proof of it."""
    if facts.metric.caveat:
        return _no_proof(facts)
    is_short = _is_bytes(facts) and run.span < thresholds.USUAL_REQUESTS
    return _bends(facts) if is_short and is_bent(run) else answer(Leaking, facts)


_SLOWER = "it grows, slower and slower: a cache that fills looks like that"


def _bends(facts: Estimate) -> Undecided:
    need = min(2 * facts.iterations, thresholds.USUAL_REQUESTS)
    return answer(
        Undecided,
        facts,
        reason=_SLOWER,
        remedy=f"extend the run to {need} requests",
        counted_in="requests",
        have=facts.iterations,
        need=need,
    )


def _no_proof(facts: Estimate) -> Undecided:
    return answer(
        Undecided,
        facts,
        reason=f"it grows, but {facts.metric.caveat}",
        remedy="record the live heap, or anonymous memory where the runtime gives it back",
        counted_in="requests",
        have=facts.iterations,
        need=facts.iterations,
    )


def _no_level(name: str) -> Values | None:
    """Return nothing: no series is a sum over processes."""


def judge(
    requests: Sequence[float],
    series: Mapping[str, Values],
    *,
    processes: int = 1,
    runtime: str = "",
    metrics: Sequence[Metric] = METRICS,
    levelled: Callable[[str], Values | None] = _no_level,
    counted: Counted | None = None,
    is_heap_whole: bool = True,
) -> Judgement:
    """Return the answer for all series of one run; names are those of ``metrics``.

    ``runtime`` is a key of ``RUNTIMES``; it matters only where no live heap was read. ``levelled``
    gives a series that is a sum over processes as if each had come as far as one that does the
    same and stands still. ``counted`` is there where every block of every process is counted;
    without ``is_heap_whole`` some processes have a live heap that nobody reads.
    """
    ages = counted.ages if counted else {}

    def trends_of(source: Source, changes: Mapping[str, Any]) -> list[Trend]:
        chosen: list[Trend] = []
        for metric in metrics:
            if metric.source is source and metric.name in series:
                chosen.append(trend_of(replace(metric, **changes)))
        return chosen

    def trend_of(metric: Metric) -> Trend:
        trend = judge_series(requests, series[metric.name], metric, processes)
        if metric.name in ages:
            trend = _beside_ages(trend, ages[metric.name])
        level = levelled(metric.name) if _grows(trend) else None
        if not level:
            return trend
        return _beside_level(trend, judge_series(requests, level, metric, processes))

    # The heap first: a runtime's resident memory is judged by other rules where it is unknown.
    heaps, counters = trends_of(Source.HEAP, {}), trends_of(Source.COUNTER, {})
    is_heap_known = any(not isinstance(trend, Undecided) for trend in heaps)
    pages = trends_of(Source.RESIDENT, {} if is_heap_known else RUNTIMES.get(runtime, {}))
    names = {metric.name for metric in metrics}
    ignored = tuple(name for name in series if name not in names)
    base = _base_of(series, metrics)
    pages = _beside_open(pages, heaps, ages)
    live = next((trend for trend in _decided(heaps) if trend.metric.unit == "bytes"), None)
    if live and not _first(heaps, Leaking):
        if counted:
            peak = _late_rise(requests, counted.peak)
            pages = [
                _beside_counted(trend, live, max(live.late_rise, peak), base) for trend in pages
            ]
        elif is_heap_whole:
            pages = [_beside_heap(trend, live, base) for trend in pages]
    return _combine(heaps, pages, counters, ignored)


def _late_rise(requests: Sequence[float], values: Values) -> float:
    """Return how much higher it is at the end than where the longest tail begins."""
    run = usable(requests, values).part(1 - thresholds.LONGEST_TAIL)
    return run.ys[-1] - run.ys[0] if run.ys else 0.0


def _base_of(series: Mapping[str, Values], metrics: Sequence[Metric]) -> float:
    """Return what was resident before the first request."""
    for metric in metrics:
        if metric.source is Source.RESIDENT and metric.name in series:
            run = usable(range(len(series[metric.name])), series[metric.name])
            return run.ys[0] if run.ys else 0.0
    return 0.0


def _combine(
    heaps: Sequence[Trend],
    pages: Sequence[Trend],
    counters: Sequence[Trend],
    ignored: tuple[str, ...],
) -> Judgement:
    """Name the series that decides: a leak, then growth that began late.

    A quiet reading elsewhere excuses neither.
    """
    decided = _decided(heaps)
    pages = [*pages[:1], *(_beside_better(trend, pages[0]) for trend in pages[1:])]
    # Counters last: a leaked descriptor or thread mostly leaks memory too, in more useful units.
    deciding = [*heaps, *pages[:1], *counters]
    late = next((trend for trend in deciding if _began_too_late(trend)), None)
    memory = [*_decided(pages[:1]), *decided, *pages, *deciding]
    overall = _leak_among(deciding) or late or next(iter(memory), None)
    return Judgement(overall or _nothing_known(), (*heaps, *pages, *counters), ignored)


def _decided(trends: Sequence[Trend]) -> list[Trend]:
    return [trend for trend in trends if not isinstance(trend, Undecided)]


def _began_too_late(trend: Trend) -> bool:
    """Return whether it grows, and more requests would decide."""
    return isinstance(trend, Undecided) and trend.counted_in == "requests"


def _first(trends: Sequence[Trend], *kinds: type[Estimate]) -> Trend | None:
    return next((trend for trend in trends if isinstance(trend, kinds)), None)


def _leak_among(deciding: Sequence[Trend]) -> Trend | None:
    """Return the first series that leaks, or the counter that explains all of its growth."""
    leaking = [trend for trend in deciding if isinstance(trend, Leaking)]
    heaps = [one for one in leaking if one.metric.source is Source.HEAP and _is_bytes(one)]
    # Of blocks and mappings the larger one: a mapping's bookkeeping is a block.
    largest = max(heaps, key=lambda one: one.per_iteration, default=None)
    first = largest or next(iter(leaking), None)
    if first is None or not _is_bytes(first):
        return first
    processes = [trend for trend in deciding if trend.metric.name == MetricName.PROCESSES]
    if _first(processes, Leaking):  # each brings memory of its own
        return _first(processes, Leaking)
    for trend in deciding:
        if not isinstance(trend, Leaking) or trend.metric.source is not Source.COUNTER:
            continue
        if first.per_iteration < thresholds.BOOKKEEPING_BYTES * trend.per_iteration:
            return trend
    return first


def _is_bytes(trend: Estimate) -> bool:
    return trend.metric.unit == "bytes"


def _grows(trend: Trend) -> bool:
    return isinstance(trend, Leaking) or _began_too_late(trend)


def _beside_level(trend: Trend, level: Trend) -> Trend:
    """Return growth as that of workers which fill up to what the busiest of their kind holds.

    ``level`` is the sum as if each had come as far as the busiest; where it grows, nothing changes.
    """
    if _grows(level):
        return trend
    reason = (
        "of processes that do the same the busiest no longer grows; "
        "the others fill up to what it holds"
    )
    facts = replace(trend, detectable_per_iteration=level.detectable_per_iteration)
    return answer(Cache, facts, reason)


def _beside_better(trend: Trend, better: Trend) -> Trend:
    """Return the trend as the better reading of the same pages has it; this one counts others."""
    if not isinstance(trend, Leaking) or isinstance(better, Leaking | Undecided):
        return trend
    reason = f"outvoted by {better.metric.name}: what grows are pages of files or shared memory"
    return answer(type(better), trend, reason)


def _beside_ages(trend: Trend, ages: Ages) -> Trend:
    """Return what the sum over all batches means beside what became of each of them."""
    missed = largest_leak_missed(ages)
    is_rare = ages.fate is Fate.KEPT_NOW_AND_THEN
    # A pool that finds its size takes one more now and then for long; together they are little.
    is_little = ages.whole_bytes < trend.metric.floor and not ages.is_for_good
    if is_rare and is_little:
        return trend
    if ages.is_leak:
        facts = replace(
            trend,
            per_iteration=ages.per_request,
            low=ages.low,
            high=ages.high,
            rise=max(trend.rise, ages.kept_bytes),
            late_rise=max(trend.late_rise, ages.kept_bytes),
            detectable_per_iteration=missed,
        )
        return answer(Leaking, facts, ages.summary)
    if ages.filling is not None:
        return _not_full(trend, ages.filling)
    if ages.fate is Fate.LOST and isinstance(trend, Leaking | Undecided):
        return answer(Cache, trend, ages.summary)
    if ages.fate is not Fate.GONE:
        return trend
    high = missed or 0.0
    facts = replace(trend, per_iteration=0.0, low=0.0, high=high, detectable_per_iteration=missed)
    if isinstance(trend, Burst):
        return answer(Burst, facts, ages.summary, is_early=trend.is_early)
    if trend.rise >= trend.metric.settled:
        return answer(Cache, facts, ages.summary)
    return answer(Stable, facts, ages.summary)


def _beside_open(
    pages: list[Trend], heaps: Sequence[Trend], ages: Mapping[str, Ages]
) -> list[Trend]:
    """Return what pages say beside a heap that fills up, as it may: it takes them."""
    if _first(heaps, Leaking):
        return pages
    found = next((one.filling for one in ages.values() if one.filling is not None), None)
    if found is not None:
        return [_not_full(page, found) if _grows(page) else page for page in pages]
    is_slower = any(isinstance(one, Undecided) and one.reason == _SLOWER for one in heaps)
    return [_bends(page) if is_slower and _grows(page) else page for page in pages]


def _not_full(trend: Trend, filling: Filling) -> Trend:
    """Return that it is open: a container with a limit takes entries, and is not full."""
    return answer(
        Undecided,
        trend,
        reason=filling.reason,
        remedy=f"send at least {filling.shows_at:,} requests",
        counted_in="requests",
        have=trend.iterations,
        need=filling.shows_at,
    )


def _beside_counted(resident: Trend, live: Trend, explained: float, base: float) -> Trend:
    """Return what resident memory's growth means where every block is counted, and none leaks.

    Pages follow the most that was alive at once. What grows on beyond that, steadily, is memory
    that is no block: mapped by the program itself, or by the kernel for it.
    """
    if isinstance(resident, Undecided) and resident.counted_in == "samples":
        return resident
    rise = resident.late_rise
    reason = (
        f"resident memory rose by {rise:.0f} bytes, the live heap by {live.late_rise:.0f} "
        f"and its peak by {explained:.0f}"
    )
    is_large = rise >= max(resident.metric.step, thresholds.FRAGMENTATION_OF_BASE * base)
    unexplained = rise - explained
    if isinstance(resident, Leaking) and unexplained >= max(
        resident.metric.step, thresholds.HEAP_PACE * rise
    ):
        return answer(Leaking, resident, f"{reason}: the rest is no block of any allocator")
    if is_large and live.late_rise < thresholds.FRAGMENTATION_HEAP_SHARE * rise:
        return answer(Fragmentation, resident, reason)
    if isinstance(resident, Leaking | Undecided):
        return answer(type(live), resident, reason)
    return resident


def _beside_heap(resident: Trend, heap: Trend, base: float) -> Trend:
    """Return what resident memory's growth means beside a live heap that does not leak."""
    if isinstance(resident, Undecided) and resident.counted_in == "samples":
        return resident
    # A step is judged whole; filling, and an early step, only after warm-up, when a runtime has
    # claimed its arenas.
    is_whole = isinstance(resident, Burst) and not resident.is_early
    rise = resident.rise if is_whole else resident.late_rise
    shared = heap.rise if is_whole else heap.late_rise
    reason = f"resident memory rose by {rise:.0f} bytes, the live heap by {shared:.0f}"
    is_large = rise >= max(resident.metric.step, thresholds.FRAGMENTATION_OF_BASE * base)
    if is_large and shared < thresholds.FRAGMENTATION_HEAP_SHARE * rise:
        return answer(Fragmentation, resident, reason)
    grows = isinstance(resident, Leaking | Undecided)
    if grows and heap.per_iteration < thresholds.HEAP_PACE * resident.per_iteration:
        return answer(type(heap), resident, reason)
    return resident


def _nothing_known() -> Undecided:
    return Undecided(
        metric=RESIDENT,
        reason="no series that can be judged",
        remedy="record one of " + ", ".join(metric.name for metric in METRICS),
        counted_in="samples",
        have=0,
        need=thresholds.MIN_SAMPLES,
    )
