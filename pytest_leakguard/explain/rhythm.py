"""How often a leak that is not in every run happens, and what one loss is."""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass

from pytest_leakguard.core.clock import Spent
from pytest_leakguard.counters.reader import COUNTERS
from pytest_leakguard.explain.probe import EVENTS, MOST_RUNS, Probe
from pytest_leakguard.tracker.tracker import Domain

_BATCH = 16
"""Runs between two looks at what has been lost."""
_SETTLING = 2
"""The last runs, which may still hold what they will give back."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """One loss, and how many runs there are to each."""

    every: int
    """One in so many runs."""
    blocks: int
    """Of one loss."""
    size_bytes: int
    run: int | None
    """Number of a run that has lost as much; ``None`` of what is scarce."""


@dataclass(frozen=True, slots=True)
class _Run:
    number: int
    risen: float


def rhythm_of(probe: Probe, counter: int) -> Rhythm | None:
    """``None`` where it has not happened twice in the time of the whole explanation.

    The time of one step is enough for more than two.
    """
    spent, runs, losses = Spent(), list[_Run](), list[tuple[int, int, int]]()
    while len(runs) < MOST_RUNS and len(losses) < EVENTS:
        if spent.seconds >= (probe.seconds if len(losses) < 2 else probe.step_s):
            break
        for _ in range(_BATCH):
            runs.append(_one(probe, counter))
        losses = _losses(probe, counter, runs)
    if len(losses) < 2:
        return None
    first, last = losses[0][0], losses[-1][0]
    every = max(1, round((last - first) / (len(losses) - 1)))
    (blocks, size_bytes), _ = Tally(loss[1:] for loss in losses).most_common(1)[0]
    at = next(loss[0] for loss in losses if loss[1:] == (blocks, size_bytes))
    is_scarce = COUNTERS[counter].is_resource
    return Rhythm(every, blocks, size_bytes, None if is_scarce else runs[at].number)


def _one(probe: Probe, counter: int) -> _Run:
    number = probe.begin()
    if not COUNTERS[counter].is_resource:
        probe.work()
        return _Run(number, 0.0)
    before = probe.reader.value(counter)
    probe.work()
    return _Run(number, probe.reader.value(counter) - before)


def _losses(probe: Probe, counter: int, runs: list[_Run]) -> list[tuple[int, int, int]]:
    """Place among the runs, blocks and bytes of each loss."""
    found = []
    for at, run in enumerate(runs[: len(runs) - _SETTLING]):
        if COUNTERS[counter].is_resource:
            if run.risen > 0:
                found.append((at, int(run.risen), 0))
            continue
        blocks, size_bytes = _alive(probe, run.number)
        if blocks or size_bytes:
            found.append((at, blocks, size_bytes))
    return found


def _alive(probe: Probe, number: int) -> tuple[int, int]:
    blocks = size_bytes = 0
    for domain in Domain:
        amount = probe.tracker.live(number, domain)
        blocks += amount.blocks
        size_bytes += amount.size_bytes
    return blocks, size_bytes
