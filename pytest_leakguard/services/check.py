"""From a measured course of requests to a ``Check``: growth, diagnosis, findings, and why it is inconclusive."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from pytest_leakguard.core.checks import Check, Growth
from pytest_leakguard.core.leaks import Finding, LeakKind, Rate
from pytest_leakguard.core.metric_names import SERVICE_COUNTERS, MetricName
from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.core.text import quantity
from pytest_leakguard.growth.answers import Judgement, Leaking, Undecided
from pytest_leakguard.growth.diagnosis import Production, diagnose, growths
from pytest_leakguard.services.sampling_schedule import MOST_SHARE
from pytest_leakguard.services.timeline import Course

_KINDS: Mapping[str, LeakKind] = {
    MetricName.DESCRIPTORS: LeakKind.FILE_DESCRIPTORS,
    MetricName.THREADS: LeakKind.THREADS,
    MetricName.PROCESSES: LeakKind.CHILD_PROCESSES,
}
_DECIDING = (MetricName.HEAP_BYTES, MetricName.PRIVATE_BYTES, *SERVICE_COUNTERS)
"""Series a finding may be made of; the others are second readings of the same pages."""


def check_of(
    course: Course, blank: Check, production: Production, budget_bytes: float = 0.0
) -> Check:
    """``blank`` with what ``course`` says. ``budget_bytes`` of growth per request are not yet a leak."""
    judgement = course.judge()
    is_leak = isinstance(
        judgement.overall, Leaking
    )  # nothing else can be told of a run that broke off
    growth = growths(judgement, course.requests, course.series)
    diagnosis = diagnose(
        judgement,
        course.requests,
        course.series,
        "request",
        production,
        course.stopped,
        _facts(course),
    )
    return replace(
        blank,
        findings=tuple(_findings(judgement, growth, blank.id, budget_bytes)),
        problems=(*blank.problems, *_problems(course, judgement)),
        notes=(*blank.notes, *_replaced(course), *_dear(course)),
        expected_exit=None,
        duration_s=round(course.duration_s, 3),
        growth=growth,
        diagnosis=diagnosis if is_leak or not (course.failure or course.replaced) else None,
    )


def _replaced(course: Course) -> Iterator[str]:
    if course.replaced:
        others = f" and {len(course.replaced) - 3} more" if len(course.replaced) > 3 else ""
        yield f"{'; '.join(course.replaced[:3])}{others}: processes that come and go hide leaks"


def _dear(course: Course) -> Iterator[str]:
    """Says that sampling took more than it should, and what would help; nothing when it did not."""
    if course.overhead > MOST_SHARE and course.done:
        need = (
            course.done * course.sampling_s / (MOST_SHARE * (course.working_s + course.sampling_s))
        )
        yield (
            f"sampling took {course.overhead:.1%} of the loop's time, more than {MOST_SHARE:.0%}, as a verdict needs "
            f"its readings ({course.readings} of {1e3 * course.reading_s / max(1, course.readings):.1f} ms); "
            f"from some {math.ceil(need / 100) * 100:,} requests on it would take less"
        )


def _findings(
    judgement: Judgement, growth: tuple[Growth, ...], check_id: str, budget_bytes: float
) -> Iterator[Finding]:
    """One for the series that decided, and one for each counter that leaks besides."""
    if not isinstance(judgement.overall, Leaking):
        return
    for one in growth:
        is_decisive = one.metric == judgement.overall.metric.name
        if (
            one.shape is not Shape.LEAK
            or not (is_decisive or one.metric in _KINDS)
            or one.metric not in _DECIDING
        ):
            continue
        is_small = one.unit == "bytes" and one.low <= budget_bytes and budget_bytes > 0
        yield Finding(
            fingerprint=growth_name(check_id, one.metric),
            kind=_KINDS.get(one.metric, LeakKind.GROWTH),
            size_bytes=int(max(0.0, one.rise)) if one.unit == "bytes" else 0,
            blocks=int(max(0.0, one.rise)) if one.unit != "bytes" else 0,
            stack=(),
            is_gating=not is_small,
            rate=Rate(one.metric, one.unit, one.per_iteration, one.low, one.high),
        )


def growth_name(check_id: str, metric: str) -> str:
    """The fingerprint of growth: it has no stack, so its check and its series are its name."""
    return hashlib.sha256(f"growth:{check_id}[{metric}]".encode()).hexdigest()[:16]


def _problems(course: Course, judgement: Judgement) -> Iterator[str]:
    if course.failure:
        yield f"{course.failure} (after {course.done:,} requests)"
        return
    overall = judgement.overall
    if course.replaced and not isinstance(overall, Leaking):
        yield (
            f"{'; '.join(course.replaced[:2])}{' and others' if len(course.replaced) > 2 else ''}: what a process "
            "had gathered goes with it, so no growth can be seen. If the server recycles its workers, switch that off "
            "for the check (gunicorn --max-requests 0); if it crashed, its log says why"
        )
    elif isinstance(overall, Undecided):
        yield f"undecided: {overall.reason}; {overall.remedy}"


def _facts(course: Course) -> Iterator[str]:
    if course.heap_told:
        yield course.heap_told
    grown = _largest(course.mappings, "bytes")
    if grown:
        yield f"mappings that grew: {grown}"
    if course.private_dirty_bytes > 0:
        yield f"private dirty pages: +{quantity(course.private_dirty_bytes)}"
    if opened := _largest(course.descriptors, ""):
        yield f"descriptors that were opened and kept: {opened}"
    if course.page_cache_bytes > 1 << 20:
        yield f"page cache of the control group grew by {quantity(course.page_cache_bytes)}: files, not the service"
    if course.duration_s > 0:
        yield f"{course.done / course.duration_s:,.0f} requests/s; sampling took {course.overhead:.1%} of the time"


def _largest(gains: Mapping[str, int], unit: str) -> str:
    told = [f"{kind} +{quantity(gain) if unit else gain}" for kind, gain in gains.items()]
    return ", ".join(told[:4])
