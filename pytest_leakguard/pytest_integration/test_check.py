"""The check of one test: its first run, a quick check, the confirmation, the explanation.

How much of it there is time for depends on what the suite's own tests take.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.clock import Clock, Spent
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.counters import caches
from pytest_leakguard.counters.originals import Original
from pytest_leakguard.counters.reader import BLOCKS, HEAP, MAPPED, Reader
from pytest_leakguard.counters.tempfiles import temporary_files
from pytest_leakguard.explain.interned_strings import interns_new_strings
from pytest_leakguard.pytest_integration._pytest_internals import temporary_directories
from pytest_leakguard.pytest_integration.arming import Arming
from pytest_leakguard.pytest_integration.isolation import RUNNER_CACHES, undisturbed
from pytest_leakguard.pytest_integration.loading import load_while_there_is_room
from pytest_leakguard.pytest_integration.naming import reproducing
from pytest_leakguard.pytest_integration.rerun import (
    NotRepeatable,
    Repeater,
    TooSlow,
    empty_handlers,
)
from pytest_leakguard.screening import thresholds
from pytest_leakguard.screening.confirmation import Confirmation, Examination, Limits
from pytest_leakguard.screening.findings import check_of, within_budget
from pytest_leakguard.screening.gc_freeze import SetAside, collect
from pytest_leakguard.screening.instruments import (
    DISPLACED,
    PYTHON_DISPLACED,
    instruments,
    qualified,
    with_note,
)
from pytest_leakguard.screening.known_causes import Causes
from pytest_leakguard.screening.ledger import Ledger, Run
from pytest_leakguard.screening.process_state import ProcessState
from pytest_leakguard.screening.quick_check import (
    EVERYTHING,
    QuickCheck,
    Suspect,
    raised_by,
    settled,
    text_of,
)
from pytest_leakguard.screening.room import EXPLAINING_RUNS, OutOfRoom, Room
from pytest_leakguard.screening.users_containers import UsersContainers, united
from pytest_leakguard.tracker.containers import NO_CONTAINERS, Lengths

if TYPE_CHECKING:
    from pytest_leakguard.pytest_integration.session import Session


INTERNED = "it has new strings interned, which this interpreter never frees"


class Stages:
    """Takes one test after another through as many stages as it needs."""

    def __init__(self, session: Session, arming: Arming) -> None:
        self._session, self._arming = session, arming
        self.tests = 0
        """In the whole suite."""
        self._aside = SetAside()
        self._pid = Original.getpid()
        self._filters: list[Any] = []
        self._causes = Causes()
        self._first: Run | None = None
        """The first run of the current test."""
        self._raised: frozenset[int] = frozenset()
        """Counters that it has raised."""
        self._is_patient = False
        self._users_containers = UsersContainers()
        self._grown: list[Any] = []
        """Older containers that it has made longer."""
        self._tests_s = self._confirming_s = self._spare_s = self._first_s = 0.0
        self._suspects = 0
        self._progress = session.progress
        self._instruments = instruments(session.settings.native != "off")
        self.problem = self._instruments.problem
        """Why nothing can be screened; empty when it can."""
        self._ledger = self._made_ledger()

    def begin_in_child(self) -> int:
        """A process was made for one test, and is the one that tracks from now on; its id."""
        if self._ledger is not None:
            self._ledger.tracker.reset()
        self._pid = Original.getpid()
        return self._pid

    @contextmanager
    def own_run(self, item: pytest.Item) -> Iterator[None]:
        """Around the run that pytest would make."""
        self._filters = list(warnings.filters)
        self._first = None
        self._grown.clear()
        if self._ledger is None:
            yield
            return
        began_s = Clock.elapsed_s()
        self._ledger.take_loss()  # of a test that was not checked, since it failed
        caches.note()
        with self._frozen(item, self._ledger):
            lengths = self._users_containers.lengths()
            spent = Spent()
            own_s = Clock.elapsed_s()
            try:
                with self._arming.around(item, self._ledger):
                    yield
            finally:
                began_s += Clock.elapsed_s() - own_s
                self._aside.hush()
                self._first_s = spent.seconds
                self._tests_s += spent.seconds
                if Original.getpid() == self._pid:  # otherwise a child that the test has forked
                    self._after_own_run(item, self._ledger, lengths)
                # later runs, in which nobody else measures, can tell
                if self._ledger.take_displaced() and self._instruments.sees_native:
                    self._raised |= {HEAP, MAPPED}
                if self._ledger.take_python_displaced():
                    self._raised |= {BLOCKS}
        self._session.spent_s += Clock.elapsed_s() - began_s

    @contextmanager
    def _frozen(self, item: pytest.Item, ledger: Ledger) -> Iterator[None]:
        self._aside.begin()
        try:
            ledger.begin()
            self._aside.listen()
            yield
        finally:
            self._aside.end()

    def _after_own_run(self, item: pytest.Item, ledger: Ledger, lengths: Lengths) -> None:
        collect()  # or we and the handlers would take what the test has put into free lists
        empty_handlers(item)
        self._aside.freeze_again()  # where the test has collected, one long collection is enough
        lengths.note_run()
        self._note_first(ledger, lengths.containers)
        load_while_there_is_room()

    def _note_first(self, ledger: Ledger, longer: list[Any]) -> None:
        self._first = settled(ledger, ledger.end())
        self._raised = raised_by(ledger, self._first)
        if self._raised:  # a cache of the library that fills is no reason to run the test again
            ledger.empty_caches()
            self._raised = raised_by(ledger, self._first)
            caches.fill_again()
        self._grown = united(longer, ledger.grown_by(self._first))
        self._is_patient = ledger.has_touched_old and not self._grown

    def cleared_by_own_run(self, item: pytest.Item) -> Check | None:
        """A check when the test's first run has left nothing and rare leaks are not looked for."""
        if self._ledger is None:
            return replace(blank_check(item), problems=(self.problem,))
        if self._first is None or self._raised or self._is_patient or self._grown:
            return None
        if self._spare_of(item) > 0 or _iterations(item) is not None:
            return None
        return self.qualified(blank_check(item))

    def qualified(self, check: Check) -> Check:
        """``check``, which is inconclusive where one of its counters did not see."""
        if self._ledger is None:
            return check
        unseen = [*self._instruments.blind, *self._ledger.reader.take_unread()]
        if self._ledger.take_displaced() and self._instruments.sees_native:
            unseen.append(DISPLACED)
        if self._ledger.take_python_displaced():
            unseen.append(PYTHON_DISPLACED)
        return qualified(with_note(check, self._ledger.take_loss()), *unseen)

    def check(self, item: pytest.Item) -> Check:
        """What repeating the test says of it."""
        began = Clock.elapsed_s()
        assert self._ledger is not None
        state = ProcessState()
        self._room = Room(self._ledger)

        def prepare() -> None:
            state.enter_directory()
            self._aside.listen()

        repeater = Repeater(item, self._filters, prepare, self._aside.hush)
        repeater.expect(self._first_s)
        try:
            with repeater.limited(), undisturbed(item):
                self._aside.begin()
                check = self._check(item, repeater, self._ledger)
        except NotRepeatable as problem:
            check = replace(blank_check(item), not_repeatable=str(problem))
        finally:
            self._aside.end()
            repeater.restore()
            changed = state.restore()
            self._progress("")
        notes = [f"not as before its repeated runs: {name}" for name in changed]
        duration_s = Clock.elapsed_s() - began
        self._session.spent_s += duration_s
        return self.qualified(replace(check, duration_s=duration_s, notes=(*check.notes, *notes)))

    def _check(self, item: pytest.Item, repeater: Repeater, ledger: Ledger) -> Check:
        def run(calls: int = 1) -> Run:
            return self._run(item, repeater, ledger, calls)

        first = (self._first,) if self._first is not None else ()
        quick = QuickCheck(ledger, run, first)
        before = self._causes.lengths()
        raised = self._raised if self._first is not None else EVERYTHING
        try:
            spare_s = self._spare_of(item)
            suspect = quick.check(raised, self._is_patient, spare_s, self._grown)
            self._spare_s += spare_s
            if quick.stopped:
                return self._stopped(item, repeater, ledger, suspect, quick, run)
            wanted = _iterations(item)
            if suspect is None and wanted is not None:
                suspect = self._as_marked(quick, run, wanted, ledger)
            if suspect is None or suspect.grown is not None:  # what it holds may stay for good too
                suspect = self._interning(quick, repeater, ledger) or quick.continued(suspect)
            if suspect is None:
                return blank_check(item)
            return self._suspected(item, repeater, ledger, suspect, run, before)
        except OutOfRoom as problem:  # while it was looked for what is not in every run
            return replace(blank_check(item), notes=(f"repeated no further: {problem}",))
        finally:
            ledger.counts_interned = False
            ledger.counts_others = True
            ledger.followed = NO_CONTAINERS
            ledger.forget(*first, *quick.runs)

    def _stopped(
        self,
        item: pytest.Item,
        repeater: Repeater,
        ledger: Ledger,
        suspect: Suspect | None,
        quick: QuickCheck,
        run: Callable[[int], Run],
    ) -> Check:
        """The answer of the few runs that there was room for."""
        if suspect is None:
            return replace(blank_check(item), notes=(f"repeated no further: {quick.stopped}",))
        if quick.runs:
            settings = self._session.settings_of(item)
            return self._confirmed(item, repeater, ledger, suspect, run, settings)
        if repeater.is_too_slow:
            raise NotRepeatable(quick.stopped)
        text = f"suspect after its own run, which could not be repeated: {quick.stopped}"
        return replace(blank_check(item), problems=(text,))

    def _as_marked(
        self, quick: QuickCheck, run: Callable[[int], Run], wanted: int, ledger: Ledger
    ) -> Suspect | None:
        """As many runs as the marker asks for, each looked at."""
        from pytest_leakguard.screening.quick_check import rare_counters

        while len(quick.runs) < wanted:
            quick.runs.append(run(1))
        counters = rare_counters(ledger, quick.runs[thresholds.FIRST_RUNS :])
        return Suspect(counters, tuple(quick.runs), is_rare=True) if counters else None

    def _interning(self, quick: QuickCheck, repeater: Repeater, ledger: Ledger) -> Suspect | None:
        """A suspect when the user's or a package's code has new strings interned in each run."""
        if len(quick.runs) < 1 or not all(map(ledger.has_interned, quick.runs)):
            return None
        while len(quick.runs) < thresholds.SUSPECT_AFTER:
            quick.runs.append(quick.run_again())
            if not ledger.has_interned(quick.runs[-1]):
                return None

        def traced_run() -> list[str]:
            quick.runs.append(quick.run_again())
            return ledger.interned_by(quick.runs[-1])

        if not interns_new_strings(repeater.run, traced_run):
            return None
        ledger.counts_interned = True
        return Suspect(frozenset({0}), tuple(quick.runs))

    def _suspected(
        self,
        item: pytest.Item,
        repeater: Repeater,
        ledger: Ledger,
        suspect: Suspect,
        run: Callable[[int], Run],
        before: tuple[int, ...],
    ) -> Check:
        settings = self._session.settings_of(item)
        known = self._causes.behind(suspect, ledger, before, repeater.run_around)
        if known is not None:
            finding, growth = known
            blank = replace(blank_check(item), growth=growth)
            return within_budget(
                blank, replace(finding, checks=(item.nodeid,)), settings.budget_bytes
            )
        self._suspects += 1
        each_s = thresholds.CONFIRMATION_S * self._suspects
        if self._confirming_s > max(thresholds.CONFIRMATIONS_S + each_s, self._tests_s):
            return _unconfirmed(blank_check(item), text_of(ledger, suspect))
        began_s = Clock.cpu_s()
        try:
            return self._confirmed(item, repeater, ledger, suspect, run, settings)
        finally:
            self._confirming_s += Clock.cpu_s() - began_s

    def _confirmed(
        self,
        item: pytest.Item,
        repeater: Repeater,
        ledger: Ledger,
        suspect: Suspect,
        run: Callable[[int], Run],
        settings: Settings,
    ) -> Check:
        text = f"confirming {item.nodeid} ({text_of(ledger, suspect)})"
        self._progress(text)

        def show(runs: int) -> None:
            self._progress(f"{text}, {runs:,} runs so far")

        limits = Limits(settings.confirm_s)
        confirmation = Confirmation(ledger, run, suspect, limits, show)
        examination = confirmation.examine()
        self._progress(f"explaining {item.nodeid}")
        self._aside.end()  # what is new is told from what is frozen, so the test must not thaw it

        repeater.expect(self._first_s, is_traced=True)

        def armed(calls: int = 1) -> None:
            self._room.check(EXPLAINING_RUNS)
            with self._aside.for_a_run():
                self._run_armed(item, repeater, ledger, calls)

        def examine_further(runs: int) -> Examination:
            examination = confirmation.examine_further(runs)
            self._aside.end()
            return examination

        confirmed = check_of(
            blank_check(item),
            examination,
            armed,
            ledger,
            settings.budget_bytes,
            settings.confirm_s,
            examine_further,
        )
        self._causes.remember(confirmed)
        is_clean = confirmed.check.is_whole and not confirmed.check.findings
        rare = confirmation.rare_beside() if is_clean else None
        if rare is not None:
            return self._confirmed(item, repeater, ledger, rare, run, settings)
        return confirmed.check

    def _run(self, item: pytest.Item, repeater: Repeater, ledger: Ledger, calls: int) -> Run:
        """So many runs under one number; raises ``OutOfRoom`` where there is no room for them."""
        self._room.check()
        self._aside.freeze_again()
        ledger.begin()
        try:
            self._run_armed(item, repeater, ledger, calls)
        except TooSlow as problem:
            ledger.abandon()
            self._room.close(str(problem))
            raise OutOfRoom(str(problem)) from None
        return ledger.end(calls)

    def _run_armed(self, item: pytest.Item, repeater: Repeater, ledger: Ledger, calls: int) -> None:
        """The test so many times, or its function where that is all there is of it."""
        inside, around = (calls, 1) if repeater.is_simple else (1, calls)
        for _ in range(around):
            with self._arming.around(item, ledger, inside):
                repeater.run(inside)

    def _is_small(self) -> bool:
        return 0 < self.tests <= thresholds.SPARE_TESTS

    def _spare_of(self, item: pytest.Item) -> float:
        """Seconds for leaks of this test that are not in every run."""
        if not self._is_small():
            return 0.0
        budget_s = max(thresholds.SPARE_S, thresholds.SPARE_SHARE * self._tests_s)
        return max(0.0, min(thresholds.SPARE_S / self.tests, budget_s - self._spare_s))

    def _made_ledger(self) -> Ledger | None:
        tracker = self._instruments.tracker
        if tracker is None:
            return None
        files = temporary_files()
        directories = temporary_directories(self._session.config)
        if not files.is_watching:
            files.watch(directories)
        return Ledger(tracker, Reader(files, directories, RUNNER_CACHES))


def blank_check(item: pytest.Item) -> Check:
    """A check of the test of which nothing is known yet."""
    path, line, _ = item.location
    return Check(
        item.nodeid,
        "test",
        "tracker",
        location=(path, (line or 0) + 1),
        reproduce=f"pytest --leakguard {reproducing(item)}",
    )


def _unconfirmed(blank: Check, suspicion: str) -> Check:
    problem = (
        f"suspect ({suspicion}), but the time to confirm suspects is used up; "
        "run it alone for an answer"
    )
    return replace(blank, problems=(problem,))


def _iterations(item: pytest.Item) -> int | None:
    """Runs that the marker asks for."""
    marker = item.get_closest_marker("leakguard")
    value = marker.kwargs.get("iterations") if marker else None
    return int(value) if value is not None else None
