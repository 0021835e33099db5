"""Drives a service, samples it between requests, looks at the growth, and stops as soon as the evidence allows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from http.client import HTTPException

from pytest_leakguard.core.metric_names import SERVICE_COUNTERS, MetricName
from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.core.text import quantity
from pytest_leakguard.growth.answers import Judgement, Leaking, Undecided
from pytest_leakguard.growth.metrics import Source
from pytest_leakguard.growth.stopping import (
    CAREFUL,
    CONFIRMED_AFTER,
    DEFAULT,
    Preset,
    may_stop,
    missing,
    next_look,
)
from pytest_leakguard.growth.thresholds import KIB
from pytest_leakguard.services import sampling_schedule
from pytest_leakguard.services.launch import Service
from pytest_leakguard.services.live_heap import HeapReader
from pytest_leakguard.services.load import LoadCommand, RequestFailed, Work
from pytest_leakguard.services.sampler import Watch
from pytest_leakguard.services.timeline import Course

SEEN_IN_HEAP_BYTES = 32
"""Leak per request that a quiet run must have been able to show, where the live heap is known."""
POOL = 128
"""Descriptors or threads that a service may keep on purpose: pools are mostly of 100 or less."""
CREEP_BYTES = 256 * KIB
"""What an interpreter may go on gathering, slower and slower; so small a leak must show in twice the requests too."""
_DYING_S = 1.0
_RECYCLED = 3
"""So many of the service's own processes that ended are no accident."""
_BATCHES = 30
"""Runs of a load command, at least."""
_STRETCHED_FROM = 8
"""After this part of a run, an eighth, it is known well enough what a request takes and what a reading does."""
_UNCOUNTED_BATCHES = 60
"""Runs of one that does not say how many requests it sent."""
TOLD_EVERY_S = 0.5

Progress = Callable[[Course, Preset], None]


def preset_for(work: Work, budget: int | None) -> Preset:
    """How sure to be before stopping; with unique keys a cache that still fills looks like a leak, however much.

    ``budget`` is the most requests there may be; without one there may be more than usual, where readings are dear.
    """
    kind = DEFAULT if work.is_fixed_set else CAREFUL
    return replace(
        kind,
        max_requests=budget or DEFAULT.max_requests,
        allowance_bytes=CAREFUL.allowance_bytes if work.is_fixed_set else math.inf,
        is_elastic=not budget,
    )


def measure(
    service: Service,
    work: Work,
    preset: Preset,
    timeout_s: float,
    heap: HeapReader,
    progress: Progress = lambda course, preset: None,
) -> Course:
    """Drive ``service`` until the growth verdict holds, the budget or the time is used, or something breaks."""
    watch = Watch(service, heap, preset.max_requests)
    started = time.monotonic()
    course = watch.course
    before = None
    try:
        watch.begin()
        before = watch.inventory()
        watch.note_processes()
        if heap.is_active and preset.stops_early:
            preset = replace(preset, min_leak_bytes=SEEN_IN_HEAP_BYTES)
        course.stopped = _Loop(watch, work, preset, started + timeout_s, progress).run()
    except RequestFailed as failed:
        course.failure = str(failed)
        if isinstance(failed.__cause__, OSError | HTTPException):
            _await_death(service)
    finally:
        work.close()
        course.duration_s = time.monotonic() - started
    if trouble := service.trouble():
        course.failure = f"{trouble}; {course.failure}" if course.failure else trouble
    elif before is not None:
        after = watch.inventory()
        course.mappings = _gained(before.mappings, after.mappings)
        course.descriptors = _gained(before.descriptors, after.descriptors)
        course.page_cache_bytes = max(0, after.page_cache - before.page_cache)
        course.private_dirty_bytes = after.private_dirty - before.private_dirty
    course.replaced = list(watch.ended())
    return course


def _await_death(service: Service) -> None:
    """Give whoever kills the service the time to finish: requests fail before its processes are gone."""
    deadline = time.monotonic() + _DYING_S
    while time.monotonic() < deadline and not service.trouble():
        time.sleep(0.02)


def _gained(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    gains = {kind: after.get(kind, 0) - before.get(kind, 0) for kind in {*before, *after}}
    return {kind: gain for kind, gain in sorted(gains.items(), key=lambda one: -one[1]) if gain > 0}


class _Loop:
    """Requests, samples and looks, until there is a reason to stop."""

    def __init__(
        self, watch: Watch, work: Work, preset: Preset, deadline: float, progress: Progress
    ) -> None:
        self._watch, self._work, self._preset, self._deadline = watch, work, preset, deadline
        self._progress, self._told_at = progress, time.monotonic()
        self._course = watch.course
        self._asked = preset.max_requests
        self._look_at = next_look(0, preset)

    def run(self) -> str:
        """Why it stopped."""
        while True:
            is_last = self._requests()
            self._tell()
            if stopped := self._why_stop(is_last):
                return stopped

    def _requests(self) -> bool:
        """One batch and the sample after it; whether it was the last that may be."""
        course, done = self._course, self._course.done
        self._stretch()
        self._watch.limit = self._preset.max_requests
        goal = min(self._watch.next_sample(done), self._preset.max_requests)
        before, glanced_s = time.monotonic(), course.glancing_s
        batch = self._batch(done, goal)
        now = time.monotonic()
        course.working_s += now - before - (course.glancing_s - glanced_s)
        course.elapsed_s = now - self._watch.started
        if isinstance(self._work, LoadCommand) and len(course.requests) == 1:
            self._preset = _for_batches(self._preset, batch)
        done += batch
        is_last = done >= self._preset.max_requests or now >= self._deadline
        if self._watch.service.trouble(self._watch.sample(done, is_last)):
            raise RequestFailed(f"after request {done}")
        return is_last

    def _batch(self, done: int, goal: int) -> int:
        """The requests up to ``goal``, with a glance at the processes now and then: they may come and go."""
        if isinstance(self._work, LoadCommand):
            return self._work.run(done, goal - done)
        at, step = done, sampling_schedule.glance_after(self._preset.max_requests)
        while at < goal:
            if at > done:
                self._watch.glance(at)
                if time.monotonic() >= self._deadline:
                    break
            at += self._work.run(at, min(step, goal - at))
        return at - done

    def _stretch(self) -> None:
        """Where readings are dear beside the requests, rather more requests than a larger share of the time.

        Asked again at each sample of the first half: readings become dearer while the heap grows.
        """
        course, preset = self._course, self._preset
        is_time = self._asked / _STRETCHED_FROM <= course.done <= preset.max_requests / 2
        if not preset.is_elastic or not is_time:
            return
        per_request_s = course.working_s / course.done
        limit = sampling_schedule.extended(self._asked, per_request_s, self._watch.reading_cost_s)
        self._preset = replace(preset, max_requests=max(limit, 2 * course.done))

    def _tell(self) -> None:
        if time.monotonic() - self._told_at > TOLD_EVERY_S:
            self._told_at = time.monotonic()
            self._progress(self._course, self._preset)

    def _why_stop(self, is_last: bool) -> str:
        course, done = self._course, self._course.done
        is_leak = bool(course.looks) and isinstance(course.looks[-1].overall, Leaking)
        if self._watch.ended_count() >= _RECYCLED and not is_leak:
            return (
                f"its processes come and go: after {done} requests {_RECYCLED} and more had ended"
            )
        if done < self._look_at and not is_last:
            return ""
        if not is_last and not self._may_look():
            return ""
        self._look_at = next_look(done, self._preset)
        if not is_last and not _may_decide(course, self._preset):
            return ""
        with self._watch.looking():
            course.looks.append(course.look())
            stopped, self._preset = _next_step(course.looks, self._preset, is_last)
        if course.looks[-1].shape is Shape.LEAK:  # only this much later can it be confirmed
            self._look_at = max(self._look_at, math.ceil(CONFIRMED_AFTER * done))
        if not stopped and is_last and time.monotonic() >= self._deadline:
            return f"the time is used after {done} of {self._preset.max_requests} requests"
        return stopped

    def _may_look(self) -> bool:
        """Whether a look can be afforded, or confirms a leak: then the run ends with it, which is cheaper still."""
        looks = self._course.looks
        is_confirming = bool(looks) and looks[-1].shape is Shape.LEAK
        return self._course.readings >= sampling_schedule.FIRST_LOOK and (
            is_confirming or self._watch.may_look()
        )


def _may_decide(course: Course, preset: Preset) -> bool:
    """Whether a look can be one of the two that end the run: looks are dear beside quick requests."""
    if not preset.stops_early:
        return False
    memory = max(course.gained(MetricName.PRIVATE_BYTES), course.gained(MetricName.HEAP_BYTES))
    counters = max(course.gained(name) for name in SERVICE_COUNTERS)
    is_quiet_possible = 2 * course.done >= course.quiet_after(preset.min_leak_bytes)
    return memory >= preset.allowance_bytes / 2 or counters >= POOL / 2 or is_quiet_possible


def _next_step(looks: list[Judgement], preset: Preset, is_last: bool) -> tuple[str, Preset]:
    """Why to stop, or nothing and the preset to go on with."""
    look = looks[-1]
    stopped = may_stop(looks, preset)
    if not stopped or not (is_last or not (_may_fill_up(look) or _swells(look))):
        return "", preset
    longer = _longer(look, preset)
    return ("", longer) if longer else (stopped, preset)


def _may_fill_up(look: Judgement) -> bool:
    """Whether what grows is a counter that may still be a pool: of connections, of threads."""
    if not isinstance(look.overall, Leaking) or look.overall.metric.unit == "bytes":
        return False
    return look.overall.rise < POOL


def _swells(look: Judgement) -> bool:
    """Whether resident memory grows while the live heap is quiet: fragmentation, if it goes on."""
    if isinstance(look.overall, Leaking):
        return False
    pages = (trend for trend in look.trends if trend.metric.source is Source.RESIDENT)
    return any(trend.low > DEFAULT.min_leak_bytes for trend in pages)


def _for_batches(preset: Preset, batch: int) -> Preset:
    """Each run of a load command is one sample, and there must be enough of them."""
    preset = replace(preset, is_elastic=False)
    if batch == 1:
        return replace(preset, max_requests=min(preset.max_requests, _UNCOUNTED_BATCHES))
    return replace(preset, max_requests=max(preset.max_requests, _BATCHES * batch))


def _longer(look: Judgement, preset: Preset) -> Preset | None:
    """Once, to where the answer will be: growth that began late is followed on, a small one is to be confirmed."""
    overall, need = look.overall, 0
    if preset.name == "extended":
        return None
    if isinstance(overall, Undecided) and overall.counted_in == "requests":
        need = min(overall.need, 2 * preset.max_requests)
    elif (
        isinstance(overall, Leaking)
        and overall.metric.unit == "bytes"
        and overall.rise < CREEP_BYTES
    ):
        need = 2 * preset.max_requests
    return (
        replace(preset, name="extended", max_requests=need) if need > preset.max_requests else None
    )


def line(course: Course, preset: Preset) -> str:
    """``1,024 requests, 812/s, heap_bytes +1.2 MiB, leak so far; 8 MiB of growth ...``."""
    look = course.looks[-1] if course.looks else None
    pace = course.done / course.elapsed_s if course.elapsed_s > 0 else 0.0
    told = f"{course.done:,} requests, {pace:,.0f}/s"
    name = look.overall.metric.name if look else MetricName.PRIVATE_BYTES
    gained = course.gained(name)
    unit = look.overall.metric.unit if look else "bytes"
    so_far = f", {look.shape} so far" if look else ""
    sign = "+" if gained >= 0 else "-"
    needs = missing(course.looks, course.done, preset)
    return f"{told}, {name} {sign}{quantity(abs(gained), unit)}{so_far}; needs {needs}"
