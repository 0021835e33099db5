"""The test's own run under counters: one that retains just what a clean test's run does needs no second one.

What a first run retains beside a leak is pytest's: reports, the item's state. It is the same number of blocks for
every test of one shape, once the caches that fill by themselves are emptied and filled up. Which number that is, is
learned from tests that a second run has cleared: of the same shape, or of the same function with other parameters.
"""

from __future__ import annotations

import os
from array import array
from bisect import insort
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

import pytest

from pytest_leakguard.counters import BLOCKS, COUNTERS, HEAP, TASKS, Reader
from pytest_leakguard.protocol import make_frames, settle
from pytest_leakguard.set_aside import SetAside

CLEARED_TWICE = 2
"""Tests of one shape that must have retained the same and been cleared by a second run, before it says anything."""
_WIDTH = len(COUNTERS)
_OTHERS = tuple(at for at in range(_WIDTH) if at not in (BLOCKS, HEAP, TASKS))


class FirstRun:
    """One test after another."""

    def __init__(self, reader: Reader, aside: SetAside) -> None:
        self._reader, self._set_aside = reader, aside
        self._rows = array("d", bytes(8 * _WIDTH * 2))
        self._clean: dict[Hashable, dict[int, list[int]]] = {}
        """For each shape and number of blocks that clean tests have retained: their native bytes, sorted."""
        self._shapes: tuple[Hashable, ...] = ()
        self._retained: int | None = None
        self._was_disturbed = self._is_settled = False
        self.native_bytes = 0
        """By which the allocator's bytes rose in the last run beyond the least of clean tests'; may be below 0."""
        self.unusual_bytes = 0
        """The same beyond what they do for most of them: buffers and free lists of all kinds are among them."""
        for _ in range(3):  # reading leaves a little behind itself, the first times
            reader.read(self._rows, 0, clears_caches=True)

    @contextmanager
    def counted(self, item: pytest.Item) -> Iterator[None]:
        """Around the test's own run."""
        self._shapes, self._retained = _shapes_of(item), None
        self._is_settled, self._was_disturbed = not self._was_disturbed, False
        settle(item)
        _announce(item)
        make_frames()
        self._set_aside.begin()
        try:
            self._reader.read(self._rows, 0, clears_caches=True)
            self._set_aside.listen()
            try:
                yield
            finally:
                self._set_aside.hush()
            if self._set_aside.is_frozen:  # otherwise a collection would take its whole time
                settle(item)
                self._reader.read(self._rows, 1, clears_caches=True)
                self._retained = int(self._rose(BLOCKS))
        finally:
            self._set_aside.end()

    def disturb(self) -> None:
        """More was done than to repeat a test, so that the next one may retain less than its part."""
        self._was_disturbed = True

    def is_clean(self) -> bool:
        """Whether the last run retained just what runs of clean tests do; the allocator's bytes are not looked at."""
        if self._retained is None or not self._is_settled or any(self._rose(at) > 0 for at in _OTHERS):
            return False
        for shape in self._shapes:
            seen = self._clean.get(shape, {})
            if self._retained == _least(seen):
                native = seen[self._retained]
                self.native_bytes = int(self._rose(HEAP)) - max(0, native[0])
                self.unusual_bytes = int(self._rose(HEAP)) - max(0, native[len(native) // 2])
                return True
        return False

    def learn(self) -> None:
        """The test of the last run was cleared by a second one."""
        for shape in self._shapes if self._retained is not None and self._is_settled else ():
            insort(self._clean.setdefault(shape, {}).setdefault(int(self._rose(BLOCKS)), []), int(self._rose(HEAP)))

    def _rose(self, at: int) -> float:
        return self._rows[_WIDTH + at] - self._rows[at]


def _least(seen: dict[int, list[int]]) -> int | None:
    """Blocks; the smallest, since a clean test may fill caches as well. What was seen once may be an accident."""
    return min((blocks for blocks, native in seen.items() if len(native) >= CLEARED_TWICE), default=None)


def _shapes_of(item: pytest.Item) -> tuple[Hashable, ...]:
    """What the size of pytest's own state depends on; and the test function with all its parameters."""
    kind = (type(item), type(item.parent), hasattr(item, "callspec"), bool(item.own_markers))
    return kind, (item.parent, getattr(item, "originalname", item.name))


def _announce(item: pytest.Item) -> None:
    """Sets the variable that pytest sets in each phase: glibc keeps every string that was ever in the environment."""
    for phase in ("setup", "call", "teardown"):
        os.environ["PYTEST_CURRENT_TEST"] = f"{item.nodeid} ({phase})".replace("\0", "(null)")
    del os.environ["PYTEST_CURRENT_TEST"]
