"""The quick look at one test: a few more runs under exact counters, which clear nearly every test.

A leak raises a counter with every run. So the first run that raises none clears the test, and most tests are
cleared by their second run. What is left after some runs is a suspect, and ``repeat`` has to decide.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from pytest_leakguard.core.clock import Spent
from pytest_leakguard.counters import caches
from pytest_leakguard.counters.reader import (
    BLOCKS,
    CHILDREN,
    COUNTERS,
    HEAP,
    MAPPED,
    PRIVATE,
    TASKS,
    THREADS,
    Reader,
    make_frames,
)
from pytest_leakguard.counters.transients import TRANSIENT, wait_for_ends

SUSPECT_AFTER = 8
"""A counter that rose in so many runs one after another makes a suspect."""
SUSPECT_OF_KNOWN_AFTER = 2
"""As many do where a leak is known already that the test may well have too."""
ALLOCATOR_SETTLES_AFTER = 30
"""The allocator counts what waits in its bins as used, so heap bytes alone take so many runs."""
EMPTIED_AFTER = 3
"""A test that still rises by then is read with caches empty: the standard library's, and bounded ones that it fills."""
SMALL_BYTES = 512
"""A larger rise of the allocator's bytes is worth some runs in any case."""
SHORT_S = 0.01
"""A test may raise them by so much more as it takes longer than this: what each run brings about by the way grows with
its work, and what it takes to look at it does."""
SPARSE_BATCH = 8
_STILL = {BLOCKS: 6, HEAP: 512, CHILDREN: 1, MAPPED: 4 * 1024**2, PRIVATE: 1024**2}
"""Rise over some dozens of runs that interpreter, allocator and our own counting make by themselves."""
SCREENED = tuple(index for index in range(len(COUNTERS)) if index != TASKS)
_MEMORY = (BLOCKS, HEAP, MAPPED, PRIVATE)
_WIDTH = len(COUNTERS)
FIRST, SECOND, MIDDLE, LAST, NOW = range(5)
"""Rows of readings."""
FEW_BLOCKS = 4
"""So few that the interpreter or pytest may free as many by accident, as they do in one run of some dozens."""
SEEN_TWICE = 2
"""So many clean tests of one kind must have begun alike, before it is taken for how tests of that kind begin."""
SEEN_ANYWHERE, ALIKE_SHARE = 8, 0.9
"""So many of any kind, and such a part of all, say it of a kind of which less is known and nothing else."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What there is to know of a test before it is looked at."""

    kind: Hashable = None
    """Tests of one kind leave the same of pytest's own behind."""
    spare_s: float = 0.0
    """Time for more runs: for leaks that are not in every run."""
    has_time: Callable[[], bool] = lambda: True
    """Asked before a run whose only reason is that the allocator's bytes rose by less than ``small_bytes``, as they do
    in many tests for some runs, or by more for the ninth time."""
    small_bytes: float = SMALL_BYTES
    may_leak: tuple[int, ...] = SCREENED
    """Counters that an earlier run has raised."""
    excess_blocks: int = 0
    """By how many blocks that run has raised them more than is usual, where that is known."""
    native_bytes: float = math.inf
    """By how much that run has raised the allocator's bytes at most."""
    empties_library_caches: bool = False
    """From the start, not only when the test still rises by then."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What rose, and in how many runs."""

    rises: tuple[float, ...]
    """Per run, one for each counter, taken over the later half of the runs."""
    runs: int
    is_sparse: bool = False
    """Nothing rose with every run, but something had risen after many."""

    def __str__(self) -> str:
        """What rose, for people."""
        rose = [
            f"{self.rises[at]:+.3g} {COUNTERS[at].metric.replace('_', ' ')}"
            for at in SCREENED
            if self.rises[at] > 0
        ]
        return f"{', '.join(rose)} per run over {self.runs} runs"


def patience(took_s: float) -> float:
    """By how many times more than a short test one that took ``took_s`` seconds may raise bytes of all kinds."""
    return max(1.0, took_s / SHORT_S)


def unseen(rise: float) -> str:
    """What a test that was not repeated further may leak, when the allocator's bytes rose by so much in one run."""
    return (
        f"a leak of less than {max(SMALL_BYTES, rise):,.0f} native bytes per run would not have been seen: "
        "the allocator still settled; the marker's iterations= repeats the test further"
    )


class QuickLook:
    """Looks at one test after another; all it needs is made once, so that looking allocates nothing that stays."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._rows = array("d", bytes(8 * _WIDTH * 5))
        self._begins: dict[Hashable, Counter[float]] = {}
        """By kind, by how many blocks clean tests rose with their first run here: not all begin from rest."""
        self._begins_of_all: Counter[float] = Counter()
        self._is_doubtful = False
        """One accident would hide what the test may leak."""
        self._usual = math.nan
        """What is usual for the test at hand; ``nan``, which nothing is equal to, while that is not known."""
        self._has_stood_still = False
        """The last run has not raised the blocks."""
        self.left_open = ""
        """What the last look could not see, in words."""
        reader.read(self._rows, NOW, clears_caches=True)

    def at(
        self, run: Callable[[], object], known: Circumstances, suspect_after: int = SUSPECT_AFTER
    ) -> Suspicion | None:
        """``None`` when the test is cleared.

        Whatever was there before must be frozen; ``run`` may raise, which is the caller's.
        """
        self._usual = self._begin_of(known.kind)
        self._is_doubtful = 0 < known.excess_blocks <= FEW_BLOCKS
        suspicion = self._look(run, known, suspect_after)
        begin = self._rows[SECOND * _WIDTH + BLOCKS] - self._rows[FIRST * _WIDTH + BLOCKS]
        if suspicion is None and (self._rose(BLOCKS) == 0 or begin == self._usual):
            self._begins.setdefault(known.kind, Counter())[begin] += 1
            self._begins_of_all[begin] += 1
        return suspicion

    def _begin_of(self, kind: Hashable) -> float:
        of_kind, of_all = self._begins.get(kind, Counter()), self._begins_of_all
        for rise, tests in of_kind.most_common(1):
            if tests >= SEEN_TWICE:
                return rise
        for rise, tests in of_all.most_common(1):
            if tests >= max(SEEN_ANYWHERE, ALIKE_SHARE * of_all.total()) and of_kind.keys() <= {
                rise
            }:
                return rise
        return math.nan

    def _look(
        self, run: Callable[[], object], known: Circumstances, suspect_after: int
    ) -> Suspicion | None:
        rows, self.left_open = self._rows, ""
        rising, runs = (
            (*known.may_leak,),
            0,
        )  # of its own, since the tuple that follows is one block as well
        enough = suspect_after
        self._reader.empties_library_caches, self._has_stood_still = (
            known.empties_library_caches,
            False,
        )
        self._reader.filling = ()
        make_frames()
        self._read_cheap()  # clearing and collecting leave a little behind themselves, the first time
        self._read_cheap()
        self._read_cheap()
        self._reader.read_heap(rows, NOW)
        self._copy(NOW, FIRST)
        while rising and runs < (
            ALLOCATOR_SETTLES_AFTER if rising == (HEAP,) and known.has_time() else enough
        ):
            run()
            runs += 1
            self._read_again()
            rising = self._risen(rising, runs)
            enough = (
                suspect_after + self._has_stood_still
            )  # of two runs, the one left out may not be half of them
            if runs == 1:
                self._copy(NOW, SECOND)
            if (
                rising == (HEAP,)
                and self._rose_at_most(known) < known.small_bytes
                and not known.has_time()
            ):
                self.left_open = unseen(self._rose_at_most(known))
                return None
            if runs == EMPTIED_AFTER and rising:
                self._empty_caches(run)
            if runs in (suspect_after // 2, ALLOCATOR_SETTLES_AFTER // 2):
                self._copy(NOW, MIDDLE)
        if rising and any(self._risen_in_all(at) > 0 for at in TRANSIENT):
            rising, runs = self._outlasting(run, rising, runs)
        if rising and (rising != (HEAP,) or self._keeps_its_pace(HEAP)):
            half = runs - runs // 2
            rises = tuple(
                (rows[NOW * _WIDTH + at] - rows[MIDDLE * _WIDTH + at]) / half
                for at in range(_WIDTH)
            )
            if any(rises[at] > 0 for at in rising):
                return Suspicion(rises, runs)
        return self._sparse(run, runs, known.spare_s) if known.spare_s > 0 else None

    def _copy(self, row: int, into: int) -> None:
        self._rows[into * _WIDTH : (into + 1) * _WIDTH] = self._rows[
            row * _WIDTH : (row + 1) * _WIDTH
        ]

    def _read_cheap(self) -> None:
        self._reader.read_cheap(self._rows, NOW, clears_caches=True)

    def _read_again(self) -> None:
        """From a frame as that of the first reading, since an iterator or a closure's cell is a block as well."""
        self._copy(NOW, LAST)
        self._read_cheap()
        self._reader.read_heap(self._rows, NOW)

    def _risen(self, rising: tuple[int, ...], runs: int) -> tuple[int, ...]:
        """Of those that rose so far, the ones that have risen again, in so many runs."""
        return tuple(
            at for at in rising if (self._rises(runs) if at == BLOCKS else self._rose(at) > 0)
        )

    def _rises(self, runs: int) -> bool:
        """Whether the last of so many runs has raised the blocks, or the one before it, when all have in the mean.

        A block or two less of pytest's own hide a leak of one block, now and then, and mostly among the first tests;
        so the one run that stands still, or falls, is left out of the mean.
        """
        if runs == 1:  # that it has not says nothing if it began with more than a run leaves
            return self._is_doubtful or self._rose(BLOCKS) != self._usual
        if self._rose(BLOCKS) < 0:
            self._leave_out(BLOCKS)
        is_forgiven = not self._has_stood_still and self._risen_in_all(BLOCKS) >= runs - 1
        self._has_stood_still = self._rose(BLOCKS) <= 0
        return not self._has_stood_still or is_forgiven

    def _empty_caches(self, run: Callable[[], object]) -> None:
        """From here on the library's, and what else is bounded and filled by each run; both out of earlier readings.

        So is one more run: the first that begins with empty caches may leave less than those that follow.
        """
        self._copy(NOW, LAST)
        self._reader.empties_library_caches = True
        self._read_cheap()
        self._reader.filling = caches.filled_by(run)
        self._read_cheap()
        self._reader.read_heap(self._rows, NOW)
        for at in _MEMORY:
            self._leave_out(at)

    def _leave_out(self, at: int) -> None:
        """Reads the earlier rows as if the last rise had come before them."""
        for row in (FIRST, SECOND, MIDDLE):
            self._rows[row * _WIDTH + at] += self._rose(at)

    def _rose(self, at: int) -> float:
        """By how much, with the last run."""
        return self._rows[NOW * _WIDTH + at] - self._rows[LAST * _WIDTH + at]

    def _rose_at_most(self, known: Circumstances) -> float:
        """By how many bytes of the allocator every run has raised it, at most."""
        return min(self._rose(HEAP), known.native_bytes)

    def _keeps_its_pace(self, at: int) -> bool:
        """Allocators fill their bins for some dozens of runs, ever more slowly; a leak does not slow down."""
        first, middle, last = (self._rows[row * _WIDTH + at] for row in (FIRST, MIDDLE, NOW))
        return last - middle > 0.7 * (middle - first)

    def _outlasting(
        self, run: Callable[[], object], rising: tuple[int, ...], runs: int
    ) -> tuple[tuple[int, ...], int]:
        """What still rises when the threads and child processes that end by themselves are given the time.

        Each run is waited for, since threads that have not ended hold memory; zombies are often collected when the
        next child is started.
        """
        at_first = int(self._rows[FIRST * _WIDTH + THREADS])
        if not wait_for_ends(at_first):
            return rising, runs
        run()
        wait_for_ends(at_first)
        self._reader.read(self._rows, NOW, clears_caches=True)
        if any(self._risen_in_all(at) >= runs // 2 for at in TRANSIENT):
            return rising, runs + 1
        more = 0
        while rising and more < SUSPECT_AFTER:
            run()
            wait_for_ends(at_first)
            more += 1
            self._read_again()
            rising = self._risen(rising, 0)
            if more == SUSPECT_AFTER // 2:
                self._copy(NOW, MIDDLE)
        return rising, max(more, 1) if rising else runs + 1 + more

    def _risen_in_all(self, at: int) -> float:
        return self._rows[NOW * _WIDTH + at] - self._rows[FIRST * _WIDTH + at]

    def _sparse(self, run: Callable[[], object], runs: int, spare_s: float) -> Suspicion | None:
        if self._reader.empties_library_caches:  # what had risen before was theirs
            self._copy(NOW, FIRST)
            runs = 0
        runs += _run_for(run, spare_s)
        self._reader.read(self._rows, NOW, clears_caches=True)
        if any(self._risen_in_all(at) > 0 for at in TRANSIENT):
            _, runs = self._outlasting(run, (), runs)
        rises = tuple(self._risen_in_all(at) for at in range(_WIDTH))
        if any(rises[at] > _STILL.get(at, 0) for at in SCREENED):
            return Suspicion(tuple(rise / runs for rise in rises), runs, is_sparse=True)
        return None


def _run_for(run: Callable[[], object], spare_s: float) -> int:
    """How many runs fit into the time; a function of its own, so that nothing of it is there to be counted."""
    spent, runs = Spent(), 0
    while spent.seconds < spare_s:
        for _ in range(SPARSE_BATCH):
            run()
        runs += SPARSE_BATCH
    return runs
