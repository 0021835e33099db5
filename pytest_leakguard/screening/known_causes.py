"""Root causes confirmed earlier in the session, so that a thousand tests with one leak cost one confirmation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pytest_leakguard.core.checks import Growth
from pytest_leakguard.core.clock import Spent
from pytest_leakguard.core.leaks import Finding
from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.counters.reader import BLOCKS, COUNTERS, HEAP, MAPPED, PRIVATE, TASKS
from pytest_leakguard.explain.growing_containers import length, newest
from pytest_leakguard.screening.findings import Confirmed
from pytest_leakguard.screening.quick_check import SCREENED, Suspicion

_MEMORY = (BLOCKS, HEAP, MAPPED, TASKS, PRIVATE)
_BYTES = (HEAP, MAPPED, PRIVATE)
SLACK = 2.0
"""What an entry of the same container weighs in another test, as a multiple of what it weighed in the first."""
SLACK_BLOCKS = 8
MOST_TRACING_S = 3.0
"""Seconds of one session for comparing places of allocation."""


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
    rises: tuple[float, ...]
    """Per run of the test it was confirmed in, one for each counter."""


class Causes:
    """All of them. Holds on to the containers, which outlive every test by definition."""

    def __init__(self) -> None:
        self._known: list[Known] = []
        self._tracing_s = 0.0
        self.has_traced = False
        """For the last answer, which leaves something behind that goes with the next test."""

    def __bool__(self) -> bool:
        """Whether any is known."""
        return bool(self._known)

    def remember(self, confirmed: Confirmed) -> None:
        """Keeps a cause for the tests to come; one without a container cannot be told again by looking."""
        container, entries = confirmed.container, confirmed.entries_per_run
        if container is None or entries <= 0:
            return
        rises = tuple(one.per_run for one in confirmed.examination.evidence)
        for finding in confirmed.check.findings:
            entry = type(newest(container))
            self._known.append(
                Known(finding, container, entry, confirmed.names, rises[BLOCKS] / entries, rises)
            )

    def lengths(self) -> tuple[int, ...]:
        """How many entries each container has now."""
        return tuple(length(known.container) for known in self._known)

    def behind(
        self,
        suspicion: Suspicion,
        before: tuple[int, ...],
        after: tuple[int, ...],
        run: Callable[[], object],
    ) -> Finding | None:
        """The known cause that accounts for all that rose, as a finding of this test; ``None`` when none does.

        ``before`` and ``after`` are the lengths around the runs of the suspicion. One more run is traced, to see
        that what has come into the container was allocated at the same place: several leaks may share a registry.
        """
        self.has_traced = False
        for known, first, last in zip(self._known, before, after, strict=False):
            entries = (last - first) / suspicion.runs
            fits = entries > 0 and all(
                self._accounts(known, entries, suspicion, at) for at in SCREENED
            )
            if (
                fits
                and type(newest(known.container)) is known.entry
                and self._is_same_place(known, run)
            ):
                return replace(known.finding, blocks=max(1, round(suspicion.rises[BLOCKS])))
        return None

    def _is_same_place(self, known: Known, run: Callable[[], object]) -> bool:
        if self._tracing_s > MOST_TRACING_S:
            return True  # seen often enough to take it for what it has always been
        from pytest_leakguard.explain.explainer import site_of_newest

        spent, count = Spent(), length(known.container)
        self.has_traced = True
        site = site_of_newest(run, known.container, 1)
        self._tracing_s += spent.seconds
        has_come = length(known.container) > count
        return site is None or not has_come or site.names == known.names

    @staticmethod
    def _accounts(known: Known, entries: float, suspicion: Suspicion, counter: int) -> bool:
        rise = suspicion.rises[counter]
        if rise <= 0:
            return True
        if counter == BLOCKS:
            return rise <= SLACK * known.blocks_per_entry * entries + SLACK_BLOCKS
        if (
            counter in _MEMORY
        ):  # what entries weigh outside the interpreter's blocks differs from test to test
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
            yield Growth(
                COUNTERS[at].metric, Shape.LEAK, rise, rise, rise, suspicion.runs, unit=unit
            )
