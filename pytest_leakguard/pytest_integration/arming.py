"""Arms the tracker around a test's own code: its function and its own fixtures.

What pytest and its plugins allocate is then never counted and need not be learned.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pytest_leakguard.pytest_integration import _pytest_internals
from pytest_leakguard.screening.forks import end_if_child
from pytest_leakguard.screening.ledger import Ledger


class Arming:
    """Registered as a plugin; arms nothing outside ``around``."""

    def __init__(self) -> None:
        self._ledger: Ledger | None = None
        self._depth = 0

    @contextmanager
    def around(self, item: pytest.Item, ledger: Ledger, calls: int = 1) -> Iterator[None]:
        """While this lasts, somebody runs the item's phases; its function ``calls`` times."""
        self._ledger, self._depth = ledger, 0
        runtest = item.runtest

        def armed_runtest() -> None:
            with self._armed(True):
                for _ in range(calls):
                    runtest()
                    end_if_child()

        item.runtest = armed_runtest  # type: ignore[method-assign]
        try:
            with _pytest_internals.teardown_wrapped(item.session, self._armed_teardown):
                yield
        finally:
            item.__dict__.pop("runtest", None)
            ledger.tracker.disarm()
            self._ledger = None

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """The test's own fixtures are its own code.

        Larger ones, which it may ask for on the way, are not.
        """
        if self._ledger is None:
            return (yield)
        is_own = _pytest_internals.is_of_item(request)
        is_own = is_own and not _pytest_internals.is_pytests_own(fixturedef)
        with self._armed(is_own):
            return (yield)

    def _armed_teardown(self, teardown: Callable[[], object]) -> None:
        with self._armed(True):
            teardown()

    @contextmanager
    def _armed(self, is_own: bool) -> Iterator[None]:
        """Armed or not while this lasts, and then as before."""
        ledger = self._ledger
        if ledger is None:
            yield
            return
        was_armed = self._depth > 0
        before, self._depth = self._depth, int(is_own)
        self._switch(ledger, was_armed, is_own)
        try:
            yield
        finally:
            self._depth = before
            self._switch(ledger, is_own, was_armed)

    @staticmethod
    def _switch(ledger: Ledger, is_armed: bool, shall_be_armed: bool) -> None:
        if shall_be_armed and not is_armed:
            ledger.arm()
        elif is_armed and not shall_be_armed:
            ledger.disarm()
