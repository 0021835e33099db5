"""Drives a service, samples it between requests, looks at the growth, and stops as soon as the evidence allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.client import HTTPException

from pytest_leakguard import sampling
from pytest_leakguard.drive import LoadCommand, RequestFailed, Work
from pytest_leakguard.growth import (
    CAREFUL,
    DEFAULT,
    HEAP,
    METRICS,
    Judgement,
    Leaking,
    Preset,
    Undecided,
    judge,
    may_stop,
    next_look,
    next_sample,
)
from pytest_leakguard.growth_evidence import KIB, MIB, Source
from pytest_leakguard.heap import HeapReader
from pytest_leakguard.service import Service

SERVICE_METRICS = (replace(HEAP, name="heap_bytes", floor=64 * KIB), *METRICS)
"""The live heap of a warm interpreter still creeps, by some 40 KiB over 2,000 requests: less is nobody's leak."""
LOOKED_AFTER = 5
"""A process that was there at so many samples in a row is one of the service's own, not one per request."""
SEEN_IN_HEAP_BYTES = 32
"""Leak per request that a quiet run must have been able to show, where the live heap is known."""
POOL = 128
"""Descriptors or threads that a service may keep on purpose: pools are mostly of 100 or less."""
_BREATH = 8 * MIB
_SECOND_READINGS = ("rss", "private_dirty")
_DYING_S = 1.0
_DEAR_S = 0.1
"""A reading of the live heap that takes longer (a JVM's) is taken less often."""
_RECYCLED = 3
"""So many of the service's own processes that ended are no accident."""
_DEAR_READINGS = 40
_BATCHES = 30
"""Runs of a load command, where nothing was said of how many."""


@dataclass(slots=True)
class Course:
    """What was measured, request by request."""

    requests: list[float] = field(default_factory=list)
    series: dict[str, list[float | None]] = field(default_factory=dict)
    looks: list[Judgement] = field(default_factory=list)
    stopped: str = ""
    failure: str = ""
    """Why the loop broke off; empty when it did not."""
    duration_s: float = 0.0
    elapsed_s: float = 0.0
    """So far, for whoever watches."""
    sampling_s: float = 0.0
    replaced: list[str] = field(default_factory=list)
    """Processes of the service that ended while it was driven."""
    processes: int = 1
    runtime: str = ""
    heap_told: str = ""
    mappings: Mapping[str, int] = field(default_factory=dict)
    """Resident bytes that each kind of mapping gained."""
    descriptors: Mapping[str, int] = field(default_factory=dict)
    """Open descriptors of each kind gained."""
    page_cache_bytes: int = 0
    """Page cache that the control group gained; no part of the service."""

    @property
    def done(self) -> int:
        return int(self.requests[-1]) if self.requests else 0

    def judge(self) -> Judgement:
        return self._judge(self.series)

    def look(self) -> Judgement:
        """The answer so far; second readings of the same pages are left for the end."""
        return self._judge({name: values for name, values in self.series.items() if name not in _SECOND_READINGS})

    def _judge(self, series: Mapping[str, list[float | None]]) -> Judgement:
        metrics = SERVICE_METRICS
        if self.runtime:  # a collected heap breathes by megabytes, which is neither burst nor fragmentation
            metrics = tuple(
                replace(one, step=max(one.step, _BREATH)) if one.source is Source.RESIDENT else one for one in metrics
            )
        return judge(self.requests, series, processes=self.processes, runtime=self.runtime, metrics=metrics)


Progress = Callable[[Course, Judgement], None]


def preset_for(work: Work, budget: int) -> Preset:
    """How sure to be before stopping; unique keys need more, since a cache that still fills looks like a leak."""
    chosen = DEFAULT if work.is_fixed_set else CAREFUL
    return replace(chosen, max_requests=budget, allowance_bytes=CAREFUL.allowance_bytes)


def measure(
    service: Service,
    work: Work,
    preset: Preset,
    timeout_s: float,
    heap: HeapReader,
    progress: Progress = lambda course, look: None,
) -> Course:
    """Drive ``service`` until the growth verdict holds, the budget or the time is used, or something breaks."""
    watch = _Watch(service, heap, preset.max_requests)
    started = time.monotonic()
    course = watch.course
    before = watch.inventory()
    try:
        watch.sample(0)
        watch.note_processes()
        if heap.is_active and preset.stops_early:
            preset = replace(preset, min_leak_bytes=SEEN_IN_HEAP_BYTES)
        course.stopped = _drive(watch, work, preset, started + timeout_s, progress)
    except RequestFailed as failed:
        course.failure = str(failed)
        if isinstance(failed.__cause__, OSError | HTTPException):
            _await_death(service)
    finally:
        work.close()
        course.duration_s = time.monotonic() - started
    if trouble := service.trouble():
        course.failure = f"{trouble}; {course.failure}" if course.failure else trouble
    else:
        after = watch.inventory()
        course.mappings = _gained(before[0], after[0])
        course.descriptors = _gained(before[1], after[1])
        course.page_cache_bytes = max(0, after[2] - before[2])
    course.replaced = list(watch.replaced())
    return course


def _await_death(service: Service) -> None:
    """Give whoever kills the service the time to finish: requests fail before its processes are gone."""
    deadline = time.monotonic() + _DYING_S
    while time.monotonic() < deadline and not service.trouble():
        time.sleep(0.02)


def _gained(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    gains = {kind: after.get(kind, 0) - before.get(kind, 0) for kind in {*before, *after}}
    return {kind: gain for kind, gain in sorted(gains.items(), key=lambda one: -one[1]) if gain > 0}


def _drive(watch: _Watch, work: Work, preset: Preset, deadline: float, progress: Progress) -> str:
    """Requests, samples and looks; returns why it stopped."""
    course, done, look_at = watch.course, 0, next_look(0, preset)
    batch = 0
    while True:
        goal = min(next_sample(done), preset.max_requests)
        done += (batch := work.run(done, goal - done))
        is_last = done >= preset.max_requests or time.monotonic() >= deadline
        if watch.service.trouble(watch.sample(done, is_last=is_last)):
            raise RequestFailed(f"after request {done}")
        if isinstance(work, LoadCommand) and len(course.requests) == 2:
            preset = _for_batches(preset, batch)
        if done < look_at and not is_last:
            continue
        look = course.look()
        course.looks.append(look)
        course.elapsed_s = time.monotonic() - watch.started
        progress(course, look)
        look_at = next_look(done, preset)
        if len(list(watch.replaced())) >= _RECYCLED and not isinstance(look.overall, Leaking):
            return f"its processes come and go: after {done} requests {_RECYCLED} and more had ended"
        if (stopped := may_stop(course.looks, preset)) and (is_last or not (_may_fill_up(look) or _swells(look))):
            longer = _longer(look, preset)
            if longer is None:
                return stopped
            preset = longer
        elif is_last and time.monotonic() >= deadline:
            return f"the time is used after {done} of {preset.max_requests} requests"


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
    return replace(preset, max_requests=max(preset.max_requests, _BATCHES * batch))


def _longer(look: Judgement, preset: Preset) -> Preset | None:
    """Growth that began late is followed for half as many requests again, once; then it stays undecided."""
    late = look.overall
    if isinstance(late, Undecided) and late.counted_in == "requests" and preset.name != "extended":
        need = min(late.need, 2 * preset.max_requests)
        if need > preset.max_requests:
            return replace(preset, name="extended", max_requests=need)
    return None


class _Watch:
    """Takes the samples, and knows which processes there were."""

    def __init__(self, service: Service, heap: HeapReader, budget: int) -> None:
        self.service = service
        self.course = Course()
        self.started = time.monotonic()
        self._heap = heap
        self._budget = budget
        self._heap_at = -1
        self._heap_cost_s = 0.0
        self._seen: dict[tuple[int, int], list[int]] = {}
        """For each process the samples it was seen at, the first and the last."""
        self._commands: dict[int, str] = {}

    def inventory(self) -> tuple[dict[str, int], dict[str, int], int]:
        """Mappings and descriptors by kind, page cache; too dear for every sample."""
        pids = self.service.pids()
        cache = sampling.page_cache_bytes(self.service.pid) or 0
        return sampling.mappings(pids), sampling.descriptors(pids), cache

    def note_processes(self) -> None:
        pids = self.service.pids()
        self.course.processes = max(1, len(pids))
        self.course.runtime = sampling.runtime(pids)

    def sample(self, done: int, is_last: bool = False) -> list[int]:
        """Take one, and return who was alive."""
        started = time.monotonic()
        pids = self.service.pids()
        live = self._live_heap(pids, done, is_last)  # first: it collects garbage
        reading = sampling.read(pids)
        values: dict[str, float | None] = {
            "private_bytes": reading.private_bytes,
            "rss": reading.rss,
            "private_dirty": reading.private_dirty,
            "fds": reading.descriptors,
            "threads": reading.threads,
            "procs": len(reading.processes),
        }
        if self._heap.is_active:
            values["heap_bytes"] = live
        for name, value in values.items():
            series = self.course.series.setdefault(name, [None] * len(self.course.requests))
            series.append(value if reading.processes else None)
        self.course.requests.append(done)
        for identity in reading.identities:
            self._seen.setdefault(identity, [len(self.course.requests) - 1, 0])[1] = len(self.course.requests) - 1
            if identity[0] not in self._commands:
                self._commands[identity[0]] = sampling.command(identity[0])
        self.course.sampling_s += time.monotonic() - started
        return pids

    def _live_heap(self, pids: list[int], done: int, is_last: bool) -> float | None:
        is_dear = self._heap_cost_s > _DEAR_S
        due = self._heap_at + self._budget // _DEAR_READINGS if is_dear else self._heap_at * 1.04
        if self._heap_at >= 0 and done < due and not is_last:
            return None
        started = time.monotonic()
        live = self._heap.read(pids)
        self._heap_cost_s, self._heap_at = time.monotonic() - started, done
        self.course.heap_told = self._heap.told
        return live

    def replaced(self) -> Iterator[str]:
        """The service's own processes that were no longer there at the last sample."""
        last = len(self.course.requests) - 1
        for (pid, _), (first, latest) in sorted(self._seen.items()):
            if latest < last and latest - first >= LOOKED_AFTER:
                yield f"process {pid} ({self._commands[pid]}) ended near request {self.course.requests[latest]:.0f}"
