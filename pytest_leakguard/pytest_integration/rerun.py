"""One more run of a test: set-up, call and tear-down as pytest does them, reported to nobody."""

from __future__ import annotations

import warnings
from array import array
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from pytest_leakguard.core.clock import Clock
from pytest_leakguard.processes.deadline import Deadline
from pytest_leakguard.pytest_integration import _other_plugins, _pytest_internals
from pytest_leakguard.pytest_integration.plugin_state import PluginState
from pytest_leakguard.screening import thresholds
from pytest_leakguard.screening.forks import children_end, end_if_child
from pytest_leakguard.screening.gc_freeze import collect

_MOST_PROBLEM_CHARACTERS = 300
"""How much of a failing run's message is kept, in characters: it becomes one line of the report."""
RUN_S = 3.0
"""Seconds that any repeated run may take, however short the test's own run was: a busy machine
stalls for less."""
SLOWER = 10
"""A repeated run may take so many times as long as the test's own run: on a busy machine, with
cold caches."""
TEARDOWN_SLOWER = 10
"""A tear-down may take so many times longer: an interrupted one leaves fixtures behind."""
TRACED_SLOWER = 20
"""The same once more while the line is looked for: every line of the test is traced then."""


def reraised(config: pytest.Config) -> tuple[type[BaseException], ...]:
    """What ends the session instead of failing a test, as in pytest's own protocol."""
    ends: tuple[type[BaseException], ...] = (pytest.exit.Exception,)
    return ends if config.getoption("usepdb", False) else (*ends, KeyboardInterrupt)


def empty_handlers(item: pytest.Item) -> None:
    """Empties pytest's log handlers, as the next set-up and every report do."""
    for handler in _pytest_internals.log_handlers(item.config):
        handler.reset()


class NotRepeatable(Exception):
    """A later run of the test did not pass; says how."""


class TooSlow(NotRepeatable):
    """A later run took too long and was ended."""


class Repeater:
    """Runs one test again and again, and takes back what a run leaves on the item."""

    def __init__(
        self,
        item: pytest.Item,
        filters: list[Any],
        prepare: Callable[[], object],
        finish: Callable[[], object] = int,
    ) -> None:
        self._item, self._filters, self._prepare, self._finish = item, filters, prepare, finish
        self._reraise = reraised(item.config)
        self._needs_report = _needs_report(item)
        self._function = _pytest_internals.function_object(item)
        """As it was; pytest-asyncio wraps it once more with every run."""
        self._lists: list[list[Any]] = [
            _pytest_internals.report_sections(item),
            item.user_properties,
            item.own_markers,
            *_pytest_internals.suite_properties(item.config),
            # A larger fixture keeps a finalizer for every test that used it, until its own end.
            *_pytest_internals.finalizers(item.session),
        ]
        """What a run makes longer."""
        self._attributes = dict(item.__dict__)
        self._registrations = _pytest_internals.Registrations(item)
        self._plugins = PluginState(item.session)
        self._lengths = tuple(map(len, self._lists))
        self.is_simple = _pytest_internals.is_simple(item)
        """A run is a call of the test's function and nothing else."""
        self.runs = 0
        self._deadline = Deadline()
        self._limit_s = RUN_S
        self._computed_s = array("d", [0.0] * 3)
        """Seconds that the function has computed for in the last runs, the newest last."""
        self.is_too_slow = False
        """A run was ended since it took too long, or was not begun."""

    def expect(self, own_s: float, is_traced: bool = False) -> None:
        """How long runs may take, by what the test's own run took."""
        times = SLOWER * TRACED_SLOWER if is_traced else SLOWER
        self._limit_s = max(RUN_S, times * own_s)

    @contextmanager
    def limited(self) -> Iterator[None]:
        """While this lasts, a run that takes too long ends, and a child that comes out of one."""
        with self._deadline.ready(), children_end():
            yield

    def run(self, calls: int = 1) -> None:
        """One run; raises ``NotRepeatable`` unless it passes.

        ``calls`` is how often it calls the test's function.
        """
        self._refuse_ever_longer(calls)
        began_s = Clock.cpu_s()
        try:
            self._run()
        finally:
            computed_s = (Clock.cpu_s() - began_s) / calls
            self._computed_s[:] = array("d", [*self._computed_s[1:], computed_s])

    def _refuse_ever_longer(self, calls: int) -> None:
        """Raises ``TooSlow`` where runs grow by a factor and the next would take too long.

        Compiled code cannot be interrupted.
        """
        before_s, first_s, last_s = self._computed_s
        slower = thresholds.EVER_SLOWER
        grows = last_s > slower * first_s > slower**2 * before_s > 0
        if grows and calls * last_s * last_s / first_s > self._limit_s:
            self.is_too_slow = True
            text = f"run {self.runs + 2} would take longer than {self._limit_s:.0f} s"
            raise TooSlow(f"{text}: each takes {last_s / first_s:.1f} times as long as the last")

    def _run(self) -> None:
        _pytest_internals.renew_request(self._item)
        self._prepare()
        with warnings.catch_warnings(record=True):
            warnings.filters[:] = self._filters  # type: ignore[index]
            try:
                self._deadline.has_fired = False
                with self._registrations.noted():
                    failure = self._phases()
            finally:
                self._finish()
                self._forget()
                collect()
                empty_handlers(self._item)
        self.runs += 1
        if self._deadline.has_fired:
            self.is_too_slow = True
            raise TooSlow(f"run {self.runs + 1} took longer than {self._limit_s:.0f} s")
        if failure:
            raise NotRepeatable(f"run {self.runs + 1}: {failure}")

    def run_around(self, inside: AbstractContextManager[object]) -> None:
        """One run with ``inside`` around the test's own function."""
        runtest = self._item.runtest

        def inner() -> None:
            with inside:
                runtest()

        self._item.runtest = inner  # type: ignore[method-assign]  # for this run alone
        try:
            self.run()
        finally:
            self._item.__dict__.pop("runtest", None)

    def restore(self) -> None:
        """Leaves the item as after its first run."""
        self._forget()
        _pytest_internals.restore_attributes(self._item, self._attributes)

    def _phases(self) -> str:
        """All three phases; what went wrong, as in ``_phase``."""
        item, hooks = self._item, self._item.ihook
        failure = self._phase("setup", lambda: hooks.pytest_runtest_setup(item=item))
        if not failure:
            failure = self._phase("call", lambda: hooks.pytest_runtest_call(item=item))
        # The item's parent stands for the next item, so that larger fixtures stay.
        of_teardown = self._phase(
            "teardown", lambda: hooks.pytest_runtest_teardown(item=item, nextitem=item.parent)
        )
        return of_teardown or failure

    def _phase(self, when: Any, call: Callable[[], object]) -> str:
        """One phase; what went wrong in one line, empty when nothing did."""
        limit_s = self._limit_s * (TEARDOWN_SLOWER if when == "teardown" else 1)

        def limited() -> object:
            with self._deadline.limit(limit_s):
                return call()

        info = pytest.CallInfo.from_call(limited, when=when, reraise=self._reraise)
        end_if_child(has_failed=info.excinfo is not None)
        if info.excinfo is None and not self._needs_report:
            _pytest_internals.note_passed(self._item, when)
            return ""
        report = self._item.ihook.pytest_runtest_makereport(item=self._item, call=info)
        if report.passed and not hasattr(report, "wasxfail"):
            return ""
        message = info.excinfo.exconly() if info.excinfo else report.outcome
        return f"{when} {report.outcome}: {message}"[:_MOST_PROBLEM_CHARACTERS]

    def _forget(self) -> None:
        for entries, length in zip(self._lists, self._lengths, strict=True):
            if len(entries) > length:
                del entries[length:]
        self._registrations.take_back()
        self._plugins.take_back()
        _other_plugins.unnest_settings()
        if _pytest_internals.has_request(self._item):
            _pytest_internals.end_request(self._item)
            _pytest_internals.forget_instance(self._item, self._function)


def _needs_report(item: pytest.Item) -> bool:
    """Whether a phase that raised nothing may have failed.

    Making reports is a third of what repeating a quick test takes.
    """
    if not isinstance(item, pytest.Function) or _pytest_internals.is_of_unittest(item):
        return True  # a control item, or one of unittest, which keeps what went wrong to itself
    return _other_plugins.may_fail_in_report(item)
