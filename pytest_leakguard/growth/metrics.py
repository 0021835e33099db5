"""What is known of each kind of reading before looking at it: how fine it is, how it misleads, what it is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pytest_leakguard.core.metric_names import MetricName

KIB = 1024
MIB = 1024 * KIB


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
    floor: float = 5
    """Growth below this is no evidence, however regular."""
    slack: float = 0
    """Free heap per process that a leak fills before this reading can rise."""
    settled: float = 20
    """A rise that is worth the name of a cache or of warm-up (four floors)."""
    step: float = 32
    """A rise between two windows that is a burst rather than filling."""
    allows_mann_kendall: bool = False
    """Not for readings that move in stairs: there equal neighbours make chance look like trend."""
    caveat: str = ""
    """Why rising is no proof of a leak here; empty where it is one."""


RESIDENT = Metric(
    MetricName.ANONYMOUS,
    Source.RESIDENT,
    quantum=4 * KIB,
    floor=32 * KIB,
    slack=256 * KIB,
    settled=128 * KIB,
    step=MIB,
)
"""Anonymous (+ Swap) of ``smaps_rollup`` over the process tree: the best of its kind."""
HEAP = Metric(
    MetricName.HEAP,
    Source.HEAP,
    quantum=256,
    floor=16 * KIB,
    settled=64 * KIB,
    step=512 * KIB,
    allows_mann_kendall=True,
)
"""Live heap of a service, as an agent, a preloaded counter or the runtime tells it."""
IN_PROCESS_HEAP = replace(HEAP, quantum=64, floor=6 * KIB, settled=24 * KIB, step=192 * KIB)
"""Heap in use plus mapped blocks of this process (``mallinfo2`` or psutil's ``heap_info``)."""
BLOCKS = Metric(MetricName.BLOCKS, Source.HEAP, "blocks", floor=8, settled=32, step=256)
"""``sys.getallocatedblocks()``."""
DESCRIPTORS = Metric(MetricName.DESCRIPTORS, Source.COUNTER, "descriptors")
THREADS = Metric(MetricName.THREADS, Source.COUNTER, "threads")
PROCESSES = Metric(MetricName.PROCESSES, Source.COUNTER, "processes")

METRICS: tuple[Metric, ...] = (
    HEAP,
    BLOCKS,
    RESIDENT,
    replace(RESIDENT, name=MetricName.PRIVATE_BYTES),
    replace(RESIDENT, name=MetricName.PRIVATE_DIRTY),
    replace(RESIDENT, name=MetricName.UNIQUE_SET),
    replace(RESIDENT, name=MetricName.RESIDENT_SET),
    replace(
        RESIDENT, name=MetricName.MEMORY_USED, floor=8 * MIB, step=64 * MIB
    ),  # a whole machine breathes
    replace(
        RESIDENT,
        name=MetricName.PROPORTIONAL_SET,
        caveat="PSS moves when other processes map the same files",
    ),
    DESCRIPTORS,
    THREADS,
    PROCESSES,
)
"""What ``growth.judge`` knows by name; of several readings of one source the first decides."""
IN_PROCESS_METRICS = (BLOCKS, IN_PROCESS_HEAP, *METRICS[2:])

RUNTIMES: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "v8": {"floor": 8 * MIB},
    "jvm": {"caveat": "a JVM's resident memory rises to the limit of its heap by design"},
}
"""What a garbage-collected runtime changes about resident memory where no live heap is read."""
