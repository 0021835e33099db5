"""Takes the samples of a driven service as often as they pay. Knows readings and their cost, judges nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pytest_leakguard import sampling
from pytest_leakguard.course import Course
from pytest_leakguard.heap import HeapReader
from pytest_leakguard.service import Service

LOOKED_AFTER = 3
"""A process that was there at so many samples in a row is one of the service's own, not one per request."""
COST_SHARE = 0.015
"""What sampling may cost of the time the requests take; looks at the growth come on top, together below 2 %."""
_FINEST, _COARSEST = 0.025, 0.06
"""Distance of two samples as a share of the requests so far: at 6 % the last half of a run still has twelve."""
_FINEST_HEAP, _COARSEST_HEAP = 0.05, 0.1
"""At 10 % the last three quarters of a run have fourteen readings of the live heap; eleven are needed."""
_LEAST_GAP, _LEAST_HEAP_GAP = 4, 16
_DEAR_S = 0.1
"""A reading of the live heap that takes longer (a JVM's) is taken less often."""
_DEAR_READINGS = 40
_WALK_EVERY = 8
"""Samples between two walks over the process tree while nobody seems to have come or gone."""
_COMPARISONS, _COMPARED_EVERY = 4, 16
"""Full readings at the start, and samples between two later ones, to see whether the cheap counters are exact here."""
_MOST_APART = 2
"""So often may they differ, as the service need not be at rest, before they are given up for good."""
_REST_S, _REST_LOOK_S, _CALM_LOOKS = 5.0, 0.05, 4
"""At most so long to wait until nothing starts up any more, and between two of the looks that must agree."""
_AT_REST_BYTES = 256 * 1024
_PAGES_APART = 4 * 4096
"""Bytes per process by which the two may differ, as they are not read at the same moment."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What there is before the first and after the last request; sizes in bytes."""

    mappings: Mapping[str, int]
    """Resident, by kind."""
    descriptors: Mapping[str, int]
    page_cache: int
    private_dirty: int


class Watch:
    """Takes the samples, and knows which processes there were."""

    def __init__(self, service: Service, heap: HeapReader, budget: int) -> None:
        self.service = service
        self.course = Course()
        self.started = time.monotonic()
        self._heap, self._budget = heap, budget
        self._heap_at = 0
        self._heap_is_known = False
        self._heap_cost_s = 0.0
        self._pids: list[int] = []
        self._walked_at = -_WALK_EVERY
        self._births: dict[int, int] = {}
        self._apart = 0
        self._seen: dict[tuple[int, int], list[int]] = {}
        """For each process the samples it was seen at, the first and the last."""
        self._commands: dict[int, str] = {}

    def inventory(self) -> Inventory:
        """Now; too dear for every sample."""
        pids = self.service.pids()
        return Inventory(
            sampling.mappings(pids),
            sampling.descriptors(pids),
            sampling.page_cache_bytes(self.service.pid) or 0,
            sampling.read(pids).private_dirty,
        )

    def note_processes(self) -> None:
        """How many there are, and whether a runtime with a heap of its own is among them."""
        pids = self.service.pids()
        self.course.processes = max(1, len(pids))
        self.course.runtime = sampling.runtime(pids)

    @contextmanager
    def costing(self) -> Iterator[None]:
        """What is done inside counts as ours, not as the service's."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.course.sampling_s += time.monotonic() - started

    def next_sample(self, done: int) -> int:
        """After which request to sample next: every 2 % of those so far, fewer where that would cost too much."""
        coarsest = _COARSEST_HEAP if self._heap.is_active else _COARSEST  # then the pages are a second opinion
        step = min(coarsest, max(_FINEST, _FINEST * self._dearness()))
        following = done + max(_LEAST_GAP, int(done * step))
        if not self._heap.is_active or self._heap_cost_s > _DEAR_S:
            return following
        return min(following, max(done + 1, self._heap_due()))

    def _dearness(self) -> float:
        """How many times more than its share sampling has cost so far."""
        spent_s = self.course.working_s + self.course.sampling_s
        return self.course.sampling_s / (COST_SHARE * spent_s) if spent_s > 0 else 1.0

    def begin(self) -> None:
        """The sample before the first request; what it costs to wake the agents is part of the start."""
        self._await_rest()
        self._heap.read(self._pids)
        self.course.heap_told = self._heap.told
        self.sample(0)
        self.course.sampling_s = 0.0

    def _await_rest(self) -> None:
        """It may answer while further workers still start: what they take is no growth per request."""
        deadline, before, calm = time.monotonic() + _REST_S, -1, 0
        while calm < _CALM_LOOKS and time.monotonic() < deadline:
            self._walk(is_due=True)
            now = sampling.read(self._pids).private_bytes
            calm = calm + 1 if abs(now - before) < _AT_REST_BYTES else 0
            before = now
            time.sleep(_REST_LOOK_S)

    def sample(self, done: int, is_last: bool = False) -> list[int]:
        """Take one, and return who was alive."""
        with self.costing():
            self._walk(is_last)
            live = self._live_heap(done, is_last)  # first: it collects garbage
            reading = self._reading(is_last)
            self._keep(done, reading, live)
        return self._pids

    def _walk(self, is_due: bool) -> None:
        """Look who is there, now and then: the tree of a server with many threads is dear to walk."""
        number = len(self.course.requests)
        if is_due or number - self._walked_at >= _WALK_EVERY:
            self._pids, self._walked_at = self.service.pids(), number

    def _reading(self, is_thorough: bool) -> sampling.Reading:
        number = len(self.course.requests)
        is_compared = self._apart < _MOST_APART and (number < _COMPARISONS or number % _COMPARED_EVERY == 0)
        is_quick = self._apart < _MOST_APART and not is_compared
        if is_quick and not is_thorough and not set(self._pids) - self._births.keys():
            reading = sampling.read_quickly(self._pids, self._births)
            if len(reading.processes) == len(self._pids):
                return reading
            self._walk(is_due=True)  # somebody has gone, and may have been replaced
        reading = sampling.read(self._pids)
        self._births = {one.pid: one.started for one in reading.processes}
        if is_compared:
            quick = sampling.read_quickly(self._pids, self._births)
            apart = abs(quick.private_bytes - reading.private_bytes)
            self._apart += apart > _PAGES_APART * max(1, len(self._pids))
        return reading

    def _keep(self, done: int, reading: sampling.Reading, live: float | None) -> None:
        values: dict[str, float | None] = {
            "private_bytes": reading.private_bytes,
            "rss": reading.rss,
            "fds": reading.descriptors,
            "threads": reading.threads,
            "procs": len(reading.processes),
        }
        if self._heap.is_active:
            values["heap_bytes"] = live
        number = len(self.course.requests)
        for name, value in values.items():
            self.course.series.setdefault(name, [None] * number).append(value if reading.processes else None)
        self.course.requests.append(done)
        for one in reading.processes:
            seen = self._seen.setdefault((one.pid, one.started), [number, number])
            seen[1] = number
            if one.pid not in self._commands:
                self._commands[one.pid] = sampling.command(one.pid)

    def _live_heap(self, done: int, is_last: bool) -> float | None:
        if not self._heap.is_active or (self._heap_is_known and done < self._heap_due() and not is_last):
            return None
        started = time.monotonic()
        live = self._heap.read(self._pids)
        self._heap_cost_s = time.monotonic() - started
        self._heap_at, self._heap_is_known = done, True
        self.course.heap_told = self._heap.told
        return live

    def _heap_due(self) -> int:
        if self._heap_cost_s > _DEAR_S:
            return self._heap_at + self._budget // _DEAR_READINGS
        step = min(_COARSEST_HEAP, max(_FINEST_HEAP, _FINEST_HEAP * self._dearness()))
        return self._heap_at + max(_LEAST_HEAP_GAP, math.floor(self._heap_at * step))

    def ended(self) -> Iterator[str]:
        """The service's own processes that were no longer there at the last sample."""
        last = len(self.course.requests) - 1
        for (pid, _), (first, latest) in sorted(self._seen.items()):
            if latest < last and latest - first >= LOOKED_AFTER:
                yield f"process {pid} ({self._commands[pid]}) ended near request {self.course.requests[latest]:.0f}"

    def ended_count(self) -> int:
        """How many of them."""
        return sum(1 for _ in self.ended())
