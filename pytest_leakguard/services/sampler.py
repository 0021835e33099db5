"""Takes the samples of a driven service as often as they pay. Knows their cost, judges nothing."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pytest_leakguard.core.metric_names import MetricName
from pytest_leakguard.growth import thresholds
from pytest_leakguard.growth.ages import Ages
from pytest_leakguard.growth.filling import Grown
from pytest_leakguard.growth.workers import Worker
from pytest_leakguard.processes import mappings as kinds
from pytest_leakguard.processes import memory, tree
from pytest_leakguard.services import sampling_schedule
from pytest_leakguard.services.launch import Service
from pytest_leakguard.services.live_heap import HeapReader
from pytest_leakguard.services.shared_files import SharedFiles
from pytest_leakguard.services.timeline import Timeline
from pytest_leakguard.tracker.live import EPOCHS, Held

_WALK_EVERY = 8
"""Samples between two walks over a process tree that is dear to walk, as one of many threads."""
_CHEAP_WALK_S = 0.002
"""Upper limit of what a walk may take that is done at every sample, in seconds; a child that is
kept then shows at once, and their number is no staircase."""
_COMPARED = (0, 8)
"""Numbers of the first samples at which a full reading says whether the cheap one is exact."""
_COMPARED_EVERY = 48
"""Samples between two such comparisons later."""
_MOST_APART = 2
"""Comparisons that may fail, as the service need not be at rest, before cheap readings are given
up for good; after the first failure the next sample compares again."""
_PAGES_APART_BYTES = 4 * thresholds.PAGE_BYTES
"""Upper limit of what the two may differ by, in bytes for each process, as they are not read at
the same moment."""
_MUCH_BYTES = 8 * thresholds.MIB
"""Least growth after which a service may soon be killed, or the run end with a leak, in bytes."""
_MOST_UNCOUNTED = 3
"""Samples in a row with a process that is not counted after which batches are no longer judged."""
_MOST_UNENDED = 10
"""The same where it is another process each time, as one for each request."""
_MANY_DESCRIPTORS = 32
"""Least number of descriptors gained after which the service may soon be at its limit."""
_RECENT = 5
"""Readings whose median is the cost of one; the machine does other things too."""
_REST_S = 5.0
"""Upper limit of the wait until nothing starts up any more, in seconds."""
_REST_CHECK_S = 0.05
"""Time between two checks whether the service is at rest, in seconds."""
_CALM_CHECKS = 4
"""Checks in a row that must find it at rest."""
_AT_REST_BYTES = 256 * thresholds.KIB
"""Upper limit of what a service at rest gains between two checks, in bytes."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What there is before the first and after the last request; sizes in bytes."""

    mappings: Mapping[str, int]
    """Resident, by kind."""
    descriptors: Mapping[str, int]
    page_cache: int
    private_dirty: int


@dataclass(slots=True)
class _Sighting:
    """At which moments a process was seen."""

    first: int
    latest: int
    done: int
    """Requests at the latest of them."""


class Sampler:
    """Takes the samples, and knows which processes there were."""

    def __init__(self, service: Service, heap: HeapReader, budget: int) -> None:
        self.service = service
        self.timeline = Timeline()
        self.started = time.monotonic()
        self.limit = budget
        """The most requests there may be."""
        self._heap = heap
        self._heap_due = 0
        self._costs_s: deque[float] = deque(maxlen=_RECENT)
        self._checkpoint_s = 0.0
        self._pids: list[int] = []
        self._ended: frozenset[int] = frozenset()
        """Children that nobody has waited for."""
        self._is_growing = False
        self._walked_at = -_WALK_EVERY
        self._walk_s = 0.0
        self._uncounted: dict[int, int] = {}
        """Samples in a row at which a process was there and not counted."""
        self._unended = 0
        """Samples in a row at which some process was not counted."""
        self._shared_files = SharedFiles()
        self._births: dict[int, int] = {}
        self._apart = 0
        self._is_doubted = False
        self._seen: dict[tuple[int, int], _Sighting] = {}
        """By process id and when the process started, since ids are used again."""
        self._moment = 0
        """Counts samples, and liveness checks between them."""
        self._commands: dict[int, str] = {}
        self._sockets_at_first = 0

    def inventory(self) -> Inventory:
        """Return what there is now; too dear for every sample."""
        pids = self.service.pids()
        return Inventory(
            kinds.mappings(pids),
            kinds.descriptors(pids),
            kinds.page_cache_bytes(self.service.pid) or 0,
            memory.read(pids).private_dirty,
        )

    def note_processes(self) -> None:
        """Note how many there are, and whether a runtime with a heap of its own is among them."""
        pids = self.service.pids()
        self.timeline.processes = max(1, len(pids))
        self.timeline.runtime = tree.runtime(pids)

    @contextmanager
    def at_checkpoint(self) -> Iterator[None]:
        """Count the time of what is done inside, which costs as readings do."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._checkpoint_s = time.monotonic() - started
            self.timeline.checkpoints_s += self._checkpoint_s

    def can_afford_checkpoint(self) -> bool:
        """Return whether one more checkpoint, as dear as the last, can be afforded."""
        spent_s = self.timeline.checkpoints_s + self._checkpoint_s
        return spent_s <= sampling_schedule.CHECKPOINTS_SHARE * self.timeline.working_s

    def next_sample(self, done: int) -> int:
        """Return the request to sample after next."""
        affordable = sampling_schedule.affordable_at(
            done,
            self.timeline.working_s,
            self.timeline.reading_s,
            self.reading_cost_s,
            sampling_schedule.READINGS_SHARE,
        )
        name = MetricName.HEAP_BYTES if self._heap.is_active else MetricName.PRIVATE_BYTES
        limit = self.limit
        # It may be killed at a limit, or end as a leak, long before its budget.
        has_many = self.timeline.gained(MetricName.DESCRIPTORS) >= _MANY_DESCRIPTORS
        if has_many or self.timeline.gained(name) >= _MUCH_BYTES:
            limit = sampling_schedule.likely_end(done, limit)
        is_counted = self._heap.is_exact or bool(self._uncounted)
        if is_counted and not self.timeline.are_ages_broken:
            return sampling_schedule.next_batch_end(done, affordable, limit)
        return sampling_schedule.next_reading(done, affordable, limit)

    @property
    def reading_cost_s(self) -> float:
        """What one sample takes now, in seconds."""
        return statistics.median(self._costs_s) if self._costs_s else 0.0

    def begin(self) -> None:
        """Take the sample before the first request; waking the agents is part of the start."""
        self._await_rest()
        self._heap.read(self._pids)
        self.timeline.heap_report = self._heap.report
        self.sample(0)
        self._costs_s.clear()  # that one was compared, and so dearer than those that follow
        started = time.monotonic()
        self._heap.read(self._pids)
        memory.read_quickly(self._pids, self._births)
        self._costs_s.append(time.monotonic() - started)
        self._sockets_at_first = self._sockets()
        # Nothing before the first request is part of the loop's time.
        self.timeline.reading_s = 0.0
        self._heap.begin_batch()
        self.timeline.batches.first_epoch = self._heap.epoch

    def _await_rest(self) -> None:
        """Wait until no worker starts any more: what those take is no growth per request."""
        deadline, before, calm = time.monotonic() + _REST_S, -1, 0
        while calm < _CALM_CHECKS and time.monotonic() < deadline:
            self._walk(is_due=True)
            now = memory.read(self._pids).private_bytes
            calm = calm + 1 if abs(now - before) < _AT_REST_BYTES else 0
            before = now
            time.sleep(_REST_CHECK_S)

    def sample(self, done: int, is_last: bool = False) -> list[int]:
        """Take one, and return who was alive."""
        started = time.monotonic()
        self._walk(is_last)
        is_whole = is_last or done >= self._heap_due
        live = self._live() if is_whole else {}  # first: it collects garbage
        self._keep(done, self._reading(is_last), live)
        cost_s = time.monotonic() - started
        self.timeline.reading_s += cost_s
        if is_whole:
            self._end_batch(done)
            self._costs_s.append(cost_s)
            self.timeline.heap_report = self._heap.report
            self.timeline.is_heap_whole = self._heap.is_whole
            # A load generator's batches are shorter than the distance of two heap readings.
            self._heap_due = self.next_sample(done)
        return self._pids

    def _live(self) -> dict[int, float]:
        """Read the live heap, once more where somebody who was there a moment ago has ended."""
        live = self._heap.read(self._pids)
        is_in_doubt = self._heap.is_active and not self._heap.is_exact
        if is_in_doubt and not all(map(tree.is_alive, self._pids)):
            self._walk(is_due=True)
            live = self._heap.read(self._pids)
        return live

    def _end_batch(self, done: int) -> None:
        """Note what is alive of each batch; a batch goes on where somebody is not counted."""
        if done == 0 or not self._heap.is_active:
            return
        timeline = self.timeline
        if self._heap.epoch >= EPOCHS - 1:  # no more epochs can be told apart
            timeline.are_ages_broken = True
        before, uncounted = self._uncounted, self._heap.uncounted
        self._uncounted = {pid: before.get(pid, 0) + 1 for pid in uncounted}
        if self._uncounted:  # a child that has only just begun is counted by the next sample
            self._unended += 1
            is_one_known = max(self._uncounted.values()) >= _MOST_UNCOUNTED
            timeline.are_ages_broken |= is_one_known or self._unended >= _MOST_UNENDED
        elif not timeline.batches.ends or done > timeline.batches.ends[-1]:
            self._unended = 0
            timeline.batches.add(done, self._heap.counted.values())
            self._heap.begin_batch()

    def settle(self) -> None:
        """Take what is there after a rest instead of what was when the last batch ended."""
        done = self.timeline.done
        self._walk(is_due=True)
        self._heap.settle()
        live = self._heap.read(self._pids)
        self.timeline.drop_last()
        self._keep(done, self._reading(is_thorough=True), live)
        if self._heap.is_exact and self.timeline.batches.ends:
            self.timeline.batches.settle(self._heap.counted.values())

    def held(self, ages: Ages) -> Held:
        """Return how what the batches have kept is held in the service."""
        first = self.timeline.batches.first_epoch + ages.first
        return self._heap.held(first, first + ages.batches - 1)

    def gained_sockets(self) -> int:
        """Return how many more the service has open than before the first request."""
        return self._sockets() - self._sockets_at_first

    def _sockets(self) -> int:
        return kinds.descriptors(self._pids).get("socket", 0)

    def grown(self) -> list[list[Grown]]:
        """Return by interpreter which containers have grown since the last question."""
        return self._heap.grown()

    def check_liveness(self, done: int) -> None:
        """See whether the known processes still live: cheap enough to be done between samples."""
        started = time.monotonic()
        self._moment += 1
        alive = [pid for pid in self._pids if self._is_there(pid)]
        if len(alive) < len(self._pids):
            self._walk(is_due=True)  # somebody has gone, and may have been replaced
            for process in memory.read(self._pids).processes:
                self._births[process.pid] = process.started
            alive = self._pids
        for pid in alive:
            if pid in self._births:
                self._note(pid, self._births[pid], done)
        self.timeline.liveness_s += time.monotonic() - started

    def _is_there(self, pid: int) -> bool:
        """Return whether it runs; for one that is known well enough the cheaper question will do.

        A child that has ended and is not waited for is there as well, as long as one likes.
        """
        seen = self._seen.get((pid, self._births.get(pid, 0)))
        is_own = seen is not None and seen.latest - seen.first >= thresholds.OWN_PROCESS_MOMENTS
        return tree.exists(pid) if is_own else tree.is_alive(pid)

    def _note(self, pid: int, started: int, done: int) -> None:
        seen = self._seen.setdefault((pid, started), _Sighting(self._moment, self._moment, done))
        seen.latest, seen.done = self._moment, done
        if pid not in self._commands:
            self._commands[pid] = tree.command(pid)

    def _walk(self, is_due: bool) -> None:
        """See who is there, now and then: the tree of a server with many threads is dear."""
        number = len(self.timeline.requests)
        # Where more and more are there, a count that is old would make steps of a straight line.
        is_each = self._walk_s <= _CHEAP_WALK_S or self._is_growing
        every = 1 if is_each else _WALK_EVERY
        if is_due or number - self._walked_at >= every:
            started = time.monotonic()
            before = len(self._pids) + len(self._ended)
            self._pids, self._walked_at = self.service.pids(self._ended), number
            self._ended = frozenset(tree.not_waited_for(self._pids, self._ended))
            self._is_growing = 0 < before < len(self._pids) + len(self._ended)
            self._walk_s = time.monotonic() - started

    def _reading(self, is_thorough: bool) -> memory.Reading:
        """Return a cheap reading where it is known to be exact, a full one elsewhere."""
        is_compared = self._is_comparison_due()
        are_all_known = not set(self._pids) - self._births.keys()
        are_cheap_ones_exact = self._apart < _MOST_APART and not is_compared
        if are_cheap_ones_exact and are_all_known and not is_thorough:
            reading = memory.read_quickly(self._pids, self._births)
            if len(reading.processes) == len(self._pids):
                return reading
            self._walk(is_due=True)  # somebody has gone, and may have been replaced
        reading = memory.read(self._pids)
        self._births = {process.pid: process.started for process in reading.processes}
        if is_compared:
            self._compare(reading)
        return reading

    def _is_comparison_due(self) -> bool:
        number = len(self.timeline.requests)
        is_due = number in _COMPARED or number % _COMPARED_EVERY == 0 or self._is_doubted
        return is_due and self._apart < _MOST_APART

    def _compare(self, full: memory.Reading) -> None:
        quick = memory.read_quickly(self._pids, self._births)
        apart = abs(quick.private_bytes - full.private_bytes)
        self._is_doubted = apart > _PAGES_APART_BYTES * max(1, len(self._pids))
        self._apart += self._is_doubted

    def _keep(self, done: int, reading: memory.Reading, live: Mapping[int, float]) -> None:
        values: dict[str, float | None] = {
            MetricName.PRIVATE_BYTES: self._memory_of(reading),
            MetricName.RESIDENT_SET: reading.rss,
            MetricName.DESCRIPTORS: reading.descriptors,
            MetricName.THREADS: reading.threads,
            MetricName.PROCESSES: len(reading.processes) + len(self._ended),
            MetricName.SHARED_FILES: self._shared_files.size_bytes(),
        }
        if self._heap.is_active:
            values[MetricName.HEAP_BYTES] = sum(live.values()) if live else None
        number = len(self.timeline.requests)
        for name, value in values.items():
            series = self.timeline.series.setdefault(name, [None] * number)
            series.append(value if reading.processes else None)
        self.timeline.requests.append(done)
        counted = self._heap.counted.values()
        is_known = bool(live) and self._heap.is_exact
        peak = sum(one.peak_bytes for one in counted)
        mapped = sum(sum(one.mapped_bytes) for one in counted)
        self.timeline.peak.append(peak if is_known else None)
        self.timeline.mapped.append(mapped if is_known else None)
        self._moment += 1
        for process in reading.processes:
            self._note(process.pid, process.started, done)
            own = self._heap.own_bytes_of(process.pid)
            self._worker(process).add(process.ticks, _part(process, live, own))

    def _memory_of(self, reading: memory.Reading) -> int:
        """Return private and shared memory, without the tracker's own."""
        own = sum(self._heap.own_bytes_of(process.pid) for process in reading.processes)
        return reading.private_bytes + reading.shared_bytes - own

    def _worker(self, process: memory.ProcessReading) -> Worker:
        workers, key = self.timeline.workers, (process.pid, process.started)
        if key not in workers:
            limits = {str(MetricName.DESCRIPTORS): float(kinds.descriptor_limit(process.pid))}
            first = len(self.timeline.requests) - 1
            workers[key] = Worker(tree.program(process.pid), limits=limits, first=first)
        return workers[key]

    def ended(self) -> Iterator[str]:
        """Name the service's own processes that were no longer there at the last sample."""
        for (pid, _), seen in sorted(self._seen.items(), key=lambda item: item[0]):
            # One that is started for a request and ends with it is no worker.
            is_own = seen.latest - seen.first >= thresholds.OWN_PROCESS_MOMENTS
            if seen.latest < self._moment and is_own:
                yield f"process {pid} ({self._commands[pid]}) ended near request {seen.done}"

    def ended_count(self) -> int:
        """Return how many of them there are."""
        return sum(1 for _ in self.ended())


def _part(
    process: memory.ProcessReading, live: Mapping[int, float], own_bytes: int
) -> dict[str, float | None]:
    """Return what one process adds to each series."""
    return {
        MetricName.PRIVATE_BYTES: process.anonymous + process.swap - own_bytes,
        MetricName.RESIDENT_SET: process.rss,
        MetricName.DESCRIPTORS: process.descriptors,
        MetricName.THREADS: process.threads,
        MetricName.HEAP_BYTES: live.get(process.pid),
    }
