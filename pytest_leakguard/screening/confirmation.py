"""Repeats a unit of work until its counters have an answer: growing windows, samples at irregular places.

A clean unit is left after a few calls. A suspect goes on until its growth outlasts every plausible cache, or the
time given is used up. Scarce things (descriptors, threads, processes) are counted one by one, so few prove a leak.
"""

from __future__ import annotations

import gc
import random
from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace

from pytest_leakguard.core.clock import Spent
from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.counters.reader import (
    BLOCKS,
    CHILDREN,
    COUNTERS,
    DESCRIPTORS,
    FILES,
    HEAP,
    MAPPED,
    PRIVATE,
    TASKS,
    THREADS,
    Reader,
)
from pytest_leakguard.screening.statistics import Evidence, weigh

SAMPLES_PER_WINDOW = 16
MOST_SAMPLES = 24 * SAMPLES_PER_WINDOW
QUOTAS = {DESCRIPTORS: 100, THREADS: 64, CHILDREN: 64, FILES: 100}
"""So many more of them, in even steps, are a leak and no pool."""
RELUCTANCE = 8
"""So many times more runs for a counter that still creeps before it is called still."""
MEMORY_QUOTA_BYTES = 256 * 1024**2
_REAL_SHARE = 0.8
"""So much of what has grown, at least, stays when everything is collected."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to go on."""

    warm_up: int = 20
    first_window: int = 50
    enough_when_clean: int = 1500
    """Runs after which a unit whose counters are all still is clean."""
    enough_when_growing: int = 20_000
    """Runs after which growth in even steps is a leak: more than a 10,000-entry cache takes."""
    seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Examination:
    """All samples of one unit of work and what they say."""

    evidence: tuple[Evidence, ...]
    """One per counter."""
    samples: tuple[tuple[tuple[float, float], ...], ...]
    """One series per counter."""
    runs: int
    seconds: float
    ran_out_of_time: bool

    @property
    def leaking(self) -> int | None:
        """The counter that names the leak: scarce things before memory, causes before what follows from them."""
        order = (THREADS, CHILDREN, DESCRIPTORS, FILES, MAPPED, BLOCKS, HEAP, PRIVATE, TASKS)
        for index in order:
            if self.evidence[index].shape is Shape.LEAK and not self._is_arena_growth(index):
                return index
        return None

    def _is_arena_growth(self, index: int) -> bool:
        """Pages that the interpreter's own small blocks (at most 512 bytes) or the allocator explain."""
        if index not in (MAPPED, PRIVATE):
            return False
        blocks, heap = self.evidence[BLOCKS].per_run, self.evidence[HEAP].per_run
        return self.evidence[index].per_run <= 512 * max(0.0, blocks) + 1.25 * max(0.0, heap)

    @property
    def undecided(self) -> tuple[int, ...]:
        """Counters that grew without proof."""
        # Allocators use more and more of their pages for a while: that alone, and unevenly, is no sign of a leak.
        return tuple(
            at
            for at, one in enumerate(self.evidence)
            if one.shape is Shape.UNDECIDED and at != PRIVATE
        )


class Repetition:
    """One examination under way. ``work`` is called again and again; what it raises ends the examination."""

    def __init__(
        self,
        work: Callable[[], object],
        reader: Reader,
        limits: Limits,
        progress: Callable[[int], None] = lambda runs: None,
        sets_aside: bool = True,
    ) -> None:
        self._work, self._reader, self._limits = work, reader, limits
        self._sets_aside = sets_aside
        self._rows = array("d", bytes(8 * len(COUNTERS) * (MOST_SAMPLES + 1)))
        self._at = array("d", bytes(8 * (MOST_SAMPLES + 1)))
        self._used = 0
        self._random = random.Random(20240229)
        self._progress = progress
        self.runs = 0
        self._spent = Spent()

    def examine(self) -> Examination:
        """Runs the unit until there is an answer.

        What has survived a sample's collection is set aside, since going through all of it again for every sample
        would take longer than the runs do. Should a cache throw out what is part of a reference cycle, it stays. So
        growth that a collection of everything takes back is examined again without that.
        """
        self._warm_up()
        gc.unfreeze()  # what is garbage among it must not be taken for a part of the growth when it goes
        gc.collect()
        gc.freeze()
        try:
            examination = self._windows()
        finally:
            gc.unfreeze()
        if not self._sets_aside or self._is_real(examination):
            return examination
        rest = replace(
            self._limits,
            seconds=max(self._limits.seconds - self._elapsed, self._limits.seconds / 2),
        )
        again = Repetition(self._work, self._reader, rest, self._progress, sets_aside=False)
        return again.examine()

    def _windows(self) -> Examination:
        length = self._limits.first_window
        while True:
            self._window(length)
            if answer := self._answer():
                return answer
            length *= 2

    def _is_real(self, examination: Examination) -> bool:
        """Whether what has grown is still there after everything was collected."""
        grown = {
            at: self._grown(at)
            for at in (examination.leaking, *examination.undecided)
            if at is not None
        }
        if not grown:
            return True
        self._reader.read(self._rows, self._used - 1, True)
        return all(self._grown(at) >= _REAL_SHARE * gain for at, gain in grown.items())

    def _warm_up(self) -> None:
        for _ in range(self._limits.warm_up):
            self._work()
            self.runs += 1
            if self._elapsed > self._limits.seconds / 4:
                break
        self._reader.read(
            self._rows, MOST_SAMPLES, True
        )  # the first reading makes what later ones reuse

    def _window(self, length: int) -> None:
        """One window; samples lie at random places of equal stretches, so that no period of the unit is met."""
        work, start = self._work, self.runs
        places = sorted(
            {
                max(1, round((part + self._random.random()) * length / SAMPLES_PER_WINDOW))
                for part in range(SAMPLES_PER_WINDOW)
            }
            | {length}
        )
        del places[:-SAMPLES_PER_WINDOW]
        if not self._used:
            self._sample()
        for place in places:
            for _ in range(start + place - self.runs):
                work()
            self.runs = start + place
            self._sample()
            self._progress(self.runs)
            if self._is_over or self._is_exhausted():
                break

    def _sample(self) -> None:
        self._reader.read(self._rows, self._used, True)
        if self._sets_aside or gc.get_freeze_count() == 0:  # or the unit has thawed what was frozen
            gc.freeze()
        self._at[self._used] = self.runs
        self._used += 1

    @property
    def _elapsed(self) -> float:
        return self._spent.seconds

    @property
    def _is_over(self) -> bool:
        return (
            self._elapsed > self._limits.seconds
            or self._used > MOST_SAMPLES - 2 * SAMPLES_PER_WINDOW
        )

    def _grown(self, counter: int) -> float:
        width = len(COUNTERS)
        return self._rows[(self._used - 1) * width + counter] - self._rows[counter]

    def _is_exhausted(self) -> bool:
        """Going on would break the process: it has lost as much as any proof needs."""
        memory = max(self._grown(HEAP), self._grown(MAPPED), self._grown(PRIVATE))
        threads = (
            self._grown(THREADS) > 2 * QUOTAS[THREADS]
        )  # their stacks are address space, not memory
        scarce = any(self._grown(one) > 2.5 * quota for one, quota in QUOTAS.items())
        return scarce or threads or (memory > MEMORY_QUOTA_BYTES and self._grown(THREADS) <= 0)

    def _weigh(self) -> tuple[Evidence, ...]:
        width, used = len(COUNTERS), self._used
        at = list(self._at[:used])
        return tuple(
            weigh(at, list(self._rows[index : used * width : width]), counter.unit)
            for index, counter in enumerate(COUNTERS)
        )

    def _answer(self) -> Examination | None:
        """The examination when it is done; nothing else is kept, since it would be counted."""
        evidence = self._weigh()
        return self._examination(evidence) if self._is_answered(evidence) or self._is_over else None

    def _is_answered(self, evidence: tuple[Evidence, ...]) -> bool:
        for index, quota in QUOTAS.items():
            if evidence[index].shape is Shape.LEAK and self._grown(index) >= quota:
                return True
        if self._is_exhausted():
            return True
        if all(one.shape in (Shape.STABLE, Shape.CACHE) for one in evidence):
            # A rise too small to be called growth may be the beginning of one.
            patience = 1 if all(one.has_settled for one in evidence) else RELUCTANCE
            return self.runs >= min(
                patience * self._limits.enough_when_clean, self._limits.enough_when_growing
            )
        return self.runs >= self._limits.enough_when_growing and all(
            one.shape is not Shape.UNDECIDED or index != BLOCKS
            for index, one in enumerate(evidence)
        )

    def _examination(self, evidence: tuple[Evidence, ...]) -> Examination:
        width, used = len(COUNTERS), self._used
        series = tuple(
            tuple(zip(self._at[:used], self._rows[index : used * width : width], strict=True))
            for index in range(width)
        )
        return Examination(
            evidence, series, self.runs, self._elapsed, self._elapsed > self._limits.seconds
        )
