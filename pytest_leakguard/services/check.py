"""From a service's timeline to a ``Check``: growth, diagnosis, findings, why it is inconclusive."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace

from pytest_leakguard.core.checks import Check, Diagnosis, Growth
from pytest_leakguard.core.leaks import Finding, LeakKind, Rate
from pytest_leakguard.core.metric_names import SERVICE_COUNTERS, MetricName
from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.core.text import plural, quantity
from pytest_leakguard.growth import thresholds
from pytest_leakguard.growth.answers import Judgement, Leaking, Trend, Undecided
from pytest_leakguard.growth.diagnosis import Production, diagnose, growths
from pytest_leakguard.processes import tree
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
_ROUNDED_TO = 50
"""Requests to which a number that is asked for is rounded up."""
_COMMAND = 60
"""Upper limit of what is told of a command, in characters."""
_DIFFERENT_SHARE = 0.2
"""Least difference between processes that is worth a line, as a share of the largest gain."""
_MACHINES = "no memory_limit was given, so the forecast is for the memory of this machine"
_NOTABLE_CACHE_BYTES = 1 << 20
"""Least growth of the page cache that a reader is told of, in bytes."""


def check_of(
    timeline: Timeline, blank: Check, production: Production, budget_bytes: float = 0.0
) -> Check:
    """Return ``blank`` with what ``timeline`` says.

    ``budget_bytes`` of growth per request are not yet a leak.
    """
    if timeline.per != "request":
        production = Production()  # its rate is in requests
    judgement = _in_requests(timeline.judge(), timeline.done)
    is_machines = not production.limit_bytes and _is_memory_leak(judgement, timeline)
    if is_machines:
        production = replace(production, limit_bytes=_machine_bytes())
    growth = growths(judgement, timeline.requests, timeline.series)
    return replace(
        blank,
        findings=tuple(_findings(judgement, growth, blank.id, budget_bytes, timeline.per)),
        problems=(*blank.problems, *_problems(timeline, judgement)),
        notes=(
            *blank.notes,
            *_uncounted(timeline),
            *_full(timeline),
            *_may_have_a_limit(timeline, judgement),
            *_replaced(timeline),
            *_dear(timeline),
        ),
        # It is stopped by us, so how it ends says nothing.
        expected_exit=None,
        duration_s=round(timeline.duration_s, 3),
        growth=growth,
        diagnosis=_diagnosis(timeline, judgement, production, is_machines),
    )


def _in_requests(judgement: Judgement, done: int) -> Judgement:
    """Return it with what is missing counted in requests, as nobody can ask for samples."""
    trends = tuple(_trend_in_requests(trend, done) for trend in judgement.trends)
    return replace(judgement, overall=_trend_in_requests(judgement.overall, done), trends=trends)


def _trend_in_requests(trend: Trend, done: int) -> Trend:
    if not isinstance(trend, Undecided) or trend.counted_in != "samples" or not trend.have:
        return trend
    # A batch of requests is one sample; what was sent so far says how long they are here.
    need = max(sampling_schedule.BATCH * trend.need, math.ceil(done * trend.need / trend.have))
    rounded = math.ceil(need / _ROUNDED_TO) * _ROUNDED_TO
    return replace(
        trend,
        reason=f"{done:,} requests are too few for a verdict ({trend.reason})",
        remedy=f"send at least {rounded:,} requests",
        counted_in="requests",
        have=done,
        need=rounded,
    )


def _is_memory_leak(judgement: Judgement, timeline: Timeline) -> bool:
    is_of_bytes = judgement.overall.metric.unit == "bytes"
    return isinstance(judgement.overall, Leaking) and is_of_bytes and timeline.per == "request"


def _machine_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _diagnosis(
    timeline: Timeline, judgement: Judgement, production: Production, is_machines: bool
) -> Diagnosis | None:
    """Return what the growth means; of a run that broke off, only that it leaks can be said."""
    is_leak = isinstance(judgement.overall, Leaking)
    if not is_leak and (timeline.failure or timeline.replaced):
        return None
    return diagnose(
        judgement,
        timeline.requests,
        timeline.series,
        timeline.per,
        production,
        timeline.stopped,
        (
            *_facts(timeline),
            *_by_process(timeline, judgement),
            *([_MACHINES] if is_machines else []),
        ),
    )


def _uncounted(timeline: Timeline) -> Iterator[str]:
    if timeline.per != "request":
        yield (
            "the load command does not say how many requests it sends, so growth is counted "
            f"per {timeline.per}: wrk, ab, h2load, redis-benchmark and pgbench say it, and so does "
            'a line such as "1000 requests in 1.2s"'
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


def _may_have_a_limit(timeline: Timeline, judgement: Judgement) -> Iterator[str]:
    """Say of a leak up to where it was followed, where a limit further on would look the same."""
    is_kept = any(ages.is_in_each for ages in timeline.ages().values())
    is_followed = timeline.done >= thresholds.AGED_SURE_EMPTIED_REQUESTS or timeline.is_for_good
    if is_kept and not is_followed and _is_memory_leak(judgement, timeline):
        yield (
            f"none of what {timeline.done:,} requests have kept was given back; a cache with a "
            "limit beyond that looks the same: if it has one, send more requests than it has "
            "entries"
        )


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
    judgement: Judgement, growth: tuple[Growth, ...], check_id: str, budget_bytes: float, per: str
) -> Iterator[Finding]:
    """Return one for the series that decided, and one for each counter that leaks besides."""
    if not isinstance(judgement.overall, Leaking):
        return
    for series in growth:
        is_decisive = series.metric == judgement.overall.metric.name
        # A second memory series would report the same leak again.
        is_named = (is_decisive or series.metric in _KINDS) and series.metric in _DECIDING
        if series.shape is Shape.LEAK and is_named:
            yield _finding(series, check_id, budget_bytes, per)


def _finding(series: Growth, check_id: str, budget_bytes: float, per: str) -> Finding:
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
        rate=Rate(series.metric, series.unit, series.per_iteration, series.low, series.high, per),
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
        what = plural(timeline.per)
        yield f"{pace:,.0f} {what}/s; sampling took {timeline.overhead:.1%} of the time"


def _by_process(timeline: Timeline, judgement: Judgement) -> Iterator[str]:
    """Say what each process has gained where they differ, with the command of each."""
    metric = judgement.overall.metric
    gained: list[tuple[float, str]] = []
    for (pid, _), worker in timeline.workers.items():
        known = [value for value in worker.series.get(metric.name, ()) if value is not None]
        command = tree.command(pid) or worker.program.partition(" ")[2].strip()
        if known:
            gained.append((known[-1] - known[0], f"process {pid} ({command[:_COMMAND]})"))
    most, least = max(gained, default=(0.0, ""))[0], min(gained, default=(0.0, ""))[0]
    if len(gained) < 2 or most <= 0 or most - least < _DIFFERENT_SHARE * most:
        return
    told: list[str] = []
    for rise, name in sorted(gained, reverse=True)[:_MOST_NAMED]:
        told.append(f"{name} {'+' if rise >= 0 else '-'}{quantity(abs(rise), metric.unit)}")
    rest = len(gained) - len(told)
    yield f"{metric.name} by process: {', '.join(told)}{f', and {rest} more' if rest else ''}"


def _largest(gains: Mapping[str, int], unit: str) -> str:
    """Name the kinds that gained most, in the order given."""
    named: list[str] = []
    for kind, gain in list(gains.items())[:_MOST_NAMED]:
        named.append(f"{kind} +{quantity(gain) if unit else gain}")
    return ", ".join(named)
