"""Whether memory or a counter grows per request, and how: no I/O.

``judge_series`` answers for one series, ``judge`` for all series of a run. Method and
measurements are the growth study's (v3.1); its arithmetic is in ``growth_evidence``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

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
from pytest_leakguard.growth.metrics import METRICS, RESIDENT, RUNTIMES, Metric, Source
from pytest_leakguard.growth.statistics import (
    MIN_SAMPLES,
    MIN_WINDOWS,
    RUN_WINDOWS,
    WARM_UP,
    Run,
    Tail,
    burst_in,
    envelope,
    has_stopped,
    is_slowing,
    look_at_tail,
    usable,
)

BOOKKEEPING_BYTES = 256
"""Memory for each leaked descriptor or thread up to which it is what leaks: its number, and its place in a list."""


def judge_series(
    requests: Sequence[float],
    values: Sequence[float | None],
    metric: Metric = RESIDENT,
    processes: int = 1,
) -> Trend:
    """Return whether one series grows with the requests; unusable samples are left out.

    ``processes`` is how many there were: each has free heap of its own that a leak fills first.
    """
    run = usable(requests, values)
    if len(run.xs) < MIN_SAMPLES:
        return _too_few(Estimate(metric=metric, iterations=int(run.span)), len(run.xs))
    tails = tuple(look_at_tail(run, share, metric) for share in (0.75, 0.5, 0.25))
    vetoes = tuple(said for said in (is_slowing(run), has_stopped(run, metric)) if said)
    growing = next((tail for tail in tails[:2] if tail.is_growing and not vetoes), None)
    facts = _measured(run, metric, processes, tails, growing or tails[1], vetoes)
    if tails[0].windows < MIN_WINDOWS:
        return _too_few(replace(facts, detectable_per_iteration=None), len(run.xs))
    if growing and metric.caveat:
        return _no_proof(facts)
    if growing:
        return answer(Leaking, facts)
    if tails[2].is_growing and not vetoes:
        return _began_late(facts, run)
    if step := burst_in(Run(run.xs[1:], run.ys[1:]), metric):
        return answer(Burst, facts, step.told, is_early=step.is_early)
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
    points = envelope(run.part(WARM_UP), RUN_WINDOWS)
    # A leak first fills free heap, then must rise by the floor; nor is one seen below the noise.
    detectable = (metric.slack * processes + metric.floor) / run.span
    dropped = (f"{run.dropped} samples were unusable",) if run.dropped else ()
    return Estimate(
        metric=metric,
        per_iteration=decisive.slope.per_iteration,
        low=decisive.slope.low,
        high=decisive.slope.high,
        rise=points[-1][1] - points[0][1],
        late_rise=tails[0].rise,
        iterations=int(run.span),
        detectable_per_iteration=max(
            detectable, 0.0 if decisive.is_growing else decisive.slope.high
        ),
        evidence=(*(tail.told for tail in tails), *vetoes, *dropped),
    )


def _too_few(facts: Estimate, have: int) -> Undecided:
    # Unevenly spread samples may be many and still leave the last part of the run too thin.
    return answer(
        Undecided,
        facts,
        reason=f"{have} samples are too few, or too few of them in the last part of the run",
        remedy=f"take at least {max(MIN_SAMPLES, have + 1)} evenly spread samples",
        counted_in="samples",
        have=have,
        need=max(MIN_SAMPLES, have + 1),
    )


def _began_late(facts: Estimate, run: Run) -> Undecided:
    # Decided once the run's last half lies behind the onset, which is after its first half here.
    need = math.ceil(1.5 * run.span)
    return answer(
        Undecided,
        facts,
        reason="growth began late: only the last quarter of the run shows it",
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


def judge(
    requests: Sequence[float],
    series: Mapping[str, Sequence[float | None]],
    *,
    processes: int = 1,
    runtime: str = "",
    metrics: Sequence[Metric] = METRICS,
    levelled: Callable[[str], Sequence[float | None] | None] = lambda name: None,
) -> Judgement:
    """Return the answer for all series of one run; names are those of ``metrics``.

    ``runtime`` is a key of ``RUNTIMES``; it matters only where no live heap was read. ``levelled`` gives a
    series that is a sum over processes as if each had come as far as one that does the same and stands still.
    """

    def trends_of(source: Source, changes: Mapping[str, Any]) -> list[Trend]:
        return [
            trend_of(replace(metric, **changes))
            for metric in metrics
            if metric.source is source and metric.name in series
        ]

    def trend_of(metric: Metric) -> Trend:
        trend = judge_series(requests, series[metric.name], metric, processes)
        level = levelled(metric.name) if _grows(trend) else None
        return (
            _beside_level(trend, judge_series(requests, level, metric, processes))
            if level
            else trend
        )

    heaps, counters = trends_of(Source.HEAP, {}), trends_of(Source.COUNTER, {})
    is_heap_known = any(not isinstance(trend, Undecided) for trend in heaps)
    pages = trends_of(Source.RESIDENT, {} if is_heap_known else RUNTIMES.get(runtime, {}))
    names = {metric.name for metric in metrics}
    ignored = tuple(name for name in series if name not in names)
    return _combine(heaps, pages, counters, _base_of(series, metrics), ignored)


def _base_of(series: Mapping[str, Sequence[float | None]], metrics: Sequence[Metric]) -> float:
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
    base: float,
    ignored: tuple[str, ...],
) -> Judgement:
    """Let the live heap outvote resident memory, and name the counter that leaks.

    A leak decides, then growth that began late: a quiet reading elsewhere does not excuse it.
    """
    decided = [trend for trend in heaps if not isinstance(trend, Undecided)]
    live = next((trend for trend in decided if trend.metric.unit == "bytes"), None)
    if live and not _first(heaps, Leaking):
        pages = [_beside_heap(trend, live, base) for trend in pages]
    pages = [*pages[:1], *(_beside_better(trend, pages[0]) for trend in pages[1:])]
    # Counters last: a leaked descriptor or thread mostly leaks memory too, in more useful units.
    deciding = [*heaps, *pages[:1], *counters]
    late = (t for t in deciding if isinstance(t, Undecided) and t.counted_in == "requests")
    memory = [*(t for t in pages[:1] if not isinstance(t, Undecided)), *decided, *pages, *deciding]
    overall = _leak_among(deciding) or next(late, None) or next(iter(memory), None)
    return Judgement(overall or _nothing_known(), (*heaps, *pages, *counters), ignored)


def _first(trends: Sequence[Trend], *kinds: type[Estimate]) -> Trend | None:
    return next((trend for trend in trends if isinstance(trend, kinds)), None)


def _leak_among(deciding: Sequence[Trend]) -> Trend | None:
    """Return the first series that leaks, or the counter whose bookkeeping is all that memory grows by."""
    first = _first(deciding, Leaking)
    if first is None or first.metric.unit != "bytes":
        return first
    leaks = (
        one for one in deciding if isinstance(one, Leaking) and one.metric.source is Source.COUNTER
    )
    return next(
        (one for one in leaks if first.per_iteration < BOOKKEEPING_BYTES * one.per_iteration), first
    )


def _grows(trend: Trend) -> bool:
    return isinstance(trend, Leaking) or (
        isinstance(trend, Undecided) and trend.counted_in == "requests"
    )


def _beside_level(trend: Trend, level: Trend) -> Trend:
    """Return growth as that of processes which fill up to what the busiest of their kind holds, unless that grows."""
    if _grows(level):
        return trend
    told = "of processes that do the same the busiest no longer grows; the others fill up to what it holds"
    return answer(
        Cache, replace(trend, detectable_per_iteration=level.detectable_per_iteration), told
    )


def _beside_better(trend: Trend, better: Trend) -> Trend:
    """Return the trend as the better reading of the same pages has it; this one counts others."""
    if not isinstance(trend, Leaking) or isinstance(better, Leaking | Undecided):
        return trend
    told = f"outvoted by {better.metric.name}: what grows are pages of files or shared memory"
    return answer(type(better), trend, told)


def _beside_heap(resident: Trend, heap: Trend, base: float) -> Trend:
    """Return what resident memory's growth means beside a live heap that does not leak."""
    if isinstance(resident, Undecided) and resident.counted_in == "samples":
        return resident
    # A step is judged whole; filling, and an early step, only after warm-up, when a runtime has claimed its arenas.
    whole = isinstance(resident, Burst) and not resident.is_early
    rise = resident.rise if whole else resident.late_rise
    shared = heap.rise if whole else heap.late_rise
    told = f"resident memory rose by {rise:.0f} bytes, the live heap by {shared:.0f}"
    if rise >= max(resident.metric.step, 0.2 * base) and shared < 0.25 * rise:
        return answer(Fragmentation, resident, told)
    grows = isinstance(resident, Leaking | Undecided)
    if grows and heap.per_iteration < 0.5 * resident.per_iteration:
        return answer(type(heap), resident, told)
    return resident


def _nothing_known() -> Undecided:
    return Undecided(
        metric=RESIDENT,
        reason="no series that can be judged",
        remedy="record one of " + ", ".join(metric.name for metric in METRICS),
        counted_in="samples",
        have=0,
        need=MIN_SAMPLES,
    )
