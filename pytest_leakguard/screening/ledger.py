"""Numbers the runs of a unit and says what each has left behind, now. Judges nothing."""

from __future__ import annotations

import itertools
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pytest_leakguard.core.collector import Collector
from pytest_leakguard.counters import originals
from pytest_leakguard.counters._cpython import cache_clearer, offset_of_watching
from pytest_leakguard.counters.reader import (
    BLOCKS,
    CHILDREN,
    COUNTERS,
    HEAP,
    MAPPED,
    THREADS,
    Reader,
)
from pytest_leakguard.counters.transients import TRANSIENT, is_running, wait_until
from pytest_leakguard.screening.gc_freeze import collect, thawed
from pytest_leakguard.tracker.containers import (
    NO_CONTAINERS,
    grown_containers,
    may_have_tables,
)
from pytest_leakguard.tracker.lost_stacks import LOSES, has_only_lost_stacks, loss_in_words
from pytest_leakguard.tracker.objects import beside_code, kept_by_interpreter, plain_object
from pytest_leakguard.tracker.tracker import (
    LARGEST_RUN,
    OLD_RUN,
    Amount,
    Domain,
    NativeState,
    Threads,
    Tracker,
)

MEMORY = {BLOCKS: Domain.PYTHON, HEAP: Domain.NATIVE, MAPPED: Domain.MAPPING}
"""Counters of memory, with the domain of blocks that each counts."""
RESOURCES = tuple(at for at, counter in enumerate(COUNTERS) if counter.is_resource)
"""Counters of what is counted one by one."""
_DOMAINS = tuple(MEMORY.values())
HAS_IMMORTAL = sys.version_info >= (3, 12)
"""The interpreter never frees what it has interned for good."""
_WIDTH = len(COUNTERS)
_numbers = itertools.count()


class _Spare:
    """The slice that the interpreter keeps for the next that is made, whatever is collected.

    Taken away before a run, so that one the run makes is allocated, and put in the place of one
    that the run has used and dropped, so that this is freed.
    """

    __slots__ = ("_given",)

    def __init__(self) -> None:
        self._given: object = None

    def take(self) -> None:
        """The next slice is a new one."""
        self[0:0]

    def give_back(self) -> None:
        """The interpreter keeps ours again."""
        ours = self._given
        self[0:0]  # takes the run's
        ours = None  # noqa: F841  # which puts ours in its place
        self._given = None  # and frees the run's

    def __getitem__(self, key: slice) -> None:
        self._given = key  # making one by its name would leave a tuple behind


@dataclass(frozen=True, slots=True)
class Run:
    """One or several calls of the unit under one number."""

    number: int
    """By which the tracker knows its blocks."""
    calls: int
    rises: Sequence[float]
    """By how much each counter of ``RESOURCES`` rose, in the order of ``COUNTERS``; 0 for
    memory."""


class Ledger:
    """The runs of one process. A run is begun, armed around the unit's own code, and ended.

    What is remembered of a run is in arrays and sets, of which the interpreter has no free lists: a
    tuple or dict of ours could be one that a thread of the run has dropped after its end, and would
    keep its block alive.
    """

    def __init__(self, tracker: Tracker, reader: Reader) -> None:
        self.tracker, self.reader = tracker, reader
        reader.memory = self.memory_now
        self._rows = array("d", bytes(8 * _WIDTH * 2))
        self._number = 0
        self._old_blocks = 0
        self._collects = True
        self._forget_names = cache_clearer()
        self._interned: dict[int, array[int]] = {}
        self._begins: dict[int, array[int]] = {}
        """By run, what older blocks had grown by outside runs when it began."""
        self._following: dict[int, array[int]] = {}
        """By run, the same when the next one began."""
        self._present: dict[int, frozenset[Any]] = {}
        """By counter of what may end by itself, what there was when the last run began."""
        self._left: dict[int, dict[int, frozenset[Any]]] = {at: {} for at in TRANSIENT}
        """By counter and run, what it has left of that."""
        self.counts_interned = False
        """Strings that the interpreter has interned for good are counted as well."""
        self.counts_others = True
        """Blocks count whichever thread has allocated them, not those of the run's own alone."""
        self.followed = NO_CONTAINERS
        """Containers that the current unit may make longer with every run."""
        self._has_native: set[int] = set()
        """Runs with native memory that CPython has not lost itself."""
        self._lost_bytes = 0.0
        self._spare = _Spare()
        self._is_displaced = self._is_python_displaced = self._is_to_repair = False
        self.has_touched_old = False
        """The last run has resized blocks that are older than all runs, whose size was not
        known."""
        for _ in range(3):  # reading leaves a little behind itself the first times
            reader.read(self._rows, 0)

    def begin(self) -> None:
        """From now on what is armed belongs to a new run. Whatever there is should be frozen."""
        if self._is_to_repair:
            self._is_to_repair = False
            self.tracker.repair_python()
        self._old_blocks, old_growth = self._old()
        if self._number in self._begins:
            self._following[self._number] = old_growth
        self._number = 1 + next(_numbers) % (LARGEST_RUN - 1)
        self._begins[self._number] = old_growth
        self.reader.read(self._rows, 0)
        for counter in TRANSIENT:
            self._present[counter] = self._there_now(counter, self._rows[counter])

    def begin_unjudged(self) -> int:
        """The number of a run that only explains: its blocks are looked at, but not counted."""
        self.begin()
        return self._number

    @contextmanager
    def uncollected(self) -> Iterator[None]:
        """While this lasts, no garbage is collected between the phases of a run.

        Free lists are emptied all the same. So it is where nothing is frozen, as after a test that
        collects on purpose: a collection would take long.
        """
        self._collects = False
        try:
            yield
        finally:
            self._collects = True

    def arm(self) -> None:
        """The unit's own code follows.

        It must not get blocks from free lists that somebody else has filled: nothing that makes
        an object comes between the collection and the tracker.
        """
        self._empty()
        if self.followed is not NO_CONTAINERS:
            self.followed.arm()
            self._empty()
        self._spare.take()
        self.tracker.arm(self._number)

    def disarm(self) -> None:
        """Somebody else's code follows.

        Free lists are emptied, or it would use the unit's blocks.
        """
        self._disarm()
        self._empty()

    def _empty(self) -> None:
        if self._collects and Collector.is_frozen:
            collect()
        else:
            Collector.empty_free_lists()

    def _disarm(self) -> None:
        """Notes whether another tool has put back the functions from before ours meanwhile."""
        if not self.tracker.sees_python():
            self._is_python_displaced = self._is_to_repair = True
        self.tracker.disarm()
        self._spare.give_back()
        self.followed.disarm()
        if self.tracker.native_state is NativeState.DISPLACED:
            self._is_displaced = True

    def take_python_displaced(self) -> bool:
        """Whether Python's blocks were not seen in a run since the last call."""
        found, self._is_python_displaced = self._is_python_displaced, False
        return found

    def take_displaced(self) -> bool:
        """Whether native memory was not seen in a run since the last call."""
        found, self._is_displaced = self._is_displaced, False
        return found

    def end(self, calls: int = 1) -> Run:
        """The run is over, its garbage is collected.

        The interpreter's attribute cache keeps the last name that was looked up in each of its
        places.
        """
        self.tracker.disarm()
        self.reader.forget_what_is_gone()  # before: what it frees must not be the run's
        collect()
        if not self.tracker.keeps_nothing(self._number) and self._has_objects():
            self._forget_names()
            collect()
        self.read_again()
        self.has_touched_old = self._old()[0] > self._old_blocks
        return self._run(calls)

    def _has_objects(self) -> bool:
        return self.tracker.live(self._number, Domain.PYTHON).blocks > 0

    def read_again(self) -> None:
        """Counts what is scarce once more, for what ends by itself a little later.

        Threads, processes and tasks are told apart: those of earlier runs that have ended meanwhile
        would otherwise hide what this run has left.
        """
        self.reader.read(self._rows, 1)
        for counter in TRANSIENT:
            there = self._there_now(counter, self._rows[_WIDTH + counter])
            if there and not there <= self._present[counter]:
                self._left[counter][self._number] = there - self._present[counter]
            else:
                self._left[counter].pop(self._number, None)

    def _there_now(self, counter: int, count: float) -> frozenset[Any]:
        """What tells them apart."""
        return self.reader.things(counter) if count else frozenset()

    def left(self, runs: Iterable[Run], counter: int) -> list[int]:
        """How many of a counter of ``RESOURCES`` each run has left.

        Of threads, processes and tasks those that are still there now.
        """
        if counter not in TRANSIENT:
            return [int(run.rises[counter]) for run in runs]
        of_runs = [self._left[counter].get(run.number, frozenset()) for run in runs]
        now = self.reader.things(counter) if any(of_runs) else frozenset()
        return [len(of_run & now) for of_run in of_runs]

    def wait_for_ends(self, runs: Iterable[Run], patience_s: float) -> bool:
        """Waits for the threads, processes and tasks of these runs, and says whether all ended.

        A process that has ended may still wait to be collected.
        """
        return wait_until(lambda: not self._are_running(runs), patience_s)

    def _are_running(self, runs: Iterable[Run]) -> bool:
        for counter in TRANSIENT:
            of_runs = [self._left[counter].get(run.number, frozenset()) for run in runs]
            of_all = frozenset().union(*of_runs)
            if counter == CHILDREN and any(is_running(pid) for pid in of_all):
                return True
            if counter != CHILDREN and of_all and of_all & self.reader.things(counter):
                return True
        return False

    def memory_now(self) -> tuple[int, int]:
        """Native and mapped bytes that the current run has now, growth of older blocks included."""
        native = self.tracker.live(self._number, Domain.NATIVE)
        mapped = self.tracker.live(self._number, Domain.MAPPING)
        return native.size_bytes + native.grown_bytes, mapped.size_bytes + mapped.grown_bytes

    @property
    def threads_before(self) -> int:
        """Threads that there were when the last run began."""
        return int(self._rows[THREADS])

    @property
    def has_older_threads(self) -> bool:
        """Whether threads that were there before the last run may have allocated in it."""
        return self.threads_before > 1

    def rise(self, counter: int) -> float:
        """By how much the last run has raised a counter of ``RESOURCES``."""
        return self._rows[_WIDTH + counter] - self._rows[counter]

    def bytes_of_last(self) -> int:
        """Bytes that the last run keeps."""
        return sum(self.tracker.live(self._number, domain).size_bytes for domain in MEMORY.values())

    def bytes_of_all(self) -> int:
        """The same of all runs since the last were forgotten; slow after thousands of runs."""
        kept_bytes = 0
        for domain in MEMORY.values():
            for number in self._begins:
                kept_bytes += self.tracker.live(number, domain).size_bytes
        return kept_bytes

    def abandon(self) -> None:
        """The run that was begun is none: it did not come to its end."""
        self.tracker.disarm()
        self.tracker.forget(self._number)
        self._begins.pop(self._number, None)
        self._forget_left(self._number)

    def again(self, run: Run) -> Run:
        """``run`` with what is scarce counted now."""
        self.read_again()
        return self._run(run.calls)

    def run(self, work: Callable[[], object], calls: int = 1) -> Run:
        """One run: so many calls of ``work``, armed from beginning to end.

        What it raises is the caller's.
        """
        self.begin()
        self.arm()
        try:
            for _ in range(calls):
                work()
        finally:
            self._disarm()
        return self.end(calls)

    def kept(self, run: Run, counter: int) -> Amount:
        """What of a run is alive now, of one counter of ``MEMORY``."""
        domain = MEMORY[counter]
        threads = Threads.ALL if self.counts_others else Threads.OWN
        live = self.tracker.live(run.number, domain, threads)
        if LOSES and domain is Domain.NATIVE and live.blocks and self._is_lost(run):
            self._lost_bytes = live.size_bytes / run.calls
            live = Amount(0, 0, live.grown_bytes)
        amount = self._with_growth_between(run, domain, live)
        if (
            domain is not Domain.PYTHON
            or not amount.blocks
            or not HAS_IMMORTAL
            or self.counts_interned
        ):
            return amount
        blocks, size_bytes = self._interned_of(run.number)
        return Amount(amount.blocks - blocks, amount.size_bytes - size_bytes, amount.grown_bytes)

    def _is_lost(self, run: Run) -> bool:
        if run.number not in self._has_native:
            if has_only_lost_stacks(self.tracker, run.number):
                return True
            self._has_native.add(run.number)
        return False

    def take_loss(self) -> str:
        """What CPython itself has lost in a run since the last call, in words; empty without."""
        found, self._lost_bytes = self._lost_bytes, 0.0
        return loss_in_words(found) if found else ""

    def _with_growth_between(self, run: Run, domain: Domain, amount: Amount) -> Amount:
        """What an older block loses again until the next run, outside the unit, is no growth.

        The C library's table of the environment is one: pytest sets a variable before each phase.
        """
        if amount.grown_bytes <= 0 or run.number not in self._begins:
            return amount
        at = _DOMAINS.index(domain)
        following = self._following.get(run.number) or self._old()[1]
        between = following[at] - self._begins[run.number][at]
        return Amount(amount.blocks, amount.size_bytes, amount.grown_bytes + min(0, between))

    def all_bytes(self, counter: int) -> int:
        """Bytes of all blocks that are known: of runs that are not forgotten, and older ones.

        Without what the interpreter keeps for good, unless that is counted.
        """
        domain = MEMORY[counter]
        numbers = (OLD_RUN, *self._begins)
        all_bytes = sum(self.tracker.live(number, domain).size_bytes for number in numbers)
        if domain is Domain.PYTHON and HAS_IMMORTAL and not self.counts_interned:
            all_bytes -= sum(self._interned_of(number)[1] for number in self._begins)
        return all_bytes

    def has_kept(self, run: Run, counter: int) -> bool:
        """Whether anything of a run is alive now, or an older block has grown in it."""
        if self.tracker.keeps_nothing(run.number):
            return False
        amount = self.kept(run, counter)
        return amount.blocks > 0 or amount.grown_bytes > 0

    def has_interned(self, run: Run) -> bool:
        """Whether a run has had strings interned for good that were not there before."""
        return HAS_IMMORTAL and self._interned_of(run.number)[0] > 0

    def watching_of(self, number: int) -> Amount:
        """What a run's code has got since somebody has watched the process, as a debugger does.

        Whether it has depends on what other tests have done before.
        """
        offset_bytes = offset_of_watching()
        blocks = beside_code(self.tracker, number, offset_bytes) if offset_bytes else []
        return Amount(len(blocks), sum(block.size_bytes for block in blocks), 0)

    def interned_by(self, run: Run) -> list[str]:
        """The strings of a run that the interpreter keeps for good."""
        blocks = kept_by_interpreter(self.tracker, run.number)
        found = [plain_object(self.tracker, block) for block in blocks]
        return [string for string in found if type(string) is str]

    def grown_by(self, run: Run) -> list[Any]:
        """Older containers of Python's to which a run, the last one, has given a larger table."""
        if not self.has_touched_old and (
            self.tracker.keeps_nothing(run.number) or not may_have_tables(self.tracker, run.number)
        ):
            return []
        with thawed():  # what is frozen is not found
            return grown_containers(self.tracker, run.number, self.has_touched_old)

    def buffers(self) -> list[Any]:
        """All bytearrays, arrays and streams in memory; takes a pass over the heap."""
        with thawed(), originals.in_place():
            from pytest_leakguard.explain.buffers import all_buffers

            return all_buffers()

    def empty_caches(self) -> None:
        """What caches kept that may drop it at any time is there no longer."""
        self.reader.empty_caches()
        collect()

    def forget(self, *runs: Run) -> None:
        """Their blocks are followed no longer."""
        for run in runs:
            self.tracker.forget(run.number)
            for arrays in (self._interned, self._begins, self._following):
                arrays.pop(run.number, None)
            self._has_native.discard(run.number)
            self._forget_left(run.number)

    def _forget_left(self, number: int) -> None:
        for left in self._left.values():
            left.pop(number, None)

    def _run(self, calls: int) -> Run:
        rises = array("d", bytes(8 * _WIDTH))
        for at in RESOURCES:
            if at in TRANSIENT:
                rises[at] = len(self._left[at].get(self._number, ()))
            else:
                rises[at] = self.rise(at)
        return Run(self._number, calls, rises)

    def _old(self) -> tuple[int, array[int]]:
        """Blocks that are older than all runs and were resized, and their growth outside runs."""
        blocks, grown = self.tracker.blocks_and_growth(OLD_RUN)
        growth = array("q", [grown[domain] for domain in _DOMAINS])
        return blocks[Domain.PYTHON] + blocks[Domain.NATIVE], growth

    def _interned_of(self, number: int) -> array[int]:
        """Blocks and bytes of a run that the interpreter keeps for good; looked up once."""
        if number not in self._interned:
            blocks = kept_by_interpreter(self.tracker, number)
            size_bytes = sum(block.size_bytes for block in blocks)
            self._interned[number] = array("q", [len(blocks), size_bytes])
        return self._interned[number]
