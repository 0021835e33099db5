"""Of processes that run the same program: whether the busiest has stopped growing, so that the others only fill up.

The workers of a server rarely get equally many requests. A cache that is full in one of them goes on filling, slowly
and steadily, in another that gets few, and the sum of both is a straight line to the last request: a leak, for all that
the sum says. Numbers and answers only, no I/O.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

_LATE = 0.5
"""Part of the run from which on they are compared."""
_STANDS_STILL = 0.25
"""Of what the others grow by for the same work: a leak grows by as much in each of them, a full cache by nothing."""
_SAME_SIZE = 1.25
"""Times what the busiest has gained, up to which the others may have gained the same: allocators differ by so much."""


@dataclass(slots=True)
class Member:
    """One process of a service, reading by reading."""

    program: str
    """What it runs and who started it: where both are the same, the work is."""
    ticks: list[float] = field(default_factory=list)
    """Processor time used so far."""
    series: dict[str, list[float | None]] = field(default_factory=dict)
    """Its part of each series that is a sum over the processes."""

    def add(self, ticks: float, values: Mapping[str, float | None]) -> None:
        """One more reading."""
        self.ticks.append(ticks)
        for name, value in values.items():
            self.series.setdefault(name, []).append(value)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one process says of one series, at the readings that all of them have."""

    values: Sequence[float]
    gained: float
    gained_late: float
    worked_late: float


def levelled(
    requests: Sequence[float], members: Collection[Member], name: str
) -> list[float | None] | None:
    """The sum as it were if each process had grown as much as the busiest of its kind, where that stands still.

    ``None`` where no process shows where others will end: none has a sibling, none stands still while the others grow,
    or they came and went.
    """
    if any(len(one.ticks) != len(requests) for one in members):
        return None
    asked = [one for one in members if any(value is not None for value in one.series.get(name, ()))]
    at = [i for i in range(len(requests)) if all(one.series[name][i] is not None for one in asked)]
    if not asked or len(at) < 2:
        return None
    middle = bisect_left([requests[i] for i in at], _LATE * requests[at[-1]])
    kinds: dict[str, list[_Part]] = {}
    for one in asked:
        kinds.setdefault(one.program, []).append(_part(one, name, at, min(middle, len(at) - 1)))
    settled = {program: _settled(parts) for program, parts in kinds.items()}
    if not any(settled.values()):
        return None
    rows = zip(*(_summed(parts, settled[program]) for program, parts in kinds.items()), strict=True)
    sums = dict(zip(at, map(sum, rows), strict=True))
    return [sums.get(i) for i in range(len(requests))]


def _part(one: Member, name: str, at: Sequence[int], middle: int) -> _Part:
    values = [value for i in at if (value := one.series[name][i]) is not None]
    worked = one.ticks[at[-1]] - one.ticks[at[middle]]
    return _Part(values, values[-1] - values[0], values[-1] - values[middle], worked)


def _settled(parts: Sequence[_Part]) -> _Part | None:
    """The busiest of them, if it stands still where the others grow and are not beyond it."""
    busiest = max(parts, key=lambda one: one.worked_late)
    others = [one for one in parts if one is not busiest]
    growth, work = sum(one.gained_late for one in others), sum(one.worked_late for one in others)
    if (
        growth <= 0
        or busiest.worked_late <= 0
        or any(one.gained > _SAME_SIZE * busiest.gained for one in others)
    ):
        return None
    rate = growth / max(1.0, work)  # a tick is the least that can be told
    return busiest if busiest.gained_late / busiest.worked_late <= _STANDS_STILL * rate else None


def _summed(parts: Sequence[_Part], settled: _Part | None) -> list[float]:
    if settled is None:
        return [sum(row) for row in zip(*(one.values for one in parts), strict=True)]
    start = sum(one.values[0] for one in parts)
    return [start + len(parts) * (value - settled.values[0]) for value in settled.values]
