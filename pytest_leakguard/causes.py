"""Root causes confirmed earlier in the session, so that a thousand tests with one leak cost one confirmation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pytest_leakguard.counters import BLOCKS, COUNTERS, HEAP, MAPPED, PRIVATE, TASKS
from pytest_leakguard.explain.containers import length
from pytest_leakguard.model import Finding, Growth
from pytest_leakguard.suspicion import SCREENED, Suspicion

_MEMORY = (BLOCKS, HEAP, MAPPED, TASKS, PRIVATE)
_BYTES = (HEAP, MAPPED, PRIVATE)
SLACK = 2.0
"""What an entry of the same container weighs in another test, as a multiple of what it weighed in the first."""
SLACK_BLOCKS = 8


@dataclass(frozen=True, slots=True)
class Known:
    """A confirmed leak and the container that holds what it loses."""

    finding: Finding
    container: Any
    blocks_per_entry: float
    rises: tuple[float, ...]
    """Per run of the test it was confirmed in, one for each counter."""


class Causes:
    """All of them. Holds on to the containers, which outlive every test by definition."""

    def __init__(self) -> None:
        self._known: list[Known] = []

    def remember(self, finding: Finding, container: Any, entries_per_run: float, rises: tuple[float, ...]) -> None:
        """Keeps a cause for the tests to come; one without a container cannot be told again by looking."""
        if container is not None and entries_per_run > 0:
            blocks = rises[BLOCKS] / entries_per_run
            self._known.append(Known(finding, container, blocks, rises))

    def lengths(self) -> tuple[int, ...]:
        """How many entries each container has now."""
        return tuple(length(known.container) for known in self._known)

    def behind(self, suspicion: Suspicion, before: tuple[int, ...], after: tuple[int, ...]) -> Finding | None:
        """The known cause that accounts for all that rose, as a finding of this test; ``None`` when none does.

        ``before`` and ``after`` are the lengths around the runs of the suspicion.
        """
        for known, first, last in zip(self._known, before, after, strict=False):
            entries = (last - first) / suspicion.runs
            if entries > 0 and all(self._accounts(known, entries, suspicion, at) for at in SCREENED):
                return replace(known.finding, blocks=max(1, round(suspicion.rises[BLOCKS])))
        return None

    @staticmethod
    def _accounts(known: Known, entries: float, suspicion: Suspicion, counter: int) -> bool:
        rise = suspicion.rises[counter]
        if rise <= 0:
            return True
        if counter == BLOCKS:
            return rise <= SLACK * known.blocks_per_entry * entries + SLACK_BLOCKS
        if counter in _MEMORY:  # what entries weigh outside the interpreter's blocks differs from test to test
            return known.rises[counter] > 0 or suspicion.rises[BLOCKS] > 0
        return known.rises[counter] > 0 and rise <= SLACK * known.rises[counter]


def growth_of(suspicion: Suspicion) -> tuple[Growth, ...]:
    """What the runs of a suspicion showed, for a test whose cause is known."""
    return tuple(_growths(suspicion))


def _growths(suspicion: Suspicion) -> Iterator[Growth]:
    for at in SCREENED:
        rise = suspicion.rises[at]
        if rise > 0:
            unit = "bytes" if at in _BYTES else COUNTERS[at].unit
            yield Growth(COUNTERS[at].metric, "leak", rise, rise, rise, suspicion.runs, unit=unit)
