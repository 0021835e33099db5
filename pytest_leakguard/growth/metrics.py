"""What is known of each kind of reading before looking at it: its grain, its noise, its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pytest_leakguard.core.metric_names import MetricName
from pytest_leakguard.growth import thresholds


class Source(StrEnum):
    """How near a reading is to what the program itself keeps."""

    RESIDENT = "resident"
    """Pages, as the kernel counts them: free heap and fragmentation included."""
    HEAP = "heap"
    """Bytes or blocks that are allocated and not yet freed."""
    COUNTER = "counter"
    """Descriptors, threads, processes: each one is deliberate."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What is known of one kind of reading before looking at it. Sizes are in its own ``unit``."""

    name: str
    source: Source
    unit: str = "bytes"
    quantum: float = 1
    """Smallest change the reading can show (a page, an allocator's rounding)."""
    floor: float = thresholds.COUNTER_FLOOR
    """Growth below this is no evidence, however regular."""
    slack: float = 0
    """Free heap per process that a leak fills before this reading can rise."""
    settled: float = thresholds.SETTLED_FLOORS * thresholds.COUNTER_FLOOR
    """A rise that is worth the name of a cache or of warm-up."""
    step: float = thresholds.COUNTER_STEP
    """A rise between two windows that is a burst rather than filling."""
    allows_mann_kendall: bool = False
    """Not for readings that move in stairs: there equal neighbours make chance look like trend."""
    caveat: str = ""
    """Why rising is no proof of a leak here; empty where it is one."""


def _with_floor(metric: Metric, floor: float, **more: Any) -> Metric:
    """Return ``metric`` with that floor, and with what follows from it."""
    settled, step = thresholds.SETTLED_FLOORS * floor, thresholds.STEP_FLOORS * floor
    return replace(metric, floor=floor, settled=settled, step=step, **more)


def above_noise(metric: Metric, noise: float) -> Metric:
    """Return ``metric`` for a series whose samples differ by so much by chance."""
    if thresholds.NOISE_FLOORS * noise <= metric.floor:
        return metric
    floor = thresholds.NOISE_FLOORS * noise
    settled, step = thresholds.SETTLED_FLOORS * floor, thresholds.SETTLED_FLOORS * floor
    return replace(metric, quantum=noise, floor=floor, settled=settled, step=max(step, metric.step))


RESIDENT = _with_floor(
    Metric(
        MetricName.ANONYMOUS,
        Source.RESIDENT,
        quantum=thresholds.PAGE_BYTES,
        slack=thresholds.RESIDENT_SLACK_BYTES,
    ),
    thresholds.RESIDENT_FLOOR_BYTES,
)
"""Anonymous (+ Swap) of ``smaps_rollup`` over the process tree: the best of its kind."""
HEAP = _with_floor(
    Metric(
        MetricName.HEAP,
        Source.HEAP,
        quantum=thresholds.HEAP_QUANTUM_BYTES,
        allows_mann_kendall=True,
    ),
    thresholds.HEAP_FLOOR_BYTES,
)
"""Live heap of a service, as an agent, a preloaded counter or the runtime reports it."""
IN_PROCESS_HEAP = _with_floor(
    HEAP, thresholds.IN_PROCESS_FLOOR_BYTES, quantum=thresholds.IN_PROCESS_QUANTUM_BYTES
)
"""Heap in use plus mapped blocks of this process (``mallinfo2`` or psutil's ``heap_info``)."""
BLOCKS = _with_floor(Metric(MetricName.BLOCKS, Source.HEAP, "blocks"), thresholds.BLOCKS_FLOOR)
"""``sys.getallocatedblocks()``."""
DESCRIPTORS = Metric(MetricName.DESCRIPTORS, Source.COUNTER, "descriptors")
THREADS = Metric(MetricName.THREADS, Source.COUNTER, "threads")
PROCESSES = Metric(MetricName.PROCESSES, Source.COUNTER, "processes")
SHARED_FILES = _with_floor(
    Metric(MetricName.SHARED_FILES, Source.COUNTER, quantum=thresholds.PAGE_BYTES),
    thresholds.RESIDENT_FLOOR_BYTES,
)
"""Files in ``/dev/shm``, which are memory though nobody maps them."""
# Other programs take and give back memory too, so both limits are its own.
_MACHINE = replace(
    RESIDENT,
    name=MetricName.MEMORY_USED,
    floor=thresholds.MACHINE_FLOOR_BYTES,
    step=thresholds.MACHINE_STEP_BYTES,
)
_PROPORTIONAL = replace(
    RESIDENT,
    name=MetricName.PROPORTIONAL_SET,
    caveat="PSS moves when other processes map the same files",
)

METRICS: tuple[Metric, ...] = (
    HEAP,
    BLOCKS,
    RESIDENT,
    replace(RESIDENT, name=MetricName.PRIVATE_BYTES),
    replace(RESIDENT, name=MetricName.PRIVATE_DIRTY),
    replace(RESIDENT, name=MetricName.UNIQUE_SET),
    replace(RESIDENT, name=MetricName.RESIDENT_SET),
    _MACHINE,
    _PROPORTIONAL,
    DESCRIPTORS,
    THREADS,
    PROCESSES,
    SHARED_FILES,
)
"""What ``classify.judge`` knows by name; of several readings of one source the first decides."""
IN_PROCESS_METRICS = (BLOCKS, IN_PROCESS_HEAP, *METRICS[2:])
"""What it knows of a function that is called in this process."""

RUNTIMES: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "v8": {"floor": thresholds.V8_FLOOR_BYTES},
    "go": {"floor": thresholds.GO_FLOOR_BYTES},
    "jvm": {"caveat": "a JVM's resident memory rises to the limit of its heap by design"},
}
"""What a garbage-collected runtime changes about resident memory where no live heap is read."""
