"""The quick check of one test: a few more runs clear nearly every test, exactly.

A leak keeps something with every run. So the first run that keeps nothing, or whose blocks have
gone by the end of a later one, clears the test of what is in every run. What is left after some
runs is a suspect, and ``confirmation`` has to decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from pytest_leakguard.core.clock import Spent
from pytest_leakguard.counters.reader import BLOCKS, CHILDREN, COUNTERS, HEAP, THREADS
from pytest_leakguard.screening import thresholds
from pytest_leakguard.screening.ledger import MEMORY, RESOURCES, Ledger, Run
from pytest_leakguard.screening.room import OutOfRoom
from pytest_leakguard.tracker.containers import NO_CONTAINERS, Lengths

EVERYTHING = frozenset((*MEMORY, *RESOURCES))
"""Counters that a test may leak in as long as nothing is known of it."""
WAITING_S = 0.2
"""Seconds that are waited for a run's threads and processes which end by themselves."""


class Totals:
    """What all runs together keep of Python's memory, before the runs and after each."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.sizes_bytes = [ledger.all_bytes(BLOCKS)]
        self.has_always_risen = True
        """By every run so far."""

    def note_run(self) -> None:
        """A run is over. Nothing is read any more once a run has made it no larger."""
        if self.has_always_risen:
            self.note_runs()
            self.has_always_risen = self.sizes_bytes[-1] > self.sizes_bytes[-2]

    def read_again(self) -> None:
        """The same after the last run, when caches have been emptied since."""
        if len(self.sizes_bytes) > 1 and self.has_always_risen:
            del self.sizes_bytes[-1]
            self.note_run()

    def note_runs(self) -> None:
        """Runs under one number are over."""
        self.sizes_bytes.append(self._ledger.all_bytes(BLOCKS))


@dataclass(frozen=True, slots=True)
class Suspect:
    """What every run has kept, or what some of many have."""

    counters: frozenset[int]
    """Counters that no run has cleared."""
    runs: tuple[Run, ...]
    """The repeated runs there were, in their order."""
    is_rare: bool = False
    """Not every run has kept something."""
    grown: Lengths | Totals | None = None
    """Set when nothing stays but what each run has made larger: older containers of Python's, or
    something that each run puts in the place of what the one before has left."""


class QuickCheck:
    """Takes one unit through its first runs."""

    def __init__(self, ledger: Ledger, run: Callable[[], Run], first: tuple[Run, ...] = ()) -> None:
        """``run`` makes one run of the unit by the ledger; what it raises is the caller's.

        ``first`` is the run that was made before, if any. It keeps what is made on first use as
        well; only when all of it has gone does it say something.
        """
        self._ledger, self._run, self._first = ledger, run, first
        self._grown = Lengths(())
        self._totals = Totals(ledger)
        self.runs: list[Run] = []
        self.stopped = ""
        """Why there may be no further runs."""

    def check(
        self,
        suspected: frozenset[int],
        is_patient: bool = False,
        spare_s: float = 0.0,
        grown: list[Any] | None = None,
    ) -> Suspect | None:
        """``None`` when the test is cleared.

        ``suspected`` are the counters that an earlier run has raised. ``is_patient``: it has
        resized older buffers, so a run that keeps nothing says little. ``spare_s`` are seconds for
        leaks that are not in every run. ``grown`` are older containers that it has made longer, and
        may make longer with every run; they are taken out of the list, since holding one would keep
        alive what is in it when it is replaced by another.
        """
        self._grown = self._ledger.followed = Lengths(grown or ())
        if grown:
            grown.clear()
        self._totals = Totals(self._ledger)
        has_raised = BLOCKS in suspected
        suspected = self._in_every_run(suspected)
        with_blocks = frozenset(at for at in suspected if self._has_blocks(at))
        if with_blocks:
            self._grown = self._ledger.followed = NO_CONTAINERS
            return Suspect(with_blocks, tuple(self.runs))
        if self._grows():
            return Suspect(frozenset({BLOCKS}), tuple(self.runs), grown=self._grown)
        if has_raised and self._replaces_by_larger():
            if self._follows_buffers():
                return Suspect(frozenset({BLOCKS}), tuple(self.runs), grown=self._grown)
            if self._totals.has_always_risen:
                return Suspect(frozenset({BLOCKS}), tuple(self.runs), grown=self._totals)
        if suspected or is_patient:
            suspected = self._resized()
            if self._has_resized_late() and self._follows_buffers():
                return Suspect(frozenset({BLOCKS}), tuple(self.runs), grown=self._grown)
            if suspected:
                is_rare = not any(map(self._grows_in_every_run, suspected))
                return Suspect(suspected, tuple(self.runs), is_rare)
        return self._rare(spare_s) if spare_s else None

    def run_again(self) -> Run:
        """One more run, which the caller keeps."""
        run = self._run()
        self._grown.note_run()
        self._totals.note_run()
        return run

    def continued(self, suspect: Suspect | None) -> Suspect | None:
        """The suspect with the runs that there are by now."""
        return replace(suspect, runs=tuple(self.runs)) if suspect is not None else None

    def _add(self) -> bool:
        """One more run, unless there is no room for it."""
        if not self.stopped:
            try:
                self.runs.append(self.run_again())
            except OutOfRoom as problem:
                self.stopped = str(problem)
        return not self.stopped

    def _has_blocks(self, counter: int) -> bool:
        """Whether each run has kept blocks of its own, or things that are scarce.

        An older block that has only become larger is none.
        """
        if counter not in MEMORY:
            return True
        return all(self._ledger.kept(run, counter).blocks > 0 for run in self.runs)

    def _in_every_run(self, suspected: frozenset[int]) -> frozenset[int]:
        while suspected and len(self.runs) < thresholds.SUSPECT_AFTER:
            if not self._add():
                return suspected
            self.runs[-1] = settled(self._ledger, self.runs[-1])
            suspected = kept_by_all(self._ledger, suspected, (*self._first, *self.runs))
            if suspected:  # caches of the library may take in something new with every run
                self._ledger.empty_caches()
                suspected = kept_by_all(self._ledger, suspected, (*self._first, *self.runs))
        return suspected

    def _grows(self) -> bool:
        """Whether each run has made some container longer."""
        while len(self._grown) and len(self.runs) < thresholds.SUSPECT_AFTER:
            if not self._add():
                break
        return len(self._grown) > 0 and len(self.runs) > 0

    def _replaces_by_larger(self) -> bool:
        """Whether each run puts something larger in the place of what the one before has left.

        As ``text += line`` does. What is only replaced is as large as before in one of few runs.
        """
        self._totals.read_again()
        while self._totals.has_always_risen and len(self.runs) < thresholds.LARGER_EACH_TIME:
            if not self._add():
                return False
        return self._totals.has_always_risen and len(self.runs) > 0

    def _resized(self) -> frozenset[int]:
        """Counters of buffers that some of the next runs have made larger."""
        while len(self.runs) < thresholds.BUFFER_PATIENCE and self._add():
            pass
        late = self.runs[1:]
        found = set()
        for counter in (BLOCKS, HEAP):
            events = [run for run in late if self._ledger.has_kept(run, counter)]
            if len(events) >= thresholds.BUFFER_EVENTS:
                found.add(counter)
        return frozenset(found)

    def _has_resized_late(self) -> bool:
        """Whether one of the later runs has made an older buffer larger."""
        late = self.runs[thresholds.FIRST_RUNS :]
        return any(self._ledger.has_kept(run, at) for run in late for at in (BLOCKS, HEAP))

    def _follows_buffers(self) -> bool:
        """Whether some more runs each make the same buffer longer, whose size changes rarely."""
        self._grown = self._ledger.followed = Lengths(self._ledger.buffers())
        before, self.runs = self.runs, []  # whose lengths are not known
        while len(self._grown) and len(self.runs) < thresholds.SUSPECT_AFTER and self._add():
            pass
        if len(self._grown) and self.runs:
            self._ledger.forget(*before)
            return True
        self.runs[:0] = before
        return False

    def _grows_in_every_run(self, counter: int) -> bool:
        """As a block of a C library that each run makes larger by as much."""
        return all(self._ledger.has_kept(run, counter) for run in self.runs[1:])

    def _rare(self, spare_s: float) -> Suspect | None:
        """Some dozens of runs; more where one of them has left something that stays.

        What threads that are older than the runs allocate now and then is theirs.
        """
        self._ledger.counts_others = not self._ledger.has_older_threads
        self._run_for(spare_s, thresholds.SPARE_RUNS)
        if self._has_event():
            self._run_for(thresholds.SPARE_OF_EVENT_S)
        suspected = rare_counters(self._ledger, self.runs[thresholds.FIRST_RUNS :])
        return Suspect(suspected, tuple(self.runs), is_rare=True) if suspected else None

    def _run_for(self, limit_s: float, least_runs: int = 0) -> None:
        """Runs for so long, or somewhat longer for so many runs in all."""
        spent = Spent()
        most_s = thresholds.SPARE_FACTOR * limit_s
        while spent.seconds < most_s:
            is_enough = spent.seconds >= limit_s and len(self.runs) >= least_runs
            if is_enough or not self._add():
                return

    def _has_event(self) -> bool:
        """Whether a run that is over for some time has kept something until now."""
        for run in self.runs[thresholds.FIRST_RUNS : -thresholds.FIRST_RUNS]:
            if any(self._ledger.left((run,), at)[0] > 0 for at in RESOURCES):
                return True
            if any(self._ledger.has_kept(run, at) for at in MEMORY):
                return True
        return False


def settled(ledger: Ledger, run: Run) -> Run:
    """``run``, after a short wait for threads or processes that may end by themselves."""
    if run.rises[THREADS] > 0 or run.rises[CHILDREN] > 0:
        ledger.wait_for_ends((run,), WAITING_S)
        return ledger.again(run)
    return run


def raised_by(ledger: Ledger, run: Run) -> frozenset[int]:
    """Counters in which a run has kept something that is there now."""
    resources = {at for at in RESOURCES if run.rises[at] > 0}
    return frozenset(resources | {at for at in MEMORY if ledger.has_kept(run, at)})


def kept_by_all(ledger: Ledger, suspected: Iterable[int], runs: Iterable[Run]) -> frozenset[int]:
    """Of the suspected counters those in which every run has kept something until now."""
    runs = tuple(runs)
    found = set()
    for counter in suspected:
        if counter in MEMORY:
            keeps = all(ledger.has_kept(run, counter) for run in runs)
        else:
            keeps = all(count > 0 for count in ledger.left(runs, counter))
        if keeps:
            found.add(counter)
    return frozenset(found)


def rare_counters(ledger: Ledger, runs: list[Run]) -> frozenset[int]:
    """Counters in which some runs have kept something, also in the last third of the runs."""
    found = set()
    for counter in EVERYTHING:
        events = [at for at, run in enumerate(runs) if _keeps(ledger, run, counter)]
        if len(events) >= thresholds.RARE_EVENTS and events[-1] >= 2 * len(runs) / 3:
            found.add(counter)
    return frozenset(found)


def _keeps(ledger: Ledger, run: Run, counter: int) -> bool:
    return (
        ledger.has_kept(run, counter) if counter in MEMORY else ledger.left((run,), counter)[0] > 0
    )


def text_of(ledger: Ledger, suspect: Suspect) -> str:
    """What is suspected, for people."""
    names = [COUNTERS[at].metric.replace("_", " ") for at in sorted(suspect.counters)]
    how = "some of" if suspect.is_rare else "each of"
    return f"{', '.join(names)} kept by {how} {len(suspect.runs)} runs"
