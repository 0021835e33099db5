"""What was measured of a service request by request, and what the growth rules say of it. Touches nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from pytest_leakguard.core.metric_names import SERVICE_COUNTERS, MetricName
from pytest_leakguard.growth.answers import Judgement
from pytest_leakguard.growth.classify import judge
from pytest_leakguard.growth.metrics import HEAP, METRICS, RESIDENT, Source
from pytest_leakguard.growth.thresholds import KIB, MIB
from pytest_leakguard.growth.workers import Member, levelled

SERVICE_METRICS = (replace(HEAP, name=MetricName.HEAP_BYTES, floor=64 * KIB), *METRICS)
"""The live heap of a warm interpreter still creeps, by some 40 KiB over 2,000 requests: less is nobody's leak."""
_BREATH = 32 * MIB
"""V8 takes so much for new objects by itself, in steps of which each doubles the last: two halves of up to 16 MiB
(``--max-semi-space-size``). After 50,000 quick requests the step of 8 MiB was seen.
"""
_SECOND_READINGS = (MetricName.RESIDENT_SET,)


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
    reading_s: float = 0.0
    """Spent on readings."""
    glancing_s: float = 0.0
    """Spent on seeing who is there between them."""
    looking_s: float = 0.0
    """Spent on looks at them, to see whether the run may end."""
    working_s: float = 0.0
    """Spent on requests."""
    replaced: list[str] = field(default_factory=list)
    """Processes of the service that ended while it was driven."""
    processes: int = 1
    runtime: str = ""
    heap_told: str = ""
    members: dict[tuple[int, int], Member] = field(default_factory=dict)
    """The processes there were, by their id and when they started."""
    mappings: Mapping[str, int] = field(default_factory=dict)
    """Resident bytes that each kind of mapping gained."""
    descriptors: Mapping[str, int] = field(default_factory=dict)
    """Open descriptors of each kind gained."""
    page_cache_bytes: int = 0
    """Page cache that the control group gained; no part of the service."""

    private_dirty_bytes: int = 0
    """Private dirty pages gained, or lost."""

    @property
    def done(self) -> int:
        return int(self.requests[-1]) if self.requests else 0

    def judge(self) -> Judgement:
        """The answer of the whole run."""
        return self._judge(self.series)

    def look(self) -> Judgement:
        """The answer so far; second readings of the same pages are left for the end, as are counters that stand still.

        A series that never changes decides nothing, and to judge it takes as long as any other.
        """
        asked = {
            name: values
            for name, values in self.series.items()
            if name not in _SECOND_READINGS and (name not in SERVICE_COUNTERS or len({*values}) > 1)
        }
        return self._judge(asked)

    def quiet_after(self, leak_bytes: float) -> float:
        """Requests after which a leak of ``leak_bytes`` each would have shown."""
        metric = next((one for one in SERVICE_METRICS if one.source is Source.HEAP), RESIDENT)
        if not any(value is not None for value in self.series.get(metric.name, ())):
            metric = RESIDENT
        return (metric.slack * self.processes + metric.floor) / leak_bytes

    @property
    def readings(self) -> int:
        """How many there are of what decides: of the live heap where it is read."""
        heap = self.series.get(MetricName.HEAP_BYTES)
        return len(self.requests) if heap is None else sum(value is not None for value in heap)

    @property
    def sampling_s(self) -> float:
        """Spent on readings and on looks at them."""
        return self.reading_s + self.glancing_s + self.looking_s

    @property
    def overhead(self) -> float:
        """Share of the loop's time that was not spent on requests."""
        spent = self.working_s + self.sampling_s
        return self.sampling_s / spent if spent > 0 else 0.0

    def gained(self, name: str) -> int:
        """From the first to the last reading of one series."""
        known = [value for value in self.series.get(name, ()) if value is not None]
        return int(known[-1] - known[0]) if known else 0

    def _judge(self, series: Mapping[str, list[float | None]]) -> Judgement:
        metrics = SERVICE_METRICS
        if (
            self.runtime
        ):  # a collected heap breathes by megabytes, which is neither burst nor fragmentation
            breath = (
                math.inf if self.runtime == "jvm" else _BREATH
            )  # and a JVM's rises to its limit by design
            metrics = tuple(
                replace(one, step=max(one.step, breath)) if one.source is Source.RESIDENT else one
                for one in metrics
            )
        return judge(
            self.requests,
            series,
            processes=self.processes,
            runtime=self.runtime,
            metrics=metrics,
            levelled=partial(levelled, self.requests, self.members.values()),
        )
