"""From a service's timeline to a ``Check``: growth, diagnosis, findings, why it is inconclusive."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from pytest_leakguard.core.checks import Check, Diagnosis, Growth
from pytest_leakguard.core.leaks import Finding, LeakKind, Rate
from pytest_leakguard.core.metric_names import SERVICE_COUNTERS, MetricName
from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.core.text import quantity
from pytest_leakguard.growth.answers import Judgement, Leaking, Undecided
from pytest_leakguard.growth.diagnosis import Production, diagnose, growths
from pytest_leakguard.services import sampling_schedule
from pytest_leakguard.services.timeline import Timeline

_KINDS: Mapping[str, LeakKind] = {
    MetricName.MAPPED_BYTES: LeakKind.MAPPINGS,
    MetricName.DESCRIPTORS: LeakKind.FILE_DESCRIPTORS,
    MetricName.THREADS: LeakKind.THREADS,
    MetricName.PROCESSES: LeakKind.CHILD_PROCESSES,
}
_DECIDING = (
    MetricName.HEAP_BYTES,
    MetricName.MAPPED_BYTES,
    MetricName.PRIVATE_BYTES,
    MetricName.SHARED_FILES,
    *SERVICE_COUNTERS,
)
"""Series a finding may be made of; the others are second readings of the same pages."""
_MOST_NAMED = 4
"""Upper limit of the kinds that one line names."""
_ENDED_NAMED = 3
"""Upper limit of the processes that have ended and are named in a note."""
_NOTABLE_CACHE_BYTES = 1 << 20
"""Least growth of the page cache that a reader is told of, in bytes."""


def check_of(
    timeline: Timeline, blank: Check, production: Production, budget_bytes: float = 0.0
) -> Check:
    """Return ``blank`` with what ``timeline`` says.

    ``budget_bytes`` of growth per request are not yet a leak.
    """
    judgement = timeline.judge()
    growth = growths(judgement, timeline.requests, timeline.series)
    return replace(
        blank,
        findings=tuple(_findings(judgement, growth, blank.id, budget_bytes)),
        problems=(*blank.problems, *_problems(timeline, judgement)),
        notes=(*blank.notes, *_full(timeline), *_replaced(timeline), *_dear(timeline)),
        # It is stopped by us, so how it ends says nothing.
        expected_exit=None,
        duration_s=round(timeline.duration_s, 3),
        growth=growth,
        diagnosis=_diagnosis(timeline, judgement, production),
    )


def _diagnosis(
    timeline: Timeline, judgement: Judgement, production: Production
) -> Diagnosis | None:
    """Return what the growth means; of a run that broke off, only that it leaks can be said."""
    is_leak = isinstance(judgement.overall, Leaking)
    if not is_leak and (timeline.failure or timeline.replaced):
        return None
    return diagnose(
        judgement,
        timeline.requests,
        timeline.series,
        "request",
        production,
        timeline.stopped,
        _facts(timeline),
    )


def _replaced(timeline: Timeline) -> Iterator[str]:
    ended = timeline.replaced
    if ended:
        rest = len(ended) - _ENDED_NAMED
        others = f" and {rest} more" if rest > 0 else ""
        named = "; ".join(ended[:_ENDED_NAMED])
        yield f"{named}{others}: processes that come and go hide leaks"


def _full(timeline: Timeline) -> Iterator[str]:
    """Say that a process ran out of descriptors, and what came of it."""
    if timeline.descriptors_full_from() is not None:
        workers = timeline.workers.values()
        limits = [worker.limits.get(MetricName.DESCRIPTORS, 0.0) for worker in workers]
        limit = min((one for one in limits if one), default=0.0)
        then = f"; then: {timeline.failure}" if timeline.failure else ""
        yield f"a process reached its limit of {limit:,.0f} open descriptors{then}"


def _is_explained(timeline: Timeline, judgement: Judgement) -> bool:
    """Return whether requests failed because the descriptors that leak were all used up."""
    is_of_descriptors = judgement.overall.metric.name == MetricName.DESCRIPTORS
    is_full = timeline.descriptors_full_from() is not None
    return is_full and is_of_descriptors and isinstance(judgement.overall, Leaking)


def _dear(timeline: Timeline) -> Iterator[str]:
    """Say that sampling took more than it should, and what would help; nothing if it did not."""
    most = sampling_schedule.MOST_SHARE
    if timeline.overhead <= most or not timeline.done or timeline.has_ended_early:
        return
    spent_s = timeline.working_s + timeline.sampling_s
    need = timeline.done * timeline.sampling_s / (most * spent_s)
    each_ms = 1e3 * timeline.reading_s / max(1, timeline.readings)
    yield (
        f"sampling took {timeline.overhead:.1%} of the loop's time, more than {most:.0%}, "
        f"as a verdict needs its readings ({timeline.readings} of {each_ms:.1f} ms); "
        f"from some {math.ceil(need / 100) * 100:,} requests on it would take less"
    )


def _findings(
    judgement: Judgement, growth: tuple[Growth, ...], check_id: str, budget_bytes: float
) -> Iterator[Finding]:
    """Return one for the series that decided, and one for each counter that leaks besides."""
    if not isinstance(judgement.overall, Leaking):
        return
    for series in growth:
        is_decisive = series.metric == judgement.overall.metric.name
        # A second memory series would report the same leak again.
        is_named = (is_decisive or series.metric in _KINDS) and series.metric in _DECIDING
        if series.shape is Shape.LEAK and is_named:
            yield _finding(series, check_id, budget_bytes)


def _finding(series: Growth, check_id: str, budget_bytes: float) -> Finding:
    is_bytes, rise = series.unit == "bytes", int(max(0.0, series.rise))
    # A budget is meant for memory: descriptors are scarce, and none is spare.
    is_small = is_bytes and series.low <= budget_bytes and budget_bytes > 0
    return Finding(
        fingerprint=growth_name(check_id, series.metric),
        kind=_KINDS.get(series.metric, LeakKind.GROWTH),
        size_bytes=rise if is_bytes else 0,
        blocks=0 if is_bytes else rise,
        stack=(),
        is_gating=not is_small,
        rate=Rate(series.metric, series.unit, series.per_iteration, series.low, series.high),
    )


def growth_name(check_id: str, metric: str) -> str:
    """Return the fingerprint of growth: it has no stack, so check and series are its name."""
    return hashlib.sha256(f"growth:{check_id}[{metric}]".encode()).hexdigest()[:16]


def _problems(timeline: Timeline, judgement: Judgement) -> Iterator[str]:
    if timeline.failure and not _is_explained(timeline, judgement):
        yield f"{timeline.failure} (after {timeline.done:,} requests)"
        return
    overall = judgement.overall
    if timeline.replaced and not isinstance(overall, Leaking):
        others = " and others" if len(timeline.replaced) > 2 else ""
        yield (
            f"{'; '.join(timeline.replaced[:2])}{others}: "
            "what a process had gathered goes with it, so no growth can be seen. "
            "If the server recycles its workers, switch that off for the check "
            "(gunicorn --max-requests 0); if it crashed, its log says why"
        )
    elif isinstance(overall, Undecided):
        # Never silent: a check that could not see is no pass.
        yield f"undecided: {overall.reason}; {overall.remedy}"


def _facts(timeline: Timeline) -> Iterator[str]:
    if timeline.heap_report:
        yield timeline.heap_report
    if timeline.mappings:
        yield f"mappings that grew: {_largest(timeline.mappings, 'bytes')}"
    if timeline.private_dirty_bytes > 0:
        yield f"private dirty pages: +{quantity(timeline.private_dirty_bytes)}"
    if timeline.descriptors:
        opened = _largest(timeline.descriptors, "")
        yield f"descriptors that were opened and kept: {opened}"
    if timeline.page_cache_bytes > _NOTABLE_CACHE_BYTES:
        size = quantity(timeline.page_cache_bytes)
        yield f"page cache of the control group grew by {size}: files, not the service"
    if timeline.duration_s > 0:
        pace = timeline.done / timeline.duration_s
        yield f"{pace:,.0f} requests/s; sampling took {timeline.overhead:.1%} of the time"


def _largest(gains: Mapping[str, int], unit: str) -> str:
    """Name the kinds that gained most, in the order given."""
    named: list[str] = []
    for kind, gain in list(gains.items())[:_MOST_NAMED]:
        named.append(f"{kind} +{quantity(gain) if unit else gain}")
    return ", ".join(named)
