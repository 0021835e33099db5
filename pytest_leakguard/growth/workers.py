"""Whether the busiest of several equal workers has stopped growing, so that the others fill up.

The workers of a server rarely get equally many requests. A cache that is full in one of them goes
on filling, slowly and steadily, in another that gets few, and the sum of both is a straight line
to the last request: a leak, for all that the sum says. Numbers and answers only, no I/O.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_leakguard.growth import thresholds


@dataclass(slots=True)
class Worker:
    """One process of a service, reading by reading."""

    program: str
    """What it runs and who started it: where both are the same, the work is."""
    ticks: list[float] = field(default_factory=list)
    """Processor time used so far."""
    series: dict[str, list[float | None]] = field(default_factory=dict)
    """Its part of each series that is a sum over the processes."""
    limits: dict[str, float] = field(default_factory=dict)
    """What each series cannot exceed in this process; 0 or missing: nothing."""
    first: int = 0
    """Number of the sample at which it was first seen."""

    def add(self, ticks: float, values: Mapping[str, float | None]) -> None:
        """Keep one more reading."""
        self.ticks.append(ticks)
        for name, value in values.items():
            self.series.setdefault(name, []).append(value)

    def drop_last(self) -> None:
        """Forget the last reading."""
        self.ticks.pop()
        for values in self.series.values():
            values.pop()

    def has(self, name: str) -> bool:
        """Return whether any reading of the series is known."""
        return any(value is not None for value in self.series.get(name, ()))


def full_from(workers: Collection[Worker], name: str) -> int | None:
    """Return the first sample at which a process has no room left below its limit; or ``None``.

    Only where it has grown to it. From there on a leak cannot grow, and looks like a full cache.
    """
    full: list[int] = []
    for worker in workers:
        limit, values = worker.limits.get(name, 0.0), worker.series.get(name, [])
        known = [value for value in values if value is not None]
        if not limit or not known or known[0] > limit / 2:
            continue
        nearly = limit * thresholds.NEAR_LIMIT
        for at, value in enumerate(values):
            if value is not None and value >= nearly:
                full.append(worker.first + at)
                break
    return min(full, default=None)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one process says of one series, at the readings that all of them have."""

    values: Sequence[float]
    gained: float
    gained_late: float
    worked_late: float


def levelled(
    requests: Sequence[float], workers: Collection[Worker], name: str
) -> list[float | None] | None:
    """Return the sum as if each process had grown as much as the busiest of its kind.

    ``None`` where no process shows where others will end: none has an equal, none stands still
    while the others grow, or they came and went.
    """
    # One that came or went takes what it holds with it, and the sum jumps.
    if any(len(worker.ticks) != len(requests) for worker in workers):
        return None
    counted = [worker for worker in workers if worker.has(name)]
    at = _known_readings(counted, name, len(requests))
    if not counted or len(at) < 2:
        return None
    # In the beginning all of them grow, whatever they do later.
    late = thresholds.WORKERS_COMPARED_FROM * requests[at[-1]]
    middle = min(bisect_left([requests[i] for i in at], late), len(at) - 1)
    kinds: dict[str, list[_Part]] = {}
    for worker in counted:
        kinds.setdefault(worker.program, []).append(_part(worker, name, at, middle))
    sums = _sums_of(kinds)
    if sums is None:
        return None
    known = dict(zip(at, sums, strict=True))
    return [known.get(i) for i in range(len(requests))]


def _known_readings(workers: Sequence[Worker], name: str, count: int) -> list[int]:
    """Return the numbers of the readings that all of them have."""
    known: list[int] = []
    for i in range(count):
        if all(worker.series[name][i] is not None for worker in workers):
            known.append(i)
    return known


def _part(worker: Worker, name: str, at: Sequence[int], middle: int) -> _Part:
    values: list[float] = []
    for i in at:
        value = worker.series[name][i]
        if value is not None:
            values.append(value)
    worked = worker.ticks[at[-1]] - worker.ticks[at[middle]]
    return _Part(values, values[-1] - values[0], values[-1] - values[middle], worked)


def _sums_of(kinds: Mapping[str, Sequence[_Part]]) -> list[float] | None:
    """Return the sums over all kinds; ``None`` where no kind has a worker that stands still."""
    settled = {program: _settled(parts) for program, parts in kinds.items()}
    if not any(settled.values()):
        return None
    summed = [_summed(parts, settled[program]) for program, parts in kinds.items()]
    return [sum(row) for row in zip(*summed, strict=True)]


def _settled(parts: Sequence[_Part]) -> _Part | None:
    """Return the busiest, if it stands still where the others grow and are not beyond it."""
    # The one that has done most shows first where a cache ends.
    busiest = max(parts, key=lambda part: part.worked_late)
    others = [part for part in parts if part is not busiest]
    growth = sum(part.gained_late for part in others)
    work = sum(part.worked_late for part in others)
    largest = thresholds.WORKER_SAME_SIZE * busiest.gained
    # One that holds more than the busiest does something else, so its end is not known.
    if growth <= 0 or busiest.worked_late <= 0 or any(part.gained > largest for part in others):
        return None
    rate = growth / max(1.0, work)  # a tick is the least that can be told apart
    pace = busiest.gained_late / busiest.worked_late
    return busiest if pace <= thresholds.WORKER_STANDS_STILL * rate else None


def _summed(parts: Sequence[_Part], settled: _Part | None) -> list[float]:
    if settled is None:
        return [sum(row) for row in zip(*(part.values for part in parts), strict=True)]
    start = sum(part.values[0] for part in parts)
    return [start + len(parts) * (value - settled.values[0]) for value in settled.values]
