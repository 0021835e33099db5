"""From a growth verdict to what a reader needs: hypotheses A to D with evidence, next steps, and a forecast. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_leakguard.core.checks import Diagnosis, Growth, Hypothesis, Mark
from pytest_leakguard.core.metric_names import SERVICE_COUNTERS, MetricName
from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.growth import thresholds
from pytest_leakguard.growth.answers import (
    Burst,
    Cache,
    Estimate,
    Fragmentation,
    Judgement,
    Leaking,
    Trend,
    Undecided,
)
from pytest_leakguard.growth.metrics import Source
from pytest_leakguard.growth.statistics import Slope, envelope, usable

Series = Mapping[str, Sequence[float | None]]

GROWS = (Shape.LEAK, Shape.FRAGMENTATION)
"""Shapes for which it makes sense to ask when the memory runs out."""
_USUAL_RATES = (1.0, 10.0, 100.0)
"""Requests per second, where no production rate is given."""


@dataclass(frozen=True, slots=True)
class Production:
    """Where the service will run, for the forecast."""

    rate_per_s: float = 0.0
    """0 when it is not known."""
    limit_bytes: int = 0
    """0 when it is not known."""


def growths(judgement: Judgement, requests: Sequence[float], series: Series) -> tuple[Growth, ...]:
    """Each judged series as the report tells it, the deciding one first."""
    ordered = sorted(
        judgement.trends, key=lambda trend: trend.metric is not judgement.overall.metric
    )
    return tuple(_growth(trend, requests, series.get(trend.metric.name, ())) for trend in ordered)


def _growth(trend: Trend, requests: Sequence[float], values: Sequence[float | None]) -> Growth:
    run = usable(requests, values)
    return Growth(
        metric=trend.metric.name,
        shape=trend.shape,
        per_iteration=trend.per_iteration,
        low=trend.low,
        high=trend.high,
        iterations=trend.iterations,
        samples=tuple(zip(run.xs, run.ys, strict=True)),
        unit=trend.metric.unit,
        rise=trend.rise,
        detectable_per_iteration=trend.detectable_per_iteration,
        reason=f"{trend.reason}; {trend.remedy}" if isinstance(trend, Undecided) else "",
        evidence=trend.evidence,
    )


def diagnose(
    judgement: Judgement,
    requests: Sequence[float],
    series: Series,
    per: str = "request",
    production: Production | None = None,
    stopped: str = "",
    facts: Iterable[str] = (),
) -> Diagnosis:
    """What the verdict means, what speaks for and against each explanation, and when the memory runs out."""
    overall = judgement.overall
    values = series.get(overall.metric.name, ())
    current = _current_bytes(judgement, series)
    production = production or Production()
    return Diagnosis(
        shape=overall.shape,
        metric=overall.metric.name,
        per=per,
        iterations=overall.iterations,
        hypotheses=_hypotheses(judgement),
        settled_at=_settled_at(overall, requests, values),
        marks=_marks(judgement, production, current, per) if overall.shape in GROWS else (),
        limit_bytes=production.limit_bytes,
        current_bytes=current,
        stopped=stopped,
        facts=tuple(facts),
    )


def _current_bytes(judgement: Judgement, series: Series) -> int:
    """What is resident at the end of the run: limits act on that; the live heap where nothing else is known."""
    by_weight = sorted(
        judgement.trends,
        key=lambda t: (
            t.metric.source is not Source.RESIDENT,
            t.metric.name != MetricName.RESIDENT_SET,
        ),
    )
    for trend in by_weight:
        known = [value for value in series.get(trend.metric.name, ()) if value is not None]
        if trend.metric.unit == "bytes" and known:
            return int(known[-1])
    return 0


def _settled_at(
    trend: Trend, requests: Sequence[float], values: Sequence[float | None]
) -> int | None:
    run = usable(requests, values)
    if (
        isinstance(trend, Leaking | Undecided)
        or trend.rise < trend.metric.settled
        or len(run.xs) < 2
    ):
        return None
    points = envelope(run.part(thresholds.WARM_UP), thresholds.RUN_WINDOWS)
    reached = points[0][1] + 0.9 * (points[-1][1] - points[0][1])
    return int(next(x for x, y in points if y >= reached))


def _marks(
    judgement: Judgement, production: Production, current: int, per: str
) -> tuple[Mark, ...]:
    """The forecast rests on resident memory, where its growth is known to be above zero."""
    pages, overall = _first(judgement, Source.RESIDENT), judgement.overall
    if not production.limit_bytes or overall.metric.source is Source.COUNTER:
        return ()
    pace = pages if pages and pages.per_iteration > 0 else overall
    if pace.metric.unit != "bytes":
        return ()
    given = (1.0,) if per == "second" else (production.rate_per_s,)
    return tuple(
        _mark(reach, rate)
        for rate in (given if given[0] else _USUAL_RATES)
        for reach in _reaches(pace, rate, production.limit_bytes, current)
    )


def _reaches(pace: Trend, rate: float, limit: int, current: int) -> tuple[Reach, Reach]:
    told = forecast(pace, rate, limit, current)
    return told.alert, told.severe


def _mark(reach: Reach, rate: float) -> Mark:
    return Mark(reach.share, reach.requests, rate, reach.seconds, reach.soonest_s, reach.latest_s)


def _first(judgement: Judgement, source: Source, unit: str = "bytes") -> Trend | None:
    chosen = (t for t in judgement.trends if t.metric.source is source and t.metric.unit == unit)
    return next(chosen, None)


def _hypotheses(judgement: Judgement) -> tuple[Hypothesis, ...]:
    pages, heap = _first(judgement, Source.RESIDENT), _first(judgement, Source.HEAP)
    heap = heap or _first(judgement, Source.HEAP, "blocks")
    overall = judgement.overall
    return (
        _leak(overall, heap),
        _cache(overall),
        _burst(overall),
        _fragmentation(overall, pages, heap),
    )


def _tails(trend: Trend, *, growing: bool) -> tuple[str, ...]:
    told = [
        said
        for said in trend.evidence
        if said.startswith("last ") and "too few samples" not in said
    ]
    return tuple(said for said in told if ("grows by" in said) is growing)


def _fading(trend: Trend) -> tuple[str, ...]:
    return tuple(
        said for said in trend.evidence if said.startswith(("growth fades", "growth stopped"))
    )


def _leak(overall: Trend, heap: Trend | None) -> Hypothesis:
    pro, contra = (
        list(_tails(overall, growing=True)),
        [*_fading(overall), *_tails(overall, growing=False)],
    )
    if heap and heap is not overall:
        told = f"the live heap ({heap.metric.name}) is judged {heap.shape}"
        (pro if isinstance(heap, Leaking) else contra).append(told)
    step = "run again with tool= (memray for Python, valgrind or a sanitizer build else) to get the allocating line"
    if overall.metric.name in SERVICE_COUNTERS:
        is_descriptors = overall.metric.name == MetricName.DESCRIPTORS
        step = f"list what is open at the end: /proc/PID/{'fd' if is_descriptors else 'task'}"
    return Hypothesis("A", "leak", tuple(pro), tuple(contra), step)


def _cache(overall: Trend) -> Hypothesis:
    step = "state its bound, and run until it is full; a fixed set of requests fills key-driven caches at once"
    if isinstance(overall, Cache):
        return Hypothesis("B", "cache", (*_fading(overall), overall.evidence[-1]), (), step)
    if isinstance(overall, Leaking):
        return Hypothesis(
            "B", "cache", (), ("growth neither fades nor stops within the run",), step
        )
    return Hypothesis("B", "cache", _fading(overall), (), step)


def _burst(overall: Trend) -> Hypothesis:
    step = "look in the log for what ran at that request; then bound or stream what it loads"
    steps = tuple(
        said
        for said in overall.evidence
        if said.startswith(("a step of", "steps of")) or said.endswith("given back")
    )
    if isinstance(overall, Burst):
        return Hypothesis("C", "application logic (burst)", steps, (), step)
    spread = (
        ()
        if "two steps" in " ".join(overall.evidence)
        else ("the rise is spread over the run, not a step",)
    )
    contra = spread if isinstance(overall, Leaking) else ("no step makes up the rise",)
    return Hypothesis("C", "application logic (burst)", (), contra, step)


def _fragmentation(overall: Trend, pages: Trend | None, heap: Trend | None) -> Hypothesis:
    step = "run with MALLOC_ARENA_MAX=1, or call malloc_trim(0): what comes back then was fragmentation"
    if heap is None:
        told = (
            "no live heap was read, so what the allocator holds back cannot be told from what is in use",
        )
        return Hypothesis(
            "D", "fragmentation", (), () if isinstance(overall, Leaking) else told, step
        )
    compared = tuple(
        said for said in (pages or heap).evidence if said.startswith("resident memory rose")
    )
    if isinstance(overall, Fragmentation):
        return Hypothesis("D", "fragmentation", compared, (), step)
    kept = f"the live heap kept {heap.rise:,.0f} {heap.metric.unit} of its own"
    rises = heap.rise > 0 and isinstance(heap, Leaking | Cache | Burst)
    return Hypothesis("D", "fragmentation", (), compared or ((kept,) if rises else ()), step)


@dataclass(frozen=True, slots=True)
class Reach:
    """When a share of the memory limit is reached if the same traffic continues."""

    share: float
    requests: float | None
    """``None``: never, at the growth measured."""
    seconds: float | None
    soonest_s: float | None
    """By the upper end of the growth's interval; ``None``: never."""
    latest_s: float | None
    """By the lower end; ``None``: no upper bound."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """An extrapolation, as good as the traffic stays the same."""

    alert: Reach
    """85 % of the limit."""
    severe: Reach
    """95 % of the limit."""


def forecast(
    growth: Slope | Estimate, rate_per_s: float, limit_bytes: float, current_bytes: float
) -> Forecast:
    """Return when 85 % and 95 % of the limit are reached; limits act on resident growth."""
    return Forecast(
        *(_reach(share, growth, rate_per_s, limit_bytes, current_bytes) for share in (0.85, 0.95))
    )


def _reach(
    share: float, growth: Slope | Estimate, rate_per_s: float, limit: float, current: float
) -> Reach:
    room = max(0.0, share * limit - current)
    requests = _quotient(room, growth.per_iteration)
    soonest, likely, latest = (
        _quotient(room, per_request * rate_per_s)
        for per_request in (growth.high, growth.per_iteration, growth.low)
    )
    return Reach(share, requests, likely, soonest, latest)


def _quotient(room: float, pace: float) -> float | None:
    if room == 0:
        return 0.0  # already there, whatever the pace
    reached = room / pace if pace > 0 else math.inf
    return reached if math.isfinite(reached) else None
