"""Fails a test that takes the fixture and measures nothing: it would pass, and be in no report."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_leakguard.core.checks import Check

if TYPE_CHECKING:
    from pytest_leakguard.pytest_integration.session import Session

MEASURED = pytest.StashKey[bool]()
_COMPLETED = pytest.StashKey[bool]()
WHY = (
    "the test takes the fixture leakguard and measured nothing: call leakguard.run, .loop or "
    ".serve with service.loop, or do without the fixture"
)


class Unmeasured:
    """Registered beside the session."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Notes which tests have come to their end; others say for themselves what is wrong."""
        result = yield
        item.stash[_COMPLETED] = True
        return result


def demand_measurement(session: Session, item: pytest.Item) -> None:
    """Fails where ``item`` has come to its end and nothing was measured in it.

    Called when the fixture ends, so that fixtures which measure have done so.
    """
    if item.stash.get(MEASURED, False) or not item.stash.get(_COMPLETED, False):
        return
    path, line, _ = item.location
    place = (path, (line or 0) + 1)
    session.record(item, Check(item.nodeid, "test", "", problems=(WHY,), location=place))
    pytest.fail(WHY, pytrace=False)
