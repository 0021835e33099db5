"""Pytest's side of screening: runs each test and turns a leak into a failure.

The first run is the real one and its reports are the test's own; they are held back until the
screening is done, so that a leak can turn the call's report into a failure. Later runs report to
nobody. All runs but the last tear down no more than the test's own fixtures, since the item's
parent stands for the next item.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_leakguard.core.checks import Check
from pytest_leakguard.counters import originals
from pytest_leakguard.counters.originals import Original
from pytest_leakguard.counters.tempfiles import temporary_files
from pytest_leakguard.pytest_integration import _other_plugins, _pytest_internals
from pytest_leakguard.pytest_integration._pytest_internals import call_and_report
from pytest_leakguard.pytest_integration.arming import Arming
from pytest_leakguard.pytest_integration.isolation import silenced
from pytest_leakguard.pytest_integration.rerun import reraised
from pytest_leakguard.pytest_integration.session import runs_no_test
from pytest_leakguard.pytest_integration.test_check import Stages, blank_check
from pytest_leakguard.reporters.terminal import failure_in_short

if TYPE_CHECKING:
    from pytest_leakguard.pytest_integration.session import Session


class Screening:
    """Registered beside the session while tests are screened."""

    def __init__(self, session: Session, arming: Arming) -> None:
        self._session = session
        self._stages = Stages(session, arming)
        self._held: dict[str, list[pytest.TestReport]] = {}
        self._attributes = _pytest_internals.NO_ATTRIBUTES
        self._pid = Original.getpid()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Counts the tests, to know how much time each may take."""
        self._stages.tests = len(session.items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Watches nothing any more."""
        temporary_files().stop()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> object:
        """The first run of a test that is screened.

        Other tests are left to pytest and its plugins.
        """
        is_others = _other_plugins.rerunner(item) is not None or _other_plugins.is_forked(item)
        if is_others or not self._may_screen(item):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        self._own_run(item, log=True, nextitem=nextitem)
        if item.nodeid not in self._held:
            item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(wrapper=True, tryfirst=True, specname="pytest_runtest_protocol")
    def pytest_leakguard_screens(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, Any, Any]:
        """Outside everybody else's wrappers, so that no time limit of theirs counts our runs."""
        reruns = _other_plugins.rerunner(item)
        if not self._may_screen(item):
            result = yield
        elif _other_plugins.is_forked(item):
            with _pytest_internals.protocol_replaced(self._in_child):
                result = yield
        elif reruns is not None:
            with self._inside(reruns, item):
                result = yield
        else:
            result = yield
        reports = self._held.pop(item.nodeid, None)
        if reports is None:
            return result
        with self._attributes.there_again(item):
            self._conclude(item, nextitem, reports)
        return result

    def _conclude(
        self, item: pytest.Item, nextitem: pytest.Item | None, reports: list[pytest.TestReport]
    ) -> None:
        """Checks the test, and then does what pytest would have done.

        A child that the test has forked is not checked.
        """
        try:
            if Original.getpid() == self._pid and all(map(_has_passed, reports)):
                check = self._stages.cleared_by_own_run(item) or self._stages.check(item)
                with originals.in_place():
                    self._judge(check, reports[1])
        finally:
            self._finish(item, nextitem, reports)

    def _may_screen(self, item: pytest.Item) -> bool:
        return Original.getpid() == self._pid and self._is_screened(item)

    @contextmanager
    def _inside(self, reruns: Any, item: pytest.Item) -> Iterator[None]:
        """pytest-rerunfailures keeps its own loop; the attempt that passes is held back from it.

        It logs the end of every attempt, which for that one is ours to log.
        """
        theirs = reruns.runtestprotocol
        with ExitStack() as stack:
            stack.callback(setattr, reruns, "runtestprotocol", theirs)

            def attempt(
                item: pytest.Item, nextitem: pytest.Item | None, log: bool
            ) -> list[pytest.TestReport]:
                reports = self._own_run(item, log=False, nextitem=nextitem)
                if item.nodeid not in self._held:
                    return reports
                for report in reports:
                    report.__dict__["rerun"] = _other_plugins.reruns_so_far(item)
                stack.enter_context(silenced(item, "pytest_runtest_logfinish"))
                return []

            reruns.runtestprotocol = attempt
            yield

    def _in_child(
        self, item: pytest.Item, log: bool = True, nextitem: pytest.Item | None = None
    ) -> list[pytest.TestReport]:
        """All of a test in the process that pytest-forked has made for it; it sends the reports.

        Nothing comes after it there, so all that is set up is torn down.
        """
        self._pid = self._stages.begin_in_child()
        reports = self._own_run(item, log=False, nextitem=None)
        if self._held.pop(item.nodeid, None) is None:
            return reports
        check = self._stages.cleared_by_own_run(item) or self._stages.check(item)
        self._session.is_sent = True
        self._judge(check, reports[1])
        last = self._torn_down(item, None)
        if last is not None:
            reports[2:] = [last] if reports[2].passed else [reports[2], last]
        return reports

    def _own_run(
        self, item: pytest.Item, log: bool, nextitem: pytest.Item | None
    ) -> list[pytest.TestReport]:
        """The test's own run, as pytest would do it.

        When set-up and call have passed, the larger fixtures stay and the reports are held back;
        what is returned are all reports. With ``log`` the others are told at once.
        """
        _pytest_internals.renew_request(item)  # which an attempt before this one has ended
        with self._stages.own_run(item):
            try:
                return self._phases(item, log, nextitem)
            finally:
                self._attributes = _pytest_internals.AttributesOfRun(item)
                _pytest_internals.end_request(item)

    def _phases(
        self, item: pytest.Item, log: bool, nextitem: pytest.Item | None
    ) -> list[pytest.TestReport]:
        reports = [call_and_report(item, "setup", log=log)]
        if reports[0].passed:
            _pytest_internals.show_set_up(item)
            reports.append(call_and_report(item, "call", log=False))
        has_passed = len(reports) == 2 and all(map(_has_passed, reports))
        if has_passed:
            self._held[item.nodeid] = reports
        elif log:
            for report in reports[1:]:
                item.ihook.pytest_runtest_logreport(report=report)
        if item.session.shouldfail or item.session.shouldstop:
            nextitem = None
        following = item.parent if has_passed else nextitem
        reports.append(
            call_and_report(item, "teardown", log=log and not has_passed, nextitem=following)
        )
        return reports

    def _judge(self, check: Check, call: pytest.TestReport) -> None:
        """Sends the check along with the test's report, which fails when the test leaks."""
        judged = self._session.attach(call, check)
        if judged.has_failed:
            call.outcome = "failed"
            root = self._session.settings.root
            call.longrepr = failure_in_short(judged, self._session.policy, root)

    def _finish(
        self, item: pytest.Item, nextitem: pytest.Item | None, reports: list[pytest.TestReport]
    ) -> None:
        """What pytest would have done at once: the reports, and the larger fixtures' tear-down."""
        is_told = _other_plugins.rerunner(item) is None  # of the set-up
        for report in reports[is_told:-1]:
            item.ihook.pytest_runtest_logreport(report=report)
        if item.session.shouldfail or item.session.shouldstop:
            nextitem = None
        last = reports[-1:]
        staying = nextitem.listchain() if nextitem else []
        if any(node not in staying for node in _pytest_internals.set_up_nodes(item.session)):
            told = self._torn_down(item, nextitem)
            if told is not None:
                last = [told] if last[0].passed else [*last, told]
        for report in last:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

    def _torn_down(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> pytest.TestReport | None:
        """Tears down larger fixtures; the report of what went wrong."""
        call = pytest.CallInfo.from_call(
            lambda: _pytest_internals.tear_down(item, nextitem),
            when="teardown",
            reraise=reraised(item.config),
        )
        if call.excinfo is None:
            return None
        report: pytest.TestReport = item.ihook.pytest_runtest_makereport(item=item, call=call)
        return report

    def _is_screened(self, item: pytest.Item) -> bool:
        """Whether this test can be repeated and is meant to be."""
        marker = item.get_closest_marker("leakguard")
        if not isinstance(item, pytest.Function) or "leakguard" in item.fixturenames:
            return False
        if self._session.settings.scope == "marked" and marker is None:
            return False
        if marker is not None and "skip" in marker.kwargs:
            self._session.record(
                item, replace(blank_check(item), skipped=str(marker.kwargs["skip"]))
            )
            return False
        return not runs_no_test(item.config) and not _other_plugins.belongs_to_flaky(item)


def _has_passed(report: pytest.TestReport) -> bool:
    return report.passed and not hasattr(report, "wasxfail")
