"""Screens ordinary tests: repeats each test's whole protocol, looks at exact counters, confirms the suspects.

The first run is the real one and its reports are the test's own; they are held back until the screening is done,
so that a leak can turn the call's report into a failure. Later runs report to nobody. All runs but the last tear
down no more than the test's own fixtures, since the item's parent stands for the next item.
"""

from __future__ import annotations

import gc
import os
import time
from array import array
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import CallInfo, runtestprotocol

from pytest_leakguard.confirm import check_of
from pytest_leakguard.counters import BLOCKS, COUNTERS, HEAP, MAPPED, TASKS, Reader
from pytest_leakguard.leftovers import leftovers, pytest_directories
from pytest_leakguard.model import Check, Outcome
from pytest_leakguard.options import Settings
from pytest_leakguard.protocol import Control, NotRepeatable, Repeater, reraised
from pytest_leakguard.repeat import Limits, Repetition
from pytest_leakguard.reporters.terminal import failure_text

if TYPE_CHECKING:
    from pytest_leakguard.session import Session

SUSPECT_AFTER = 30
"""A counter that rose in so many runs one after another makes a suspect."""
SMALL_SUITE = 100
SMALL_SUITE_SECONDS = 3.0
"""A small suite has time to spare: its tests share so much for more repetitions."""
CONFIRM = Limits(warm_up=1, first_window=16, enough_when_clean=48, enough_when_growing=2000)
_STILL = {BLOCKS: 2, HEAP: 512}
"""Rise over some dozens of runs that interpreter and allocator make by themselves."""
_SCREENED = tuple(index for index in range(len(COUNTERS)) if index not in (MAPPED, TASKS))


class Screening:
    """Registered beside the session while tests are screened."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._reader: Reader | None = None
        self._rows = array("d", bytes(8 * len(COUNTERS) * 2))
        self._held: dict[str, list[pytest.TestReport]] = {}
        self._filters: list[Any] = []
        self._items = 0
        self._control: tuple[float, ...] = ()
        self._pid = os.getpid()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Counts the tests, to know how much time each may take."""
        self._items = len(session.items)

    def pytest_unconfigure(self) -> None:
        """Leaves the collector as it was."""
        gc.unfreeze()
        leftovers().stop()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> object:
        """The first run of a test that is screened, its reports held back; other tests are left to pytest."""
        import warnings

        if not self._is_screened(item) or os.getpid() != self._pid:
            return None
        self._filters = list(warnings.filters)
        self._thaw_if_asked(item)
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        self._held[item.nodeid] = runtestprotocol(item, log=False, nextitem=item.parent)  # type: ignore[arg-type]
        return True

    @pytest.hookimpl(wrapper=True, tryfirst=True, specname="pytest_runtest_protocol")
    def pytest_leakguard_screens(self, item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, Any, Any]:
        """Outside everybody else's wrappers, so that no time limit of theirs counts our runs."""
        result = yield
        reports = self._held.pop(item.nodeid, None)
        if reports is None or os.getpid() != self._pid:
            return result
        try:
            if all(report.outcome == "passed" and not hasattr(report, "wasxfail") for report in reports):
                self._screen(item, reports)
        finally:
            self._finish(item, nextitem, reports)
        return result

    def _finish(self, item: pytest.Item, nextitem: pytest.Item | None, reports: list[pytest.TestReport]) -> None:
        """What pytest would have done at once: the larger fixtures' tear-down, and the reports."""
        if item.session.shouldfail or item.session.shouldstop:
            nextitem = None
        state = item.session._setupstate
        staying = nextitem.listchain() if nextitem else []
        if any(node not in staying for node in state.stack):
            call = CallInfo.from_call(
                lambda: _torn_down(item, nextitem), when="teardown", reraise=reraised(item.config)
            )
            if call.excinfo is not None:
                report = item.ihook.pytest_runtest_makereport(item=item, call=call)
                reports[-1:] = [report] if reports[-1].passed else [reports[-1], report]
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

    def _is_screened(self, item: pytest.Item) -> bool:
        """Whether this test can be repeated and is meant to be."""
        marker = item.get_closest_marker("leakguard")
        if not isinstance(item, pytest.Function) or "leakguard" in item.fixturenames:
            return False
        if self._session.settings.scope == "marked" and marker is None:
            return False
        if marker is not None and "skip" in marker.kwargs:
            self._session.record(item, replace(self._blank(item), skipped=str(marker.kwargs["skip"])))
            return False
        return not _is_rerun_by_others(item) and not _is_interactive(item.config)

    def _thaw_if_asked(self, item: pytest.Item) -> None:
        """A test that looks at the collector itself must find it as it would be without us."""
        if any(value is gc for value in vars(item.module).values()):  # type: ignore[attr-defined]
            gc.unfreeze()

    def _screen(self, item: pytest.Item, reports: list[pytest.TestReport]) -> None:
        """Repeats the test and turns its report into a failure when it leaks."""
        repeater = Repeater(item, self._filters)
        try:
            check = self._check(item, repeater)
        except NotRepeatable as problem:
            check = replace(self._blank(item), not_repeatable=f"{item.nodeid}: {problem}")
        finally:
            repeater.restore()
        call = reports[1]
        judged = self._session.attach(call, check)
        if judged.outcome is Outcome.LEAK:
            call.outcome = "failed"
            call.longrepr = failure_text(judged, self._session.policy, self._session.settings.root)

    def _blank(self, item: pytest.Item) -> Check:
        path, line, _ = item.location
        return Check(
            item.nodeid,
            "test",
            "counters",
            location=(path, (line or 0) + 1),
            reproduce=f"pytest --leakguard '{item.nodeid}'",
        )

    def _check(self, item: pytest.Item, repeater: Repeater) -> Check:
        began = time.perf_counter()
        settings = self._session.settings_of(item)
        wanted = _iterations(item)
        if wanted is None:
            suspicious_runs = self._runs_until_suspicion(repeater)
            if not suspicious_runs:
                return replace(self._blank(item), duration_s=time.perf_counter() - began)
            wanted = max(CONFIRM.enough_when_clean, 4 * suspicious_runs)
        return self._confirm(item, repeater, settings, wanted)

    def _runs_until_suspicion(self, repeater: Repeater) -> int:
        """After how many runs some counter had risen, with each of them or in all; 0 when none has."""
        reader, rows, width = self._made_reader(), self._rows, len(COUNTERS)
        began = time.perf_counter()
        spare_s = SMALL_SUITE_SECONDS / self._items if 0 < self._items <= SMALL_SUITE else 0.0
        gc.collect(1)
        gc.freeze()
        reader.read(rows, 0)
        rising, first = _SCREENED, rows[:width]
        middle = first
        for run in range(1, SUSPECT_AFTER + 1):
            repeater.run()
            reader.read(rows, 1)
            rising = tuple(at for at in rising if rows[width + at] > rows[at])
            if not rising:
                break
            rows[:width] = rows[width:]
            if run == SUSPECT_AFTER // 2:
                middle = rows[:width]
        # Allocators fill their bins for some dozens of runs, ever more slowly; a leak keeps its pace.
        rising = tuple(at for at in rising if rows[at] - middle[at] > 0.7 * (middle[at] - first[at]))
        if rising:
            return SUSPECT_AFTER
        while time.perf_counter() - began < spare_s:  # a leak that is not in every run
            for _ in range(8):
                repeater.run()
        reader.read(rows, 1)
        has_risen = any(rows[width + at] - first[at] > _STILL.get(at, 0) for at in _SCREENED)
        return repeater.runs if spare_s > 0 and has_risen else 0

    def _confirm(self, item: pytest.Item, repeater: Repeater, settings: Settings, wanted: int) -> Check:
        reader = self._made_reader()
        limits = replace(CONFIRM, seconds=settings.confirm_s, enough_when_clean=wanted)
        self._tell(item, "confirming")
        examination = Repetition(repeater.run, reader, limits).examine()
        counter = examination.leaking
        if counter is not None and self._is_harness(item, counter, examination.evidence[counter].per_run, limits):
            note = "what grows is the test session's own bookkeeping: an empty test grows as much"
            return replace(self._blank(item), notes=(note,), duration_s=examination.seconds)
        return check_of(self._blank(item), examination, repeater.run, reader, settings.budget_bytes, settings.confirm_s)

    def _is_harness(self, item: pytest.Item, counter: int, per_run: float, limits: Limits) -> bool:
        """Whether an empty test in the same session grows as much."""
        if not self._control:
            control = Repeater(Control.from_parent(_collector(item), name="leakguard control"), self._filters)
            short = replace(limits, enough_when_clean=48, enough_when_growing=48, seconds=2.0)
            examination = Repetition(control.run, self._made_reader(), short).examine()
            self._control = tuple(max(0.0, one.low) for one in examination.evidence)
        return per_run <= 1.1 * self._control[counter] and self._control[counter] > 0

    def _made_reader(self) -> Reader:
        if self._reader is None:
            watcher = leftovers()
            factory = getattr(self._session.config, "_tmp_path_factory", None)
            watcher.watch(pytest_directories(factory.getbasetemp() if factory else None))
            self._reader = Reader(watcher, leaves_out_interned=True)
            self._reader.read(self._rows, 0)
        return self._reader

    def _tell(self, item: pytest.Item, what: str) -> None:
        """Progress of what takes long; nothing with ``-q``."""
        reporter = self._session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and reporter.verbosity > 0:
            reporter.write_line(f"leakguard: {what} {item.nodeid}")


def _torn_down(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    capture = item.config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        item.session._setupstate.teardown_exact(nextitem)
        return
    with capture.item_capture("teardown", item):
        item.session._setupstate.teardown_exact(nextitem)


def _collector(item: pytest.Item) -> pytest.Collector:
    assert item.parent is not None
    return item.parent


def _iterations(item: pytest.Item) -> int | None:
    """Runs the marker asks for."""
    marker = item.get_closest_marker("leakguard")
    value = marker.kwargs.get("iterations") if marker else None
    return int(value) if value is not None else None


def _is_rerun_by_others(item: pytest.Item) -> bool:
    """pytest-rerunfailures runs such a test by its own protocol."""
    has_plugin = item.config.pluginmanager.hasplugin("rerunfailures")
    is_flaky = item.get_closest_marker("flaky") is not None
    return is_flaky or (has_plugin and bool(item.config.getoption("reruns", None)))


def _is_interactive(config: pytest.Config) -> bool:
    """Somebody watches: a debugger, set-up only."""
    return any(config.getoption(name, False) for name in ("usepdb", "trace", "setuponly", "setupplan", "setupshow"))
