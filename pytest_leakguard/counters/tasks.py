"""asyncio tasks that are not done, of every event loop of this process."""

from __future__ import annotations

from typing import Any
from weakref import ReferenceType

from pytest_leakguard.counters import _cpython


class PendingTasks:
    """Knows a task from the first count that saw it until it is done or gone.

    Where tasks are found among the collector's objects, one that was frozen meanwhile would be
    missing in one count and new in the next.
    """

    def __init__(self) -> None:
        self._known: dict[int, ReferenceType[Any]] = {}

    def count(self) -> int:
        """How many there are now."""
        self._find()
        return len(self._known)

    def names(self) -> frozenset[int]:
        """What tells those of the last count apart."""
        return frozenset(self._known)

    def pending(self) -> list[ReferenceType[Any]]:
        """Those of the last count that are still not done."""
        self._forget()
        return list(self._known.values())

    def _find(self) -> None:
        self._forget()
        for task in _cpython.asyncio_tasks():
            if _cpython.is_pending(task):
                self._known.setdefault(id(task), ReferenceType(task))

    def _forget(self) -> None:
        """Forgets those that are done or gone, whose addresses other ones may get."""
        if not self._known:
            return
        for key, reference in list(self._known.items()):
            task = reference()
            if task is None or not _cpython.is_pending(task):
                del self._known[key]
