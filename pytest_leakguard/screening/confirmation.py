"""Repeats a suspect until some run's blocks disappear again, or enough runs have kept theirs.

A bounded cache, a pool and a buffer that is flushed lose what old runs have left; a leak never
does. Scarce things are counted one by one, so few runs prove a leak of them. Running out of time is
never a leak.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from pytest_leakguard.core.clock import Spent
from pytest_leakguard.counters.reader import (
    BLOCKS,
    CHILDREN,
    COUNTERS,
    DESCRIPTORS,
    FILES,
    HEAP,
    MAPPED,
    TASKS,
    THREADS,
)
from pytest_leakguard.counters.transients import PATIENCE_S, TRANSIENT
from pytest_leakguard.screening import thresholds
from pytest_leakguard.screening.ledger import MEMORY, RESOURCES, Ledger, Run
from pytest_leakguard.screening.quick_check import Suspect, rare_counters
from pytest_leakguard.screening.room import OutOfRoom
from pytest_leakguard.screening.statistics import (
    Answer,
    Kept,
    PerRun,
    Total,
    answer,
    events,
    has_lost_all,
    is_even,
    is_ever_more,
    is_growth,
    is_steady,
    per_run,
)

ENDING_RUNS = 3
"""Runs that are made while threads, processes and tasks may end by themselves."""
ORDER = (THREADS, CHILDREN, DESCRIPTORS, TASKS, FILES, MAPPED, BLOCKS, HEAP)
"""Which counter names the leak: scarce things before memory, causes before what follows from
them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to go on."""

    seconds: float = 10.0
    """Of computing, for everything."""
    most_runs: int = thresholds.MOST_RUNS
    least_runs: int = thresholds.LEAST_RUNS
    confirming_s: float = thresholds.CONFIRMING_S


@dataclass(frozen=True, slots=True)
class Examination:
    """What all runs of one unit say."""

    series: dict[int, tuple[Kept, ...]]
    """By counter, one entry per number."""
    per_run: dict[int, PerRun]
    """By counter that leaks."""
    undecided: str = ""
    """Why there is no answer, and what it would take. ``per_run`` then has what every run has kept
    the same of: a leak if what holds it has no limit."""
    open: dict[int, PerRun] = field(default_factory=dict)
    """By counter that may leak, when there is no answer: what its holder says may be one."""
    runs: int = 0
    seconds: float = 0.0
    is_rare: bool = False
    old_run: tuple[int | None, int] = (None, 1)
    """Number of a run that is over for long and has kept what it lost, and the calls under it."""
    share: float = 1.0
    """Of the runs, so many lose something."""
    is_written_on: bool = False
    """Later runs make larger what a run keeps; its size is what the run adds itself."""
    is_exhausting: bool = False
    """A few more runs like these would break the process, whatever holds what they keep."""

    @property
    def leaking(self) -> int | None:
        """The counter that names the leak."""
        return next((at for at in ORDER if at in self.per_run), None)

    @property
    def size_bytes(self) -> float:
        """Of one run, Python's and native memory and mappings together."""
        return sum(self.per_run[at].size_bytes for at in MEMORY if at in self.per_run)


class _Totals:
    """What all runs together have kept after so many calls; in arrays, as all records of runs."""

    def __init__(self) -> None:
        self._calls, self._weights, self._grown_bytes = array("q"), array("d"), array("q")

    def add(self, calls: int, weight: float, grown_bytes: int) -> None:
        self._calls.append(calls)
        self._weights.append(weight)
        self._grown_bytes.append(grown_bytes)

    @property
    def totals(self) -> list[Total]:
        """In the order of the runs."""
        return list(map(Total, self._calls, self._weights, self._grown_bytes))


class Confirmation:
    """One confirmation under way."""

    def __init__(
        self,
        ledger: Ledger,
        run: Callable[[int], Run],
        suspect: Suspect,
        limits: Limits,
        progress: Callable[[int], object] = int,
    ) -> None:
        """``run`` makes so many runs under one number; what it raises is the caller's."""
        self._ledger, self._run, self._suspect = ledger, run, suspect
        self._limits, self._progress = limits, progress
        self.runs = list(suspect.runs)
        self._spent = Spent()
        self._chunk = suspect.runs[-1].calls if suspect.runs else 1
        self._chunk_s = self._chunk_before_s = 0.0
        """Seconds of one run, in the last chunk and in the one before."""
        self._stopped = ""
        """Why there may be no further runs."""
        self._short_of: int | None = None
        """Counter of the scarce thing of which they would leave too little."""
        self._known: dict[int, tuple[Kept, ...]] = {}
        ledger.counts_others = not (suspect.is_rare and ledger.has_older_threads)
        self._fresh: dict[int, dict[int, Kept]] = {
            counter: {} for counter in suspect.counters.intersection(MEMORY)
        }
        """By counter and by the number of a single run, what it had kept when it ended."""
        self._totals = {counter: self._history(counter) for counter in suspect.counters}

    def examine(self) -> Examination:
        """Runs the unit until there is an answer, or the limits are reached."""
        limits = self._limits
        while True:
            self._add_totals()
            if not self._open():
                return self._examination({})
            if self._is_scarce_proved():
                self._let_end()
                if self._is_scarce_proved():
                    return self._leak()
            if self._is_exhausted() or self._spent.seconds > self._most_s():
                return self._at_the_end()
            if self._has_enough(limits) and self._proved():
                return self._leak()
            self._next_chunk()
            self._progress(self._calls)

    def examine_further(self, runs: int) -> Examination:
        """Goes on until so many runs, as a holder with so many places asks for."""
        self._limits = Limits(self._limits.seconds, runs, runs, self._limits.seconds)
        return self.examine()

    def rare_beside(self) -> Suspect | None:
        """A suspect when some of the runs have kept what was not suspected, as every run did not.

        Such as a page that a database fills in seven runs, beside the cursors that it prunes.
        """
        if self._suspect.is_rare:
            return None
        runs = self.runs[thresholds.FIRST_RUNS :]
        counters = rare_counters(self._ledger, runs) - self._suspect.counters
        return Suspect(counters, tuple(self.runs), is_rare=True) if counters else None

    def _add_totals(self) -> None:
        self._known.clear()
        for counter, totals in self._totals.items():
            totals.add(self._calls, self._weight(counter), self._grown_bytes(counter))

    def _grown_bytes(self, counter: int) -> int:
        return sum(kept.grown_bytes for kept in self._series(counter))

    def _weight(self, counter: int) -> float:
        """What all runs together keep now.

        Blocks, since a table that is replaced by a larger one would outweigh all else in bytes;
        bytes of all that is known where only older blocks grow.
        """
        if self._suspect.grown is not None:
            return float(self._suspect.grown.sizes_bytes[-1])
        series = self._series(counter)
        if is_growth(series):
            return float(self._ledger.all_bytes(counter))
        return float(sum(kept.blocks for kept in series))

    def _answer(self, counter: int) -> Answer:
        totals = self._totals[counter].totals
        return answer(self._series(counter), totals, self._suspect.is_rare)

    def _most_s(self) -> float:
        """Seconds for all of it."""
        if self._suspect.is_rare:
            return min(self._limits.seconds, thresholds.RARE_S)
        return self._limits.seconds

    @property
    def _calls(self) -> int:
        return sum(run.calls for run in self.runs)

    def _has_enough(self, limits: Limits) -> bool:
        if self._suspect.is_rare and not any(map(self._is_rare_proof, self._suspect.counters)):
            return False
        return self._calls >= limits.most_runs or self._has_run_enough(limits)

    def _has_run_enough(self, limits: Limits) -> bool:
        """The least number of runs, for the least time; a part of it where there is little of that.

        Where the runs do not keep the same, only their trend tells: it takes all runs that there
        is time for.
        """
        if not self._is_even():
            return False
        least_s = min(limits.confirming_s, limits.seconds / 2)
        return self._calls >= limits.least_runs and self._spent.seconds >= least_s

    def _has_proof_at_the_end(self) -> bool:
        if self._suspect.is_rare:
            return True
        least_runs = self._limits.least_runs
        if not self._is_even():
            least_runs = max(least_runs, thresholds.UNEVEN_RUNS)
        return self._calls >= least_runs

    def _is_even(self) -> bool:
        """Whether every run keeps the same of something, or more than the one before."""
        known = [self._series(counter) for counter in self._suspect.counters]
        return any(is_even(series) or is_ever_more(series) for series in known)

    def _is_rare_proof(self, counter: int) -> bool:
        """Enough losses; of what comes in many of the runs the trend as well.

        A cache that fills with keys that come by chance is often one key short of the last.
        """
        series = self._series(counter)
        if events(series) < thresholds.RARE_PROOF:
            return False
        single = [kept for kept in series if kept.calls == 1]
        is_frequent = events(single) > thresholds.FREQUENT_SHARE * len(single)
        return not is_frequent or self._calls >= self._limits.most_runs

    def _next_chunk(self) -> None:
        """The next runs: first one by one, then ever more under one number."""
        part = max(self._chunk, self._calls // thresholds.STEPS_IN_ALL)
        self._chunk = min(part, self._affordable())
        spent = Spent()
        if self._add(self._chunk):
            self._chunk_before_s = self._chunk_s
            self._chunk_s = spent.seconds / self._chunk

    def _add(self, calls: int) -> bool:
        """So many runs under one number, unless there is no room for them."""
        try:
            self.runs.append(self._run(calls))
        except OutOfRoom as problem:
            self._stopped, self._short_of = str(problem), problem.counter
            return False
        if self._suspect.grown is not None:
            self._suspect.grown.note_runs()
        elif calls == 1:
            self._note_fresh(self.runs[-1])
        return True

    def _note_fresh(self, run: Run) -> None:
        for counter, fresh in self._fresh.items():
            amount = self._ledger.kept(run, counter)
            fresh[run.number] = Kept(1, amount.blocks, amount.size_bytes, amount.grown_bytes)

    def _added_itself(self, counter: int) -> PerRun | None:
        """What a run adds itself, where later runs have made all of it larger.

        As each of the streams does that a logger writes to: it does not depend on how many runs
        come after it. Where each run adds more than those before, what the first has added.
        """
        if counter not in self._fresh or self._suspect.is_rare:
            return None
        series, noted = self._series(counter), self._fresh[counter]
        if is_ever_more(series):
            return next((per_run([first], is_rare=False) for first in noted.values()), None)
        places = [at for at, run in enumerate(self.runs) if run.number in noted]
        places = places[-thresholds.LAST_RUNS - 1 : -1]
        fresh = [noted[self.runs[at].number] for at in places]
        now = [series[at] for at in places]
        return per_run(fresh, is_rare=False) if _are_written_on(fresh, now) else None

    def _affordable(self) -> int:
        """Runs that fit into the time of one chunk."""
        return max(1, int(thresholds.CHUNK_S / max(self._chunk_s, 1e-6)))

    def _open(self) -> frozenset[int]:
        """Suspected counters that no run has cleared."""
        found = set()
        for counter in self._suspect.counters:
            if self._answer(counter) is not Answer.NOTHING:
                found.add(counter)
        return frozenset(found)

    def _steady(self) -> dict[int, PerRun]:
        """Counters that leak: each part of the runs keeps as much."""
        found = {}
        for counter in self._suspect.counters:
            if self._answer(counter) is Answer.STEADY:
                found[counter] = per_run(self._series(counter), self._suspect.is_rare)
        return found

    def _proved(self) -> dict[int, PerRun]:
        """Those of them of which there have been enough losses."""
        steady = self._steady()
        if not self._suspect.is_rare:
            return steady
        return {counter: kept for counter, kept in steady.items() if self._is_rare_proof(counter)}

    def _is_scarce_proved(self) -> bool:
        """Few runs prove leaks of what is scarce; memory that is kept with it comes along."""
        for counter in RESOURCES:
            if counter in self._suspect.counters:
                series = self._series(counter)
                if events(series) >= thresholds.SCARCE_PROOF and self._is_kept(series):
                    return counter in self._steady()
        return False

    def _let_end(self) -> None:
        """Gives the threads, processes and tasks of the runs the time to end by themselves.

        With one more run each time: processes are often collected when the next one is started,
        and tasks end while their loop runs.
        """
        for _ in range(ENDING_RUNS):
            if not any(any(self._ledger.left(self.runs, counter)) for counter in TRANSIENT):
                return
            self._ledger.wait_for_ends(self.runs, PATIENCE_S / ENDING_RUNS)
            if not self._add(1):
                return
            self._add_totals()

    def _settle(self) -> None:
        """What may go is gone: threads, processes and tasks have ended, caches are empty."""
        self._let_end()
        self._ledger.empty_caches()
        self._known.clear()

    def _leak(self) -> Examination:
        """What of the steady counters is left when all that may be dropped has been dropped.

        What one run keeps is seen best in some last runs one by one: everything has settled by
        then.
        """
        steady = self._steady()
        is_scarce = any(counter in RESOURCES for counter in steady)
        if is_scarce or self._is_exhausted():
            return self._examination(steady)
        steady = self._proved()
        first_last = len(self.runs)
        if not self._suspect.is_rare:
            self._add_last_runs()
            if not all(is_steady(self._totals[counter].totals) for counter in steady):
                return self.examine()  # a cache has just become full
        self._settle()
        leaking = {}
        for counter in steady:
            series = self._series(counter)
            if has_lost_all(series[:-1], self._suspect.is_rare):
                continue  # it was a cache, or is not in every run
            if self._suspect.is_rare and self._answer(counter) is not Answer.STEADY:
                continue  # threads have kept it which have ended by now
            leaking[counter] = per_run(series, self._suspect.is_rare)
            last = series[first_last : first_last + thresholds.LAST_RUNS]
            if last and is_even(last):
                leaking[counter] = per_run(last, is_rare=False)
        return self._examination(leaking)

    def _add_last_runs(self) -> None:
        """Runs one by one, whose loss is exact, and some more after which it has settled.

        What is pruned now and then, such as a list of weak references, goes with those.
        """
        calls = self._calls
        for _ in range(thresholds.LAST_RUNS):
            if not self._add(1):
                return
        self._add_totals()
        affordable = int(self._limits.confirming_s / 2 / max(self._chunk_s, 1e-6))
        for _ in range(thresholds.SETTLING_STEPS):
            part = min(calls, affordable) // thresholds.SETTLING_STEPS
            if part > 0 and not self._add(part):
                return
            self._add_totals()

    def _is_kept(self, series: Iterable[Kept]) -> bool:
        return self._suspect.is_rare or all(not kept.is_nothing for kept in series)

    def _is_exhausted(self) -> bool:
        """Going on would break the process."""
        return self._kept_bytes() > thresholds.MEMORY_LIMIT_BYTES or bool(self._stopped)

    def _kept_bytes(self) -> int:
        kept_bytes = 0
        for counter in self._suspect.counters:
            kept_bytes += sum(kept.size_bytes for kept in self._series(counter))
        return kept_bytes

    def _at_the_end(self) -> Examination:
        """The answer from the runs there were, when there can be no more."""
        has_no_more = self._is_exhausted() or self._is_ever_slower()
        self._settle()
        if not self._open():
            return self._examination({})
        exhausting = self._all_even(in_blocks=True) if has_no_more else {}
        if exhausting and self._short_of in (None, *exhausting):
            is_large = self._kept_bytes() > thresholds.MEMORY_LIMIT_BYTES
            return replace(self._examination(exhausting), is_exhausting=is_large)
        proved = self._proved()
        if proved and self._has_proof_at_the_end():
            return self._examination(proved)
        names = ", ".join(COUNTERS[at].metric.replace("_", " ") for at in sorted(self._open()))
        time = f"{self._spent.seconds:.1f} s"
        why = f"{names}: kept by {self._calls:,} runs in {time}, which is no proof"
        advice = "give it more time with @pytest.mark.leakguard(confirm=SECONDS)"
        likely = {} if self._suspect.is_rare else self._all_even()
        return self._examination(likely, f"{why}; {self._stopped or advice}")

    def _is_ever_slower(self) -> bool:
        """The last runs took longer than those before, and a large part of all the time.

        They go through what they have piled up: there will never be the time for more of them.
        """
        is_slower = self._chunk_s > thresholds.EVER_SLOWER * self._chunk_before_s > 0
        last_s = self._chunk_s * self.runs[-1].calls
        return is_slower and last_s > thresholds.SLOWEST_SHARE * self._spent.seconds

    def _all_even(self, in_blocks: bool = False) -> dict[int, PerRun]:
        """Counters of which every run, one by one, has kept the same, or something that is scarce.

        ``in_blocks``: as many blocks, whose sizes may differ, as those of instances' tables do.
        """
        found = {}
        if len(self.runs) >= thresholds.EXHAUSTING_RUNS:
            for counter in self._suspect.counters:
                series = self._series(counter)
                is_kept = all(not kept.is_nothing for kept in series)
                is_same = is_even(series) or (in_blocks and _has_even_blocks(series))
                if is_kept and (counter in RESOURCES or is_same):
                    found[counter] = per_run(series, is_rare=False)
        return found

    def _series(self, counter: int) -> tuple[Kept, ...]:
        """What each run has kept by now; looked up once until there are new runs."""
        if counter not in self._known:
            self._known[counter] = self._read_series(counter)
        return self._known[counter]

    def _read_series(self, counter: int) -> tuple[Kept, ...]:
        if self._suspect.grown is not None:
            return self._growth_of_tables(self._suspect.grown.sizes_bytes)
        if counter not in MEMORY:
            counts = self._ledger.left(self.runs, counter)
            kept = zip(self.runs, counts, strict=True)
            return tuple(Kept(run.calls, count, 0) for run, count in kept)
        found = []
        for run in self.runs:
            amount = self._ledger.kept(run, counter)
            found.append(Kept(run.calls, amount.blocks, amount.size_bytes, amount.grown_bytes))
        return tuple(found)

    def _growth_of_tables(self, sizes_bytes: list[int]) -> tuple[Kept, ...]:
        """What each run has added to the items of older containers."""
        found = []
        for run, (before, after) in zip(self.runs, pairwise(sizes_bytes), strict=True):
            found.append(Kept(run.calls, 0, 0, after - before))
        return tuple(found)

    def _history(self, counter: int) -> _Totals:
        """What all runs together had kept after each of the runs of a suspect."""
        found = _Totals()
        series = self._series(counter)
        grown = self._suspect.grown
        if grown is None and is_growth(series):
            return found  # how large older blocks were is known only now
        calls = weight = grown_bytes = 0
        for at, kept in enumerate(series[:-1], start=1):
            calls += kept.calls
            weight += kept.blocks
            grown_bytes += kept.grown_bytes
            found.add(calls, weight if grown is None else grown.sizes_bytes[at], grown_bytes)
        return found

    def _examination(self, leaking: dict[int, PerRun], undecided: str = "") -> Examination:
        is_written_on = False
        for counter, kept in leaking.items():
            added = self._added_itself(counter)
            if added is not None and added.size_bytes < kept.size_bytes:
                leaking[counter] = added
                is_written_on |= not is_ever_more(self._series(counter))
        leaking = _growth_as_bytes(leaking)
        series = {counter: self._series(counter) for counter in self._suspect.counters}
        old_run = self._old_run(leaking)
        leaking = self._as_unwatched(leaking, old_run)
        still_open = {}
        if undecided and not self._suspect.is_rare:
            still_open = {at: per_run(self._series(at), is_rare=False) for at in self._open()}
        return Examination(
            series,
            leaking,
            undecided,
            still_open,
            self._calls,
            self._spent.seconds,
            self._suspect.is_rare,
            old_run if leaking else self._old_run(still_open),
            self._share(leaking),
            is_written_on=is_written_on,
        )

    def _as_unwatched(
        self, leaking: dict[int, PerRun], old_run: tuple[int | None, int]
    ) -> dict[int, PerRun]:
        """Without what the interpreter adds to code that has been made while others watch it."""
        number, calls = old_run
        kept = leaking.get(BLOCKS)
        if number is None or kept is None or not kept.is_exact:
            return leaking
        added = self._ledger.watching_of(number)
        blocks, size_bytes = (
            kept.blocks - added.blocks / calls,
            kept.size_bytes - added.size_bytes / calls,
        )
        is_part = added.blocks and blocks > 0 and size_bytes > 0
        return {**leaking, BLOCKS: PerRun(blocks, size_bytes, True)} if is_part else leaking

    def _old_run(self, leaking: dict[int, PerRun]) -> tuple[int | None, int]:
        """The oldest run that has kept just what one loses, or else any that has kept something.

        None where nothing of a run stays, and what it has made larger is what is lost. A block in
        which CPython 3.14 has left one of its integers for us would be taken for what is lost.
        """
        if self._suspect.grown is not None:
            return None, 1
        has_objects = BLOCKS in leaking or (leaking and BLOCKS in self._suspect.counters)
        counter = BLOCKS if has_objects else next(iter(leaking), None)
        if counter not in MEMORY:
            return None, 1
        exact = leaking.get(counter) or per_run(self._series(counter), self._suspect.is_rare)
        candidates = []
        for run in self.runs[1:-1]:
            amount = self._ledger.kept(run, counter)
            if amount.blocks > 0:
                is_typical = (amount.blocks, amount.size_bytes) == (exact.blocks, exact.size_bytes)
                candidates.append((not is_typical, run.calls, run.number))
        if not candidates:
            return None, 1
        _, calls, number = min(candidates)
        return number, calls

    def _share(self, leaking: dict[int, PerRun]) -> float:
        """Of the calls, so many lose something: what all have lost, as a part of what one loses."""
        if not self._suspect.is_rare or not leaking or leaking.keys().isdisjoint(self._totals):
            return 1.0
        shares = []
        for counter, kept in leaking.items():
            if counter not in self._totals:
                continue
            single = [entry for entry in self._series(counter) if entry.calls == 1]
            of_one = max((entry.blocks for entry in single), default=0)
            if of_one > 0:
                shares.append(kept.blocks / of_one)
            else:
                shares.append(events(self._series(counter)) / self._calls)
        return min(1.0, max(shares))


def _are_written_on(fresh: Sequence[Kept], now: Sequence[Kept]) -> bool:
    """Whether runs that had all kept the same when they ended keep no fewer blocks, but larger."""
    if not fresh or not is_even(fresh):
        return False
    pairs = zip(fresh, now, strict=True)
    return all(old.blocks == new.blocks and old.size_bytes <= new.size_bytes for old, new in pairs)


def _has_even_blocks(series: Sequence[Kept]) -> bool:
    return len({kept.blocks / kept.calls for kept in series[1:-1]}) == 1 and series[1].blocks > 0


def _growth_as_bytes(leaking: dict[int, PerRun]) -> dict[int, PerRun]:
    """A buffer of Python's that only grows has no blocks to count: it is growth in bytes."""
    found = {}
    for counter, kept in leaking.items():
        is_growth = counter == BLOCKS and kept.blocks < LEAST_BLOCKS
        found[HEAP if is_growth else counter] = kept
    if HEAP in leaking:
        found[HEAP] = leaking[HEAP]
    return found


LEAST_BLOCKS = 5e-4
"""Blocks per run below which it is the growth of a buffer: a leak of blocks has a dozen in at most
20,000 runs."""
