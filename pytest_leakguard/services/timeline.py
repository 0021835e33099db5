"""What was measured of a service request by request, and what the growth rules say of it.

Touches nothing: the sampler fills it, the reporters read it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from pytest_leakguard.core.metric_names import SERVICE_COUNTERS, MetricName
from pytest_leakguard.growth import thresholds
from pytest_leakguard.growth.ages import Ages, Counted, Fate
from pytest_leakguard.growth.answers import Judgement
from pytest_leakguard.growth.classify import judge
from pytest_leakguard.growth.filling import Filling
from pytest_leakguard.growth.metrics import HEAP, METRICS, RESIDENT, Metric, Source
from pytest_leakguard.growth.workers import Worker, full_from, levelled
from pytest_leakguard.services.batches import Batches

_MAPPED = replace(HEAP, name=MetricName.MAPPED_BYTES, quantum=thresholds.PAGE_BYTES)
_LIVE_HEAP = replace(HEAP, name=MetricName.HEAP_BYTES, floor=thresholds.SERVICE_HEAP_FLOOR_BYTES)
SERVICE_METRICS = (_LIVE_HEAP, _MAPPED, *METRICS)
"""Metrics of a service, whose live heap is read here rather than recorded by somebody else."""
_SECOND_READINGS = (MetricName.RESIDENT_SET,)
"""Series that count pages another series counts better."""


@dataclass(slots=True)
class Timeline:
    """What was measured, request by request."""

    requests: list[float] = field(default_factory=list)
    series: dict[str, list[float | None]] = field(default_factory=dict)
    checkpoints: list[Judgement] = field(default_factory=list)
    stopped: str = ""
    per: str = "request"
    """What the numbers in ``requests`` count."""
    failure: str = ""
    """Why the loop broke off; empty when it did not."""
    duration_s: float = 0.0
    elapsed_s: float = 0.0
    """So far, for whoever waits."""
    reading_s: float = 0.0
    """Spent on readings."""
    liveness_s: float = 0.0
    """Spent on liveness checks between them."""
    checkpoints_s: float = 0.0
    """Spent on checkpoints, to see whether the run may end."""
    working_s: float = 0.0
    """Spent on requests."""
    replaced: list[str] = field(default_factory=list)
    """Processes of the service that ended while it was driven."""
    processes: int = 1
    runtime: str = ""
    heap_report: str = ""
    """Whose live heap was read, or why none was."""
    workers: dict[tuple[int, int], Worker] = field(default_factory=dict)
    """The processes there were, by their id and when they started."""
    mappings: Mapping[str, int] = field(default_factory=dict)
    """Resident bytes that each kind of mapping gained."""
    descriptors: Mapping[str, int] = field(default_factory=dict)
    """Open descriptors of each kind gained."""
    batches: Batches = field(default_factory=Batches)
    """What each request batch allocated, where every block of every process is counted."""
    peak: list[float | None] = field(default_factory=list)
    """The most that was ever in blocks at once, by sample."""
    mapped: list[float | None] = field(default_factory=list)
    """What the processes have mapped by themselves, by sample."""
    has_ended_early: bool = False
    """Whether what became of the batches was answer enough; then it took moments."""
    are_ages_broken: bool = False
    """Whether a process has ended, or was there that is not counted."""
    is_heap_whole: bool = True
    """Whether each process that there was told its live heap, or none did."""
    filling: Filling | None = None
    """A container that says how much it will hold, and takes entries with the requests."""
    is_for_good: bool = False
    """Whether what leaks can never be given back, as was seen in the service."""
    page_cache_bytes: int = 0
    """Page cache that the control group gained; no part of the service."""
    private_dirty_bytes: int = 0
    """Private dirty pages gained, or lost."""

    @property
    def done(self) -> int:
        """Requests sent so far."""
        return int(self.requests[-1]) if self.requests else 0

    def judge(self) -> Judgement:
        """Return the answer of the whole run."""
        return self._judge(self.series)

    def checkpoint(self) -> Judgement:
        """Return the answer so far, without series that can wait for the end.

        Those are second readings of the same pages, and counters that stand still: a series that
        never changes decides nothing, and to judge it takes as long as any other.
        """
        asked: dict[str, list[float | None]] = {}
        for name, values in self.series.items():
            # Checkpoints cost time, and most counters never move.
            is_still = name in SERVICE_COUNTERS and len({*values}) <= 1
            if name not in _SECOND_READINGS and not is_still:
                asked[name] = values
        return self._judge(asked)

    def quiet_after(self, leak_bytes: float) -> float:
        """Return the requests after which a leak of ``leak_bytes`` each would have shown."""
        heap = self.series.get(MetricName.HEAP_BYTES, ())
        metric = _LIVE_HEAP if any(value is not None for value in heap) else RESIDENT
        return (metric.slack * self.processes + metric.floor) / leak_bytes

    @property
    def readings(self) -> int:
        """How many there are of what decides: of the live heap where it is read."""
        heap = self.series.get(MetricName.HEAP_BYTES)
        return len(self.requests) if heap is None else sum(value is not None for value in heap)

    def drop_last(self) -> None:
        """Forget the last sample, which is taken again."""
        count = len(self.requests)
        readings = (*self.series.values(), self.peak, self.mapped)
        for values in (values for values in readings if len(values) == count):
            values.pop()
        self.requests.pop()
        for worker in self.workers.values():
            if worker.first + len(worker.ticks) == count:
                worker.drop_last()

    @property
    def sampling_s(self) -> float:
        """Spent on readings, liveness checks and checkpoints."""
        return self.reading_s + self.liveness_s + self.checkpoints_s

    @property
    def overhead(self) -> float:
        """Share of the loop's time that was not spent on requests."""
        spent = self.working_s + self.sampling_s
        return self.sampling_s / spent if spent > 0 else 0.0

    def gained(self, name: str) -> int:
        """Return the growth of one series from its first to its last reading."""
        known = [value for value in self.series.get(name, ()) if value is not None]
        return int(known[-1] - known[0]) if known else 0

    def descriptors_full_from(self) -> int | None:
        """Return the sample from which on a process is at its limit; ``None`` where none is."""
        return full_from(self.workers.values(), MetricName.DESCRIPTORS)

    def ages(self) -> dict[str, Ages]:
        """Return what became of what the batches allocated, by the name of the series.

        Nothing where a process has gone, and has taken with it what it held.
        """
        if self.are_ages_broken:
            return {}
        found = self.batches.judge()
        if self.is_for_good:
            found = {name: replace(ages, is_for_good=True) for name, ages in found.items()}
        filling = self.filling
        if filling is None or self.done >= filling.shows_at:
            return found
        return {name: _not_full(ages, filling) for name, ages in found.items()}

    @property
    def is_in_steps(self) -> bool:
        """Return whether it grows by blocks that are made anew, larger each time."""
        return any(ages.fate is Fate.GROWN for ages in self.ages().values())

    def stands_still(self) -> bool:
        """Return whether nothing else has grown in the late part of the run.

        Neither counters nor memory beyond what is counted: what the tracker cannot see.
        """
        begin = bisect_left(self.requests, thresholds.AGED_QUIET_FROM * self.done)
        for name in (*SERVICE_COUNTERS, MetricName.SHARED_FILES):
            late = _known(self.series.get(name, ())[begin:])
            middle = len(late) // 2
            # The lowest of each half: a connection may be open when a sample is taken.
            if middle and min(late[middle:]) > min(late[:middle]):
                return False
        private = _known(self.series.get(MetricName.PRIVATE_BYTES, ())[begin:])
        peak = _known(self.peak[begin:])
        if not private or not peak:
            return False
        # A peak that still rises, as requests become larger, leaves pages behind.
        peak_rise = peak[-1] - peak[0]
        unexplained = private[-1] - private[0] - peak_rise
        return max(peak_rise, unexplained) <= thresholds.AGED_UNSEEN_BYTES * self.processes

    def _judge(self, series: Mapping[str, list[float | None]]) -> Judgement:
        ages = self.ages()
        mapped = ages.get(MetricName.MAPPED_BYTES)
        # An allocator's own mappings come and go; of others only a leak is worth a line.
        if mapped is not None and mapped.is_leak:
            self.series[MetricName.MAPPED_BYTES] = self.mapped
            series = {**series, MetricName.MAPPED_BYTES: self.mapped}
        full = self.descriptors_full_from()
        if full is not None:  # afterwards it cannot grow, whatever it is
            before = self.series[MetricName.DESCRIPTORS][: full + 1]
            series = {**series, MetricName.DESCRIPTORS: before}
        return judge(
            self.requests,
            series,
            counted=Counted(ages, self.peak) if ages else None,
            is_heap_whole=self.is_heap_whole,
            processes=self.processes,
            runtime=self.runtime,
            metrics=_metrics_under(self.runtime),
            levelled=partial(levelled, self.requests, self.workers.values()),
        )


def _not_full(ages: Ages, filling: Filling) -> Ages:
    return replace(ages, fate=Fate.FILLING, filling=filling) if ages.is_leak else ages


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _metrics_under(runtime: str) -> Sequence[Metric]:
    """Return the metrics of a service whose heap that runtime collects; empty is none."""
    if not runtime:
        return SERVICE_METRICS
    # A collected heap moves by megabytes, which is neither burst nor fragmentation; a JVM's rises
    # to its limit by design.
    least = math.inf if runtime == "jvm" else thresholds.V8_YOUNG_BYTES
    metrics: list[Metric] = []
    for metric in SERVICE_METRICS:
        is_resident = metric.source is Source.RESIDENT
        metrics.append(replace(metric, step=max(metric.step, least)) if is_resident else metric)
    return metrics
