"""Root causes confirmed earlier: a thousand tests with one leak cost one confirmation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pytest_leakguard.core.checks import Growth
from pytest_leakguard.core.clock import Spent
from pytest_leakguard.core.leaks import Finding, Frame
from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.counters.reader import BLOCKS, COUNTERS, HEAP, MAPPED, TASKS
from pytest_leakguard.explain.growing_containers import length, newest
from pytest_leakguard.screening.findings import Confirmed
from pytest_leakguard.screening.ledger import MEMORY, Ledger
from pytest_leakguard.screening.quick_check import Suspect
from pytest_leakguard.tracker.tracker import Amount

if TYPE_CHECKING:  # nothing that explains is imported before there is something to explain
    from pytest_leakguard.explain.places import RunAround

SLACK = 2.0
"""What an entry of the same container may take in another test, as a multiple of its blocks in the
first."""
SLACK_BLOCKS = 8
"""Blocks per run beside that, which a list that is resized or a cache of the library may add."""
MOST_TRACING_S = 3.0
"""Seconds of one session for comparing places of allocation; after that a container alone
identifies a cause."""


@dataclass(frozen=True, slots=True)
class Known:
    """A confirmed leak and the container that holds what it loses."""

    finding: Finding
    container: Any
    entry: type
    """Of what type the entries are."""
    names: tuple[str, ...]
    """Where an entry is allocated, without lines; empty when that is not known."""
    blocks_per_entry: float
    counters: frozenset[int]
    """What leaks with it."""


class Causes:
    """All of them. Holds on to the containers, which outlive every test by definition."""

    def __init__(self) -> None:
        self._known: list[Known] = []
        self._tracing_s = 0.0

    def remember(self, confirmed: Confirmed) -> None:
        """Keeps a cause for the tests to come.

        One without a container cannot be told again by looking.
        """
        container, entries = confirmed.container, confirmed.entries_per_run
        if container is None or entries <= 0:
            return
        leaking = confirmed.examination.per_run
        blocks = leaking[BLOCKS].blocks if BLOCKS in leaking else 0.0
        for finding in confirmed.check.findings:
            entry = type(newest(container))
            known = Known(
                finding, container, entry, confirmed.names, blocks / entries, frozenset(leaking)
            )
            self._known.append(known)

    def lengths(self) -> tuple[int, ...]:
        """How many entries each container has now."""
        return tuple(length(known.container) for known in self._known)

    def behind(
        self,
        suspect: Suspect,
        ledger: Ledger,
        before: tuple[int, ...],
        run: RunAround,
    ) -> tuple[Finding, tuple[Growth, ...]] | None:
        """The known cause that accounts for all that a suspect keeps, as a finding of this test.

        ``before`` are the lengths at the suspect's first run. One or two more runs are traced, to
        see that what has come into the container was allocated at the same place: several leaks may
        share a registry.
        """
        if suspect.is_rare or TASKS in suspect.counters:  # a task may end by itself
            return None
        amounts = {at: _least(ledger, suspect, at) for at in MEMORY}
        gained = _gained_per_run(ledger, suspect)
        for known, first in zip(self._known, before, strict=False):
            entries = (length(known.container) - first) / len(suspect.runs)
            if not _is_counted(known, entries, suspect):
                continue
            of_earlier = gained / entries * length(known.container)
            if not _is_all(known, entries, amounts[BLOCKS].blocks - of_earlier):
                continue
            if type(newest(known.container)) is known.entry and self._is_same_place(known, run):
                # What earlier entries gain depends on how many there are, and is no size of a run.
                finding = known.finding if gained else _as_finding(known, suspect, amounts)
                return finding, _growth(suspect, amounts)
        return None

    def _is_same_place(self, known: Known, run: RunAround) -> bool:
        if self._tracing_s > MOST_TRACING_S:
            return True  # seen often enough to take it for what it has always been
        from pytest_leakguard.explain.places import site_of_newest

        spent, count = Spent(), length(known.container)
        site = site_of_newest(run, known.container)
        self._tracing_s += spent.seconds
        has_come = length(known.container) > count
        if site is None or not site.calls or not has_come:
            return True
        if site.names == known.names:  # the package's function; the finding shows the user's line
            return True
        entry = site.calls[0]
        return any(_is_in_function(frame, entry) for frame in known.finding.stack)


def _is_in_function(frame: Frame, other: Frame) -> bool:
    return (frame.file, frame.function) == (other.file, other.function)


def _least(ledger: Ledger, suspect: Suspect, counter: int) -> Amount:
    """What each run keeps at least.

    Some also have a list resized or a cache of the library filled.
    """
    amounts = [ledger.kept(run, counter) for run in suspect.runs]
    return min(amounts, key=lambda amount: (amount.size_bytes, amount.blocks))


def _gained_per_run(ledger: Ledger, suspect: Suspect) -> float:
    """Blocks that each run keeps more than the one before, since it adds to all entries there are.

    0 unless all of them do.
    """
    kept = [ledger.kept(run, BLOCKS).blocks / run.calls for run in suspect.runs]
    gains = [after - before for before, after in pairwise(kept)]
    return max(gains) if len(gains) > 1 and min(gains) > 0 else 0.0


def _is_counted(known: Known, entries: float, suspect: Suspect) -> bool:
    """Whether the container has grown, and nothing else that is scarce is kept."""
    return entries > 0 and suspect.counters - MEMORY.keys() <= known.counters


def _is_all(known: Known, entries: float, blocks: float) -> bool:
    """Whether what has come into the container is all that a run keeps."""
    return blocks <= SLACK * known.blocks_per_entry * entries + SLACK_BLOCKS


def _as_finding(known: Known, suspect: Suspect, amounts: dict[int, Amount]) -> Finding:
    kept = [amounts[at] for at in suspect.counters if at in MEMORY]
    return replace(
        known.finding,
        size_bytes=math.ceil(sum(amount.size_bytes for amount in kept)),
        blocks=max(1, sum(amount.blocks for amount in kept)),
    )


def _growth(suspect: Suspect, amounts: dict[int, Amount]) -> tuple[Growth, ...]:
    """What the runs of the suspect have shown."""
    found = []
    for counter in sorted(suspect.counters):
        if counter in MEMORY:
            amount = amounts[counter]
            rate = float(amount.size_bytes if counter in (HEAP, MAPPED) else amount.blocks)
        else:
            rate = suspect.runs[-1].rises[counter]
        unit = COUNTERS[counter].unit
        found.append(
            Growth(
                COUNTERS[counter].metric, Shape.LEAK, rate, rate, rate, len(suspect.runs), unit=unit
            )
        )
    return tuple(found)
