"""One more run of a test: set-up, call and tear-down as pytest does them, telling nobody."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import pytest
from _pytest.runner import CallInfo
from _pytest.tmpdir import tmppath_result_key
from _pytest.unittest import TestCaseFunction


def reraised(config: pytest.Config) -> tuple[type[BaseException], ...]:
    """What ends the session instead of failing a test, as in pytest's own protocol."""
    ends: tuple[type[BaseException], ...] = (pytest.exit.Exception,)
    return ends if config.getoption("usepdb", False) else (*ends, KeyboardInterrupt)


_REPORT_MAKERS = (
    "_pytest.",
    "pytest_leakguard.",
    "_hypothesis_pytestplugin",
    "pytest_asyncio.",
    "xdist.",
)
"""Modules whose part in making a report changes nothing about a phase that raised nothing."""
_KEYS = [pytest.StashKey[None]() for _ in range(6)]
"""As many as pytest and its plugins put into an item's stash while it runs; the stash never shrinks."""


def settle(item: pytest.Item) -> None:
    """Brings about what a run leaves in the item's stash and in pytest's log handlers."""
    plugin = item.config.pluginmanager.getplugin("logging-plugin")
    for name in ("caplog_handler", "report_handler"):
        handler = getattr(plugin, name, None)
        if handler is not None:
            handler.reset()  # as the next set-up does, and as every report does
            if (
                name == "report_handler"
            ):  # read at the end of every phase, which makes its stream one block smaller
                handler.stream.getvalue()
    for key in _KEYS:
        item.stash[key] = None
    for key in _KEYS:
        del item.stash[key]


def kind_of(item: pytest.Item) -> Hashable:
    """Tests of one kind leave the same behind, in the item and in pytest; fixtures of plugins keep a state there."""
    definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    parameters = getattr(getattr(item, "callspec", None), "params", ())
    names = {name for name, several in definitions.items() if several and not several[-1].baseid}
    return type(item), type(item.parent), frozenset(names.difference(parameters))


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
        self._sections = len(item._report_sections)
        self._properties = len(item.user_properties)
        self._markers = len(item.own_markers)
        self._suite_properties = suite_properties(item.config)
        self._function = item.__dict__.get("_obj")
        """As it was; pytest-asyncio wraps it once more with every run."""
        # A larger fixture keeps a finalizer for every test that used it, until its own end.
        self._finalizers = _finalizers(item.session)
        self._finalizer_counts = tuple(map(len, self._finalizers))
        self.runs = 0

    def settle(self) -> None:
        """Brings about what a run leaves on the item and in pytest's log handlers, so that the next adds nothing."""
        settle(self._item)
        self._forget()

    def run(self) -> None:
        """One run; raises ``NotRepeatable`` unless it passes."""
        item = self._item
        self._renew()
        self._prepare()
        with warnings.catch_warnings(record=True):
            warnings.filters[:] = self._filters  # type: ignore[index]
            try:
                failure = self._phase("setup", lambda: item.ihook.pytest_runtest_setup(item=item))
                if not failure:
                    failure = self._phase("call", lambda: item.ihook.pytest_runtest_call(item=item))
                failure = (
                    self._phase(
                        "teardown",
                        lambda: item.ihook.pytest_runtest_teardown(item=item, nextitem=item.parent),
                    )
                    or failure
                )
            finally:
                self._finish()
                self._forget()
        self.runs += 1
        if failure:
            raise NotRepeatable(f"run {self.runs + 1}: {failure}")

    def restore(self) -> None:
        """Leaves the item as after its own run."""
        self._forget()

    def _phase(self, when: Any, call: Callable[[], object]) -> str:
        """One phase; what went wrong in one line, empty when nothing did."""
        info: CallInfo[object] = CallInfo.from_call(call, when=when, reraise=self._reraise)
        if info.excinfo is None and not self._needs_report:
            # What tmp_path asks for at its end, and making a report leaves there.
            self._item.stash.setdefault(tmppath_result_key, {})[when] = True
            return ""
        report = self._item.ihook.pytest_runtest_makereport(item=self._item, call=info)
        if report.passed and not hasattr(report, "wasxfail"):
            return ""
        return f"{when} {report.outcome}: {info.excinfo.exconly() if info.excinfo else report.outcome}"[
            :300
        ]

    def _renew(self) -> None:
        """A fresh instance and request, as a new test has."""
        item: Any = self._item
        if hasattr(item, "_request") and not item._request:
            item._initrequest()

    def _forget(self) -> None:
        item: Any = self._item
        del item._report_sections[self._sections :]
        del item.user_properties[self._properties :]
        del item.own_markers[self._markers :]
        for properties, count in self._suite_properties:
            del properties[count:]
        for finalizers, count in zip(self._finalizers, self._finalizer_counts, strict=True):
            if len(finalizers) > count:
                del finalizers[count:]
        if hasattr(item, "_request"):
            item._request = False
            item.funcargs = None
            if isinstance(item.parent, pytest.Class):
                for name in ("_instance", "_obj"):  # made anew for every run
                    item.__dict__.pop(name, None)
            elif self._function is not None:
                item._obj = self._function


def _needs_report(item: pytest.Item) -> bool:
    """Whether a phase that raised nothing may have failed, or somebody waits for its report.

    Making reports is a third of what repeating a quick test takes.
    """
    if not isinstance(item, pytest.Function) or isinstance(item, TestCaseFunction):
        return True  # a control item, or one of unittest, which keeps what went wrong to itself
    implementations = item.ihook.pytest_runtest_makereport.get_hookimpls()
    others = [
        one for one in implementations if not one.function.__module__.startswith(_REPORT_MAKERS)
    ]
    return bool(others) or "subtests" in item.fixturenames


def suite_properties(config: pytest.Config) -> list[tuple[list[Any], int]]:
    """Where ``record_testsuite_property`` adds an entry with every run, and how many there are."""
    found = [
        getattr(plugin, "global_properties", None) for plugin in config.pluginmanager.get_plugins()
    ]
    return [(one, len(one)) for one in found if isinstance(one, list)]


_FINALIZERS = pytest.StashKey[tuple[int, tuple[list[Any], ...]]]()


def _finalizers(session: pytest.Session) -> tuple[list[Any], ...]:
    """The lists of all fixtures there are; a test may ask for one that its signature does not name."""
    manager: Any = session._fixturemanager
    by_name = getattr(manager, "_arg2node2fixturedefs", None) or getattr(
        manager, "_arg2fixturedefs", {}
    )
    count, found = session.stash.get(_FINALIZERS, (-1, ()))
    if count != len(by_name):
        found = tuple(one._finalizers for one in _fixture_definitions(by_name))
        session.stash[_FINALIZERS] = len(by_name), found
    return found


def _fixture_definitions(by_name: Mapping[str, Any]) -> Iterator[Any]:
    for definitions in by_name.values():
        lists = definitions.values() if isinstance(definitions, Mapping) else (definitions,)
        for several in lists:
            yield from several
