"""Takes the samples of a driven service as often as they pay. Knows readings and their cost, judges nothing."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pytest_leakguard.core.metric_names import MetricName
from pytest_leakguard.growth.workers import Member
from pytest_leakguard.processes import mappings as kinds
from pytest_leakguard.processes import memory, tree
from pytest_leakguard.services import sampling_schedule
from pytest_leakguard.services.launch import Service
from pytest_leakguard.services.live_heap import HeapReader
from pytest_leakguard.services.timeline import Course

LOOKED_AFTER = 3
"""A process that was there at so many moments in a row is one of the service's own, not one per request."""
_WALK_EVERY = 8
"""Samples between two walks over the process tree while nobody seems to have come or gone."""
_COMPARED, _COMPARED_EVERY = (0, 8), 48
"""The first samples at which a full reading says whether the cheap counters are exact here, and how often later."""
_MOST_APART = 2
"""So often may they differ, as the service need not be at rest, before they are given up for good; after the first time
the next sample compares again, at once."""
_MUCH_BYTES = 8 << 20
"""Growth from which on a service may soon be killed, or the run end with a leak."""
_RECENT = 5
"""The cost of a reading is the median of so many: the machine does other things too."""
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
        self.limit = budget
        """The most requests there may be."""
        self._heap = heap
        self._heap_due = 0
        self._costs_s: deque[float] = deque(maxlen=_RECENT)
        self._look_s = 0.0
        self._pids: list[int] = []
        self._walked_at = -_WALK_EVERY
        self._births: dict[int, int] = {}
        self._apart = 0
        self._is_doubted = False
        self._seen: dict[tuple[int, int], list[int]] = {}
        """For each process the moments it was seen at, the first and the last, and the request of the last."""
        self._moment = 0
        """Counts samples, and glances between them."""
        self._commands: dict[int, str] = {}

    def inventory(self) -> Inventory:
        """Now; too dear for every sample."""
        pids = self.service.pids()
        return Inventory(
            kinds.mappings(pids),
            kinds.descriptors(pids),
            kinds.page_cache_bytes(self.service.pid) or 0,
            memory.read(pids).private_dirty,
        )

    def note_processes(self) -> None:
        """How many there are, and whether a runtime with a heap of its own is among them."""
        pids = self.service.pids()
        self.course.processes = max(1, len(pids))
        self.course.runtime = tree.runtime(pids)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """What is done inside is a look at the growth, which costs time as readings do."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._look_s = time.monotonic() - started
            self.course.looking_s += self._look_s

    def may_look(self) -> bool:
        """Whether one more look, as dear as the last, can be afforded."""
        course = self.course
        return course.looking_s + self._look_s <= sampling_schedule.LOOKS_SHARE * course.working_s

    def next_sample(self, done: int) -> int:
        """After which request to sample next."""
        course = self.course
        affordable = sampling_schedule.affordable_at(
            done,
            course.working_s,
            course.reading_s,
            self.reading_cost_s,
            sampling_schedule.READINGS_SHARE,
        )
        growth = course.gained(
            MetricName.HEAP_BYTES if self._heap.is_active else MetricName.PRIVATE_BYTES
        )
        limit = (
            sampling_schedule.likely_end(done, self.limit) if growth >= _MUCH_BYTES else self.limit
        )
        return sampling_schedule.next_reading(done, affordable, limit)

    @property
    def reading_cost_s(self) -> float:
        """What one sample takes now, in seconds."""
        return statistics.median(self._costs_s) if self._costs_s else 0.0

    def begin(self) -> None:
        """The sample before the first request; what it costs to wake the agents is part of the start."""
        self._await_rest()
        self._heap.read(self._pids)
        self.course.heap_told = self._heap.told
        self.sample(0)
        self._costs_s.clear()  # that one was compared, and so dearer than those that follow
        started = time.monotonic()
        self._heap.read(self._pids)
        memory.read_quickly(self._pids, self._births)
        self._costs_s.append(time.monotonic() - started)
        self.course.reading_s = 0.0

    def _await_rest(self) -> None:
        """It may answer while further workers still start: what they take is no growth per request."""
        deadline, before, calm = time.monotonic() + _REST_S, -1, 0
        while calm < _CALM_LOOKS and time.monotonic() < deadline:
            self._walk(is_due=True)
            now = memory.read(self._pids).private_bytes
            calm = calm + 1 if abs(now - before) < _AT_REST_BYTES else 0
            before = now
            time.sleep(_REST_LOOK_S)

    def sample(self, done: int, is_last: bool = False) -> list[int]:
        """Take one, and return who was alive."""
        started = time.monotonic()
        self._walk(is_last)
        is_whole = is_last or done >= self._heap_due
        live = self._heap.read(self._pids) if is_whole else {}  # first: it collects garbage
        self._keep(done, self._reading(is_last), live)
        cost_s = time.monotonic() - started
        self.course.reading_s += cost_s
        if is_whole:
            self._costs_s.append(cost_s)
            self.course.heap_told = self._heap.told
            self._heap_due = self.next_sample(
                done
            )  # a load generator's batches are shorter than that
        return self._pids

    def glance(self, done: int) -> None:
        """See whether the processes known are still there: cheap enough to be done between samples."""
        started = time.monotonic()
        self._moment += 1
        alive = [pid for pid in self._pids if tree.exists(pid)]
        if len(alive) < len(self._pids):
            self._walk(is_due=True)  # somebody has gone, and may have been replaced
            self._births |= {one.pid: one.started for one in memory.read(self._pids).processes}
            alive = self._pids
        for pid in alive:
            if pid in self._births:
                self._note(pid, self._births[pid], done)
        self.course.glancing_s += time.monotonic() - started

    def _note(self, pid: int, started: int, done: int) -> None:
        seen = self._seen.setdefault((pid, started), [self._moment, self._moment, done])
        seen[1:] = self._moment, done
        if pid not in self._commands:
            self._commands[pid] = tree.command(pid)

    def _walk(self, is_due: bool) -> None:
        """Look who is there, now and then: the tree of a server with many threads is dear to walk."""
        number = len(self.course.requests)
        if is_due or number - self._walked_at >= _WALK_EVERY:
            self._pids, self._walked_at = self.service.pids(), number

    def _reading(self, is_thorough: bool) -> memory.Reading:
        number = len(self.course.requests)
        is_due = number in _COMPARED or number % _COMPARED_EVERY == 0 or self._is_doubted
        is_compared = self._apart < _MOST_APART and is_due
        is_quick = self._apart < _MOST_APART and not is_compared
        if is_quick and not is_thorough and not set(self._pids) - self._births.keys():
            reading = memory.read_quickly(self._pids, self._births)
            if len(reading.processes) == len(self._pids):
                return reading
            self._walk(is_due=True)  # somebody has gone, and may have been replaced
        reading = memory.read(self._pids)
        self._births = {one.pid: one.started for one in reading.processes}
        if is_compared:
            quick = memory.read_quickly(self._pids, self._births)
            apart = abs(quick.private_bytes - reading.private_bytes)
            self._is_doubted = apart > _PAGES_APART * max(1, len(self._pids))
            self._apart += self._is_doubted
        return reading

    def _keep(self, done: int, reading: memory.Reading, live: Mapping[int, float]) -> None:
        values: dict[str, float | None] = {
            MetricName.PRIVATE_BYTES: reading.private_bytes,
            MetricName.RESIDENT_SET: reading.rss,
            MetricName.DESCRIPTORS: reading.descriptors,
            MetricName.THREADS: reading.threads,
            MetricName.PROCESSES: len(reading.processes),
        }
        if self._heap.is_active:
            values[MetricName.HEAP_BYTES] = sum(live.values()) if live else None
        number = len(self.course.requests)
        for name, value in values.items():
            self.course.series.setdefault(name, [None] * number).append(
                value if reading.processes else None
            )
        self.course.requests.append(done)
        self._moment += 1
        for one in reading.processes:
            self._note(one.pid, one.started, done)
            self._member(one).add(
                one.ticks,
                {
                    MetricName.PRIVATE_BYTES: one.anonymous + one.swap,
                    MetricName.RESIDENT_SET: one.rss,
                    MetricName.DESCRIPTORS: one.descriptors,
                    MetricName.THREADS: one.threads,
                    MetricName.HEAP_BYTES: live.get(one.pid),
                },
            )

    def _member(self, one: memory.ProcessReading) -> Member:
        members, key = self.course.members, (one.pid, one.started)
        if key not in members:
            members[key] = Member(tree.program(one.pid))
        return members[key]

    def ended(self) -> Iterator[str]:
        """The service's own processes that were no longer there at the last sample."""
        for (pid, _), (first, latest, done) in sorted(self._seen.items()):
            if latest < self._moment and latest - first >= LOOKED_AFTER:
                yield f"process {pid} ({self._commands[pid]}) ended near request {done}"

    def ended_count(self) -> int:
        """How many of them."""
        return sum(1 for _ in self.ended())
