"""From a growth verdict to what a reader needs: hypotheses A to D, next steps, a forecast. Pure.

The hypotheses are the incident report's: A leak, B cache, C application logic, D fragmentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_leakguard.core.checks import Diagnosis, Growth, Hypothesis, Mark
from pytest_leakguard.core.metric_names import SERVICE_COUNTERS, MetricName
from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.growth import thresholds
from pytest_leakguard.growth.answers import (
    Burst,
    Cache,
    Fragmentation,
    Judgement,
    Leaking,
    Trend,
    Undecided,
)
from pytest_leakguard.growth.forecasting import Reach, forecast
from pytest_leakguard.growth.metrics import Source
from pytest_leakguard.growth.statistics import envelope, usable

Series = Mapping[str, Sequence[float | None]]

GROWS = (Shape.LEAK, Shape.FRAGMENTATION)
"""Shapes for which it makes sense to ask when the memory runs out."""
LEAK_STEP = (
    'for every block that is kept: leakguard.serve(..., tool="memray") for Python, '
    '"valgrind" or a sanitizer build for the rest'
)
"""Of a service that was driven; a recording has none to run."""
_CACHE_STEP = (
    "state its bound, and run until it is full; "
    "a fixed set of requests fills key-driven caches at once"
)
_BURST_STEP = "look in the log for what ran at that request; then bound or stream what it loads"
_NO_HEAP = (
    "no live heap was read, so what the allocator holds back cannot be told from what is in use"
)
_FRAGMENTATION_STEP = (
    "run with MALLOC_ARENA_MAX=1, or call malloc_trim(0): what comes back then was fragmentation"
)


@dataclass(frozen=True, slots=True)
class Production:
    """Where the service will run, for the forecast."""

    rate_per_s: float = 0.0
    """0 when it is not known."""
    limit_bytes: int = 0
    """0 when it is not known."""


def growths(judgement: Judgement, requests: Sequence[float], series: Series) -> tuple[Growth, ...]:
    """Return each judged series as the report has it, the deciding one first."""
    decisive = judgement.overall.metric
    ordered = sorted(judgement.trends, key=lambda trend: trend.metric is not decisive)
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
    """Return what the verdict means, what speaks for each explanation, and a forecast."""
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
    """Return what is resident at the end, on which limits act; else the live heap; 0 if unknown."""
    for trend in sorted(judgement.trends, key=_distance_from_limits):
        known = [value for value in series.get(trend.metric.name, ()) if value is not None]
        if trend.metric.unit == "bytes" and known:
            return int(known[-1])
    return 0


def _distance_from_limits(trend: Trend) -> tuple[bool, bool]:
    is_resident = trend.metric.source is Source.RESIDENT
    return not is_resident, trend.metric.name != MetricName.RESIDENT_SET


def _settled_at(
    trend: Trend, requests: Sequence[float], values: Sequence[float | None]
) -> int | None:
    """Return the request by which nearly all of the rise was there; ``None`` if it is no level."""
    run = usable(requests, values)
    # What leaks or is open has no level, and a small rise is none worth a mark.
    is_level = not isinstance(trend, Leaking | Undecided) and trend.rise >= trend.metric.settled
    if not is_level or len(run.xs) < 2:
        return None
    points = envelope(run.part(thresholds.WARM_UP), thresholds.RUN_WINDOWS)
    first, last = points[0][1], points[-1][1]
    reached = first + thresholds.SETTLED_SHARE * (last - first)
    return int(next(x for x, y in points if y >= reached))


def _marks(
    judgement: Judgement, production: Production, current: int, per: str
) -> tuple[Mark, ...]:
    """Return the forecast; it rests on resident memory where that is known to grow."""
    pages, overall = _first(judgement, Source.RESIDENT), judgement.overall
    if not production.limit_bytes or overall.metric.source is Source.COUNTER:
        return ()
    # The kernel kills for resident memory, which may grow faster than the live heap.
    pace = pages if pages and pages.per_iteration > 0 else overall
    if pace.metric.unit != "bytes":
        return ()
    marks: list[Mark] = []
    for rate in _rates(production, per):
        reached = forecast(pace, rate, production.limit_bytes, current)
        marks += [_mark(reached.alert, rate), _mark(reached.severe, rate)]
    return tuple(marks)


def _rates(production: Production, per: str) -> tuple[float, ...]:
    if per == "second":
        return (1.0,)
    return (production.rate_per_s,) if production.rate_per_s else thresholds.USUAL_RATES_PER_S


def _mark(reach: Reach, rate: float) -> Mark:
    return Mark(reach.share, reach.requests, rate, reach.seconds, reach.soonest_s, reach.latest_s)


def _first(judgement: Judgement, source: Source, unit: str = "bytes") -> Trend | None:
    for trend in judgement.trends:
        if trend.metric.source is source and trend.metric.unit == unit:
            return trend
    return None


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


def _evidence(trend: Trend, *beginnings: str) -> tuple[str, ...]:
    """Return what the rules said that begins like this."""
    return tuple(text for text in trend.evidence if text.startswith(beginnings))


def _tails(trend: Trend, *, growing: bool) -> tuple[str, ...]:
    tails: list[str] = []
    for text in _evidence(trend, "last "):
        if "too few samples" not in text and ("grows by" in text) is growing:
            tails.append(text)
    return tuple(tails)


def _fading(trend: Trend) -> tuple[str, ...]:
    return _evidence(trend, "growth fades", "growth stopped")


def _leak(overall: Trend, heap: Trend | None) -> Hypothesis:
    pro = list(_tails(overall, growing=True))
    contra = [*_fading(overall), *_tails(overall, growing=False)]
    if heap and heap is not overall:
        # The live heap knows better than pages, but where it decides it is no second witness.
        side = pro if isinstance(heap, Leaking) else contra
        side.append(f"the live heap ({heap.metric.name}) is judged {heap.shape}")
    return Hypothesis("A", "leak", tuple(pro), tuple(contra), _leak_step(overall))


def _leak_step(overall: Trend) -> str:
    if overall.metric.name not in SERVICE_COUNTERS:
        return LEAK_STEP
    is_descriptors = overall.metric.name == MetricName.DESCRIPTORS
    return f"list what is open at the end: /proc/PID/{'fd' if is_descriptors else 'task'}"


def _cache(overall: Trend) -> Hypothesis:
    pro, contra = _fading(overall), tuple[str, ...]()
    if isinstance(overall, Cache):
        pro = (*pro, overall.evidence[-1])
    elif isinstance(overall, Leaking):
        pro, contra = (), ("growth neither fades nor stops within the run",)
    return Hypothesis("B", "cache", pro, contra, _CACHE_STEP)


def _burst(overall: Trend) -> Hypothesis:
    name = "application logic (burst)"
    if isinstance(overall, Burst):
        return Hypothesis("C", name, _steps(overall), (), _BURST_STEP)
    if not isinstance(overall, Leaking):
        return Hypothesis("C", name, (), ("no step makes up the rise",), _BURST_STEP)
    # Growth in two steps may be a burst in each of two workers, so it does not speak against one.
    is_in_steps = any("two steps" in text for text in overall.evidence)
    contra = () if is_in_steps else ("the rise is spread over the run, not a step",)
    return Hypothesis("C", name, (), contra, _BURST_STEP)


def _steps(overall: Trend) -> tuple[str, ...]:
    steps: list[str] = []
    for text in overall.evidence:
        if text.startswith(("a step of", "steps of")) or text.endswith("given back"):
            steps.append(text)
    return tuple(steps)


def _fragmentation(overall: Trend, pages: Trend | None, heap: Trend | None) -> Hypothesis:
    pro, contra = tuple[str, ...](), tuple[str, ...]()
    if heap is None:
        contra = () if isinstance(overall, Leaking) else (_NO_HEAP,)
    elif isinstance(overall, Fragmentation):
        pro = _evidence(pages or heap, "resident memory rose")
    else:
        contra = _evidence(pages or heap, "resident memory rose") or _kept(heap)
    return Hypothesis("D", "fragmentation", pro, contra, _FRAGMENTATION_STEP)


def _kept(heap: Trend) -> tuple[str, ...]:
    if heap.rise <= 0 or not isinstance(heap, Leaking | Cache | Burst):
        return ()
    return (f"the live heap kept {heap.rise:,.0f} {heap.metric.unit} of its own",)
