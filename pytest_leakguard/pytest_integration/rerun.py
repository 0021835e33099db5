"""One more run of a test: set-up, call and tear-down as pytest does them, reported to nobody."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from typing import Any

import pytest

from pytest_leakguard.pytest_integration import _other_plugins, _pytest_internals

_MOST_PROBLEM_CHARACTERS = 300
"""How much of a failing run's message is kept, in characters: it becomes one line of the report."""


def reraised(config: pytest.Config) -> tuple[type[BaseException], ...]:
    """What ends the session instead of failing a test, as in pytest's own protocol."""
    ends: tuple[type[BaseException], ...] = (pytest.exit.Exception,)
    return ends if config.getoption("usepdb", False) else (*ends, KeyboardInterrupt)


_KEYS = [pytest.StashKey[None]() for _ in range(6)]
"""As many as pytest and its plugins put into an item's stash while it runs; the stash never
shrinks."""


def settle(item: pytest.Item) -> None:
    """Brings about what a run leaves in the item's stash and in pytest's log handlers."""
    for handler in _pytest_internals.log_handlers(item.config):
        handler.reset()  # as the next set-up does, and as every report does
        # Read at the end of every phase, which makes the stream one block smaller.
        handler.stream.getvalue()
    for key in _KEYS:
        item.stash[key] = None
    for key in _KEYS:
        del item.stash[key]


def kind_of(item: pytest.Item) -> Hashable:
    """Tests of one kind leave the same behind, in the item and in pytest.

    Fixtures of plugins keep a state there.
    """
    return type(item), type(item.parent), _pytest_internals.fixture_names_of_plugins(item)


class NotRepeatable(Exception):
    """A later run of the test did not pass; says how."""


class Control(pytest.Item):
    """An empty test, whose growth is the harness's own."""

    def runtest(self) -> None:
        """Does nothing."""


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
        self._lengths = tuple(map(len, self._lists))
        self.runs = 0

    def settle(self) -> None:
        """Brings about what a run leaves on the item and in log handlers; the next adds nothing."""
        settle(self._item)
        self._forget()

    def run(self) -> None:
        """One run; raises ``NotRepeatable`` unless it passes."""
        _pytest_internals.renew_request(self._item)
        self._prepare()
        with warnings.catch_warnings(record=True):
            warnings.filters[:] = self._filters  # type: ignore[index]
            try:
                failure = self._phases()
            finally:
                self._finish()
                self._forget()
        self.runs += 1
        if failure:
            raise NotRepeatable(f"run {self.runs + 1}: {failure}")

    def restore(self) -> None:
        """Leaves the item as after its first run."""
        self._forget()

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
        info = pytest.CallInfo.from_call(call, when=when, reraise=self._reraise)
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
        if _pytest_internals.has_request(self._item):
            _pytest_internals.end_request(self._item)
            _pytest_internals.forget_instance(self._item, self._function)


def _needs_report(item: pytest.Item) -> bool:
    """Whether a phase that raised nothing may have failed, or somebody waits for its report.

    Making reports is a third of what repeating a quick test takes.
    """
    if not isinstance(item, pytest.Function) or _pytest_internals.is_of_unittest(item):
        return True  # a control item, or one of unittest, which keeps what went wrong to itself
    return not _other_plugins.only_known_report_makers(item)
