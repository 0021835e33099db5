"""The stages of one test: its own run counted, a quick look, the confirmation of a suspect, the explanation.

How much of it there is time for depends on what the suite's own tests take.
"""

from __future__ import annotations

import shlex
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.clock import Spent
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.counters.reader import COUNTERS, PRIVATE_GRAIN_BYTES, Reader
from pytest_leakguard.counters.tempfiles import temporary_files
from pytest_leakguard.counters.transients import TRANSIENT, Population
from pytest_leakguard.explain.interned_strings import immortal_count, interns_new_strings
from pytest_leakguard.pytest_integration._pytest_internals import temporary_directories
from pytest_leakguard.pytest_integration.isolation import (
    RUNNER_CACHES,
    is_of_hypothesis,
    undisturbed,
)
from pytest_leakguard.pytest_integration.own_run import FirstRun
from pytest_leakguard.pytest_integration.rerun import Control, NotRepeatable, Repeater, kind_of
from pytest_leakguard.screening.confirmation import Limits, Repetition
from pytest_leakguard.screening.findings import check_of, within_budget
from pytest_leakguard.screening.gc_freeze import SetAside
from pytest_leakguard.screening.known_causes import Causes, growth_of
from pytest_leakguard.screening.process_state import ProcessState
from pytest_leakguard.screening.quick_check import (
    SMALL_BYTES,
    SUSPECT_AFTER,
    SUSPECT_OF_KNOWN_AFTER,
    Circumstances,
    QuickLook,
    Suspicion,
    patience,
    unseen,
)

if TYPE_CHECKING:
    from pytest_leakguard.pytest_integration.session import Session


SMALL_SUITE = 100
SMALL_SUITE_SECONDS = 5.0
"""A small suite has time to spare: its tests share so much for leaks that are not in every run."""
MOST_SPARE_S = 0.5
"""For one test: enough for every hundredth run of a quick one."""
SHARE = 0.25
"""Of the suite's own time: so much is spent on small rises of the allocator's bytes, which mostly mean nothing."""
CONFIRM = Limits(warm_up=1, first_window=16, enough_when_clean=48, enough_when_growing=2000)
INTERNED = "it has new strings interned, which this interpreter never frees"
MOST_RUNS = 6000
"""Of one confirmation: more show what the interpreter itself keeps of ever new names."""
CONFIRMING_S = 60.0
CONFIRMATIONS = 6
"""So many times what one suspect may take are spent on all of them, or as much as the suite itself takes."""


class Stages:
    """Takes one test after another through as many of them as it needs."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.tests = 0
        """In the whole suite."""
        self._reader: Reader | None = None
        self._look: QuickLook | None = None
        self._first: FirstRun | None = None
        self._aside = SetAside()
        self._filters: list[Any] = []
        self._control: tuple[float, ...] = ()
        self._causes = Causes()
        self._tests_s = self._screening_s = self._confirming_s = self._took_s = 0.0
        self._spent = Spent()
        """Since the screening of the current test began."""
        self._progress = session.progress

    @contextmanager
    def own_run(self, item: pytest.Item) -> Iterator[None]:
        """Around the run that pytest would make."""
        self._filters = list(warnings.filters)
        began = Spent()
        with self._made_first().counted(item) if self._counts_own_run(item) else nullcontext():
            spent = Spent()
            try:
                yield
            finally:
                took_s = spent.seconds
        self._took_s = took_s
        self._tests_s += took_s
        self._screening_s += began.seconds - took_s

    def cleared_by_own_run(self, item: pytest.Item) -> Check | None:
        """A check when the test's own run has cleared it, and nothing is left that there is time to look at."""
        if not self._counts_own_run(item) or not self._made_first().is_clean():
            return None
        self._spent = Spent()
        first, factor = self._made_first(), patience(self._took_s)
        is_much = (
            first.unusual_bytes >= factor * SMALL_BYTES
            or first.claimed_bytes >= factor * PRIVATE_GRAIN_BYTES
        )
        rise = max(first.native_bytes, first.claimed_bytes)
        if is_much or (rise > 0 and self._has_time()):
            return None
        first.learn(was_repeated=False)
        self._screening_s += self._spent.seconds
        return replace(blank_check(item), notes=(unseen(rise),) if rise > 0 else ())

    def check(self, item: pytest.Item) -> Check:
        """What repeating the test says of it.

        What is there by now is set aside meanwhile, so that collecting the garbage of one run takes microseconds.
        """
        began, self._spent = time.perf_counter(), Spent()
        state = ProcessState()

        def prepare() -> None:
            state.enter_directory()
            self._aside.listen()

        repeater = Repeater(item, self._filters, prepare, self._aside.hush)
        self._made_look()
        try:
            with undisturbed(item):
                self._aside.begin()
                check = self._check(item, repeater)
        except NotRepeatable as problem:
            check = replace(blank_check(item), not_repeatable=f"{item.nodeid}: {problem}")
        finally:
            self._aside.end()
            repeater.restore()
            changed = state.restore()
            self._progress("")
        self._screening_s += self._spent.seconds
        notes = [f"not as before its repeated runs: {name}" for name in changed]
        duration_s = time.perf_counter() - began
        return replace(check, duration_s=duration_s, notes=(*check.notes, *notes))

    def _counts_own_run(self, item: pytest.Item) -> bool:
        """Small suites have the time to repeat every test, and what is marked is to be repeated."""
        return self.tests > SMALL_SUITE and item.get_closest_marker("leakguard") is None

    def _check(self, item: pytest.Item, repeater: Repeater) -> Check:
        settings = self._session.settings_of(item)
        wanted = _iterations(item)
        if wanted is not None:
            return self._confirm(item, repeater, settings, wanted, "as its marker asks")
        spare_s = (
            min(MOST_SPARE_S, SMALL_SUITE_SECONDS / self.tests)
            if 0 < self.tests <= SMALL_SUITE
            else 0.0
        )
        strings = immortal_count()
        check = self._looked_at(item, repeater, settings, spare_s)
        if not check.findings and immortal_count() > strings and interns_new_strings(repeater.run):
            return self._confirm(item, repeater, settings, CONFIRM.enough_when_clean, INTERNED)
        return check

    def _looked_at(
        self, item: pytest.Item, repeater: Repeater, settings: Settings, spare_s: float
    ) -> Check:
        may_be_known = self._causes and not spare_s
        suspicion: Suspicion
        circumstances = self._circumstances(item, spare_s)
        for enough in (SUSPECT_OF_KNOWN_AFTER, SUSPECT_AFTER) if may_be_known else (SUSPECT_AFTER,):
            before = self._causes.lengths()
            repeater.settle()  # last, so that nobody brings anything about that a run takes back
            seen = self._made_look().at(repeater.run, circumstances, enough)
            if seen is None:
                return self._cleared(item)
            suspicion = seen
            known = self._causes.behind(suspicion, before, self._causes.lengths(), repeater.run)
            if self._causes.has_traced:
                self._made_first().disturb()
            if known is not None:
                blank = replace(blank_check(item), growth=growth_of(suspicion))
                return within_budget(
                    blank, replace(known, checks=(item.nodeid,)), settings.budget_bytes
                )
        if self._confirming_s > max(
            CONFIRMING_S, CONFIRMATIONS * settings.confirm_s, self._tests_s
        ):
            return _unconfirmed(blank_check(item), suspicion)
        wanted = max(CONFIRM.enough_when_clean, 4 * suspicion.runs)
        return self._confirm(item, repeater, settings, wanted, str(suspicion))

    def _circumstances(self, item: pytest.Item, spare_s: float) -> Circumstances:
        circumstances = Circumstances(
            kind=kind_of(item),
            spare_s=spare_s,
            has_time=lambda: bool(spare_s) or self._has_time(),
            small_bytes=patience(self._took_s) * SMALL_BYTES,
            empties_library_caches=is_of_hypothesis(item),
        )
        if not self._counts_own_run(item):
            return circumstances
        first = self._made_first()
        return replace(
            circumstances,
            may_leak=first.may_leak,
            excess_blocks=first.excess_blocks,
            native_bytes=first.native_bytes,
        )

    def _cleared(self, item: pytest.Item) -> Check:
        if self._counts_own_run(item):
            self._made_first().learn(was_repeated=True)
        note = self._made_look().left_open
        return replace(blank_check(item), notes=(note,) if note else ())

    def _has_time(self) -> bool:
        """Whether screening has so far taken little beside the suite itself, one more run of this test included."""
        return self._screening_s + self._spent.seconds + self._took_s < SHARE * self._tests_s

    def _confirm(
        self, item: pytest.Item, repeater: Repeater, settings: Settings, wanted: int, why: str
    ) -> Check:
        spent = Spent()
        self._made_first().disturb()
        try:
            return self._confirmed(item, repeater, settings, wanted, why)
        finally:
            self._confirming_s += spent.seconds

    def _confirmed(
        self, item: pytest.Item, repeater: Repeater, settings: Settings, wanted: int, why: str
    ) -> Check:
        reader = (
            self._new_reader(leaves_out_interned=False) if why == INTERNED else self._made_reader()
        )
        # What shows only in many runs needs many times as many to be told from a step.
        growing = max(CONFIRM.enough_when_growing, min(MOST_RUNS, 4 * wanted))
        limits = replace(
            CONFIRM,
            seconds=settings.confirm_s,
            enough_when_clean=wanted,
            enough_when_growing=growing,
        )
        text = f"confirming {item.nodeid} ({why})"
        self._progress(text)
        population = Population()

        def show(runs: int) -> None:
            self._progress(f"{text}, {runs:,} runs so far")

        examination = Repetition(repeater.run, reader, limits, show).examine()
        counter = examination.leaking
        if counter in TRANSIENT and population.comes_back(repeater.run):
            note = f"the {COUNTERS[counter].metric.replace('_', ' ')} it leaves behind end by themselves"
            return replace(blank_check(item), notes=(note,))
        if counter is not None and self._is_harness(
            item, counter, examination.evidence[counter].per_run, limits
        ):
            note = "what grows is the test session's own bookkeeping: an empty test grows as much"
            return replace(blank_check(item), notes=(note,))
        self._progress(f"explaining {item.nodeid}")
        self._aside.end()  # what is new is told from what is frozen, so the test must not thaw it
        confirmed = check_of(
            blank_check(item),
            examination,
            repeater.run,
            reader,
            settings.budget_bytes,
            settings.confirm_s,
        )
        self._causes.remember(confirmed)
        return confirmed.check

    def _is_harness(self, item: pytest.Item, counter: int, per_run: float, limits: Limits) -> bool:
        """Whether an empty test in the same session grows as much."""
        if not self._control:
            control = Repeater(
                Control.from_parent(_collector(item), name="leakguard control"), self._filters, int
            )
            short = replace(limits, enough_when_clean=48, enough_when_growing=48, seconds=2.0)
            examination = Repetition(control.run, self._made_reader(), short).examine()
            self._control = tuple(max(0.0, one.low) for one in examination.evidence)
        return per_run <= 1.1 * self._control[counter] and self._control[counter] > 0

    def _made_reader(self) -> Reader:
        if self._reader is None:
            self._reader = self._new_reader(leaves_out_interned=True)
        return self._reader

    def _new_reader(self, leaves_out_interned: bool) -> Reader:
        watcher = temporary_files()
        directories = temporary_directories(self._session.config)
        if not watcher.is_watching:
            watcher.watch(directories)
        return Reader(watcher, leaves_out_interned, directories, RUNNER_CACHES)

    def _made_first(self) -> FirstRun:
        if self._first is None:
            self._first = FirstRun(self._made_reader(), self._aside)
        return self._first

    def _made_look(self) -> QuickLook:
        if self._look is None:
            self._look = QuickLook(self._made_reader())
        return self._look


def blank_check(item: pytest.Item) -> Check:
    """Of which nothing is known yet."""
    path, line, _ = item.location
    return Check(
        item.nodeid,
        "test",
        "counters",
        location=(path, (line or 0) + 1),
        reproduce=f"pytest --leakguard {shlex.quote(item.nodeid)}",
    )


def _unconfirmed(blank: Check, suspicion: Suspicion) -> Check:
    problem = f"suspect ({suspicion}), but the time to confirm suspects is used up; run it alone for an answer"
    if (
        suspicion.is_sparse
    ):  # not with every run: a cache, a pool, a buffer as well; no reason to stop a build
        return replace(blank, notes=(f"undecided: {problem}",))
    return replace(blank, problems=(problem,))


def _collector(item: pytest.Item) -> pytest.Collector:
    assert item.parent is not None
    return item.parent


def _iterations(item: pytest.Item) -> int | None:
    """Runs the marker asks for."""
    marker = item.get_closest_marker("leakguard")
    value = marker.kwargs.get("iterations") if marker else None
    return int(value) if value is not None else None
