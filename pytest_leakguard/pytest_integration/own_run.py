"""The test's own run under counters: one that retains just what a clean test's run does needs no second one.

What a first run retains beside a leak is pytest's: reports, the item's state. It is the same number of blocks for
every test of one shape, once the caches that fill by themselves are emptied and filled up. Which number that is, is
learned from tests that a second run has cleared: of the same shape, or of the same function with other parameters.
"""

from __future__ import annotations

import math
import os
from array import array
from bisect import insort
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

import pytest

from pytest_leakguard.core.clock import Spent
from pytest_leakguard.counters.reader import (
    BLOCKS,
    COUNTERS,
    HEAP,
    PRIVATE,
    PRIVATE_GRAIN_BYTES,
    TASKS,
    THREADS,
    Reader,
    make_frames,
)
from pytest_leakguard.counters.transients import TRANSIENT, wait_for_ends
from pytest_leakguard.pytest_integration._pytest_internals import set_up_nodes
from pytest_leakguard.pytest_integration.rerun import settle
from pytest_leakguard.screening.gc_freeze import SetAside

CLEARED_TWICE = 2
"""Tests of one shape that must have retained the same and been cleared by a second run, before it says anything."""
USUAL_SHARE = 0.1
"""Of the clean tests of a shape, at least so many retain what is usual for it."""
WAITING_SHARE = 0.2
"""Of the time the test took, so much is waited for threads and processes that end by themselves."""
_WIDTH = len(COUNTERS)
EVERYTHING = tuple(at for at in range(_WIDTH) if at != TASKS)
_OTHERS = tuple(at for at in range(_WIDTH) if at not in (BLOCKS, HEAP, TASKS, PRIVATE))


class Clean:
    """What the own runs of clean tests of one shape have retained."""

    def __init__(self) -> None:
        self.usual: int | None = None
        """Blocks; the least that a clean test retains, as others fill caches besides; ``None`` while it is not known.

        What few retain who set free in passing what a test before them had left is not usual.
        """
        self.native: dict[int, list[int]] = {}
        """By which the allocator's bytes rose, for each number of blocks; sorted, of tests that were run twice."""
        self._tests: Counter[int] = Counter()

    def add(self, blocks: int) -> None:
        """One more test that was clean at first."""
        self._tests[blocks] += 1

    def learn(self, blocks: int, native: int) -> None:
        """One more test that a second run has cleared."""
        self.add(blocks)
        insort(self.native.setdefault(blocks, []), native)
        enough = self._tests.total() * USUAL_SHARE
        known = (one for one, native in self.native.items() if len(native) >= CLEARED_TWICE)
        self.usual = min((one for one in known if self._tests[one] >= enough), default=None)


class FirstRun:
    """One test after another."""

    def __init__(self, reader: Reader, aside: SetAside) -> None:
        self._reader, self._set_aside = reader, aside
        self._rows = array("d", bytes(8 * _WIDTH * 2))
        self._clean: dict[Hashable, Clean] = {}
        """By shape."""
        self._shapes: tuple[Clean, ...] = ()
        """Those of the last test."""
        self._retained: int | None = None
        self._was_disturbed = self._is_settled = self._is_exact = False
        self.may_leak = EVERYTHING
        """Counters that the last run has raised beyond what is usual: a leak raises its own with every run."""
        self.native_bytes = math.inf
        """By which the allocator's bytes rose in the last run beyond the least of clean tests'; may be below 0."""
        self.unusual_bytes = 0
        """The same beyond what they do for most of them: buffers and free lists of all kinds are among them."""
        self.excess_blocks = 0
        """Blocks beyond the least that is usual for the last test, 0 where nothing is."""
        self.claimed_bytes = 0
        """Private pages that came into use in the last run, in full steps: a pool's, or such as were never used."""
        for _ in range(3):  # reading leaves a little behind itself, the first times
            reader.read(self._rows, 0, clears_caches=True)

    @contextmanager
    def counted(self, item: pytest.Item) -> Iterator[None]:
        """Around the test's own run."""
        self._shapes = tuple(
            [
                self._clean.get(one) or self._clean.setdefault(one, Clean())
                for one in _shapes_of(item)
            ]
        )
        self._retained = None
        self._is_settled, self._was_disturbed = not self._was_disturbed, False
        settle(item)
        _announce(item)
        make_frames()
        self._set_aside.begin()
        self._reader.empty_no_caches()
        try:
            # The attribute cache was emptied after the last run; to do so again would slow this one down.
            self._reader.read(self._rows, 0)
            private, interned = self._reader.private_bytes, self._reader.interned
            self._set_aside.listen()
            spent = Spent()
            try:
                yield
            finally:
                self._set_aside.hush()
            if self._set_aside.is_frozen:  # otherwise a collection would take its whole time
                settle(item)
                self._reader.read(self._rows, 1, clears_caches=True)
                if any(self._rose(at) > 0 for at in TRANSIENT):
                    wait_for_ends(int(self._rows[THREADS]), WAITING_SHARE * spent.seconds)
                    self._reader.read(self._rows, 1, clears_caches=True)
                # One interned that was there before is left out all the same, which would hide a block that leaks.
                self._is_exact = self._reader.interned == interned
                self._retained = int(self._rose(BLOCKS))
                claimed = self._reader.private_bytes - private
                self.claimed_bytes = claimed if claimed >= PRIVATE_GRAIN_BYTES else 0
        finally:
            self._set_aside.end()

    def disturb(self) -> None:
        """More was done than to repeat a test, so that the next one may retain less than its part."""
        self._was_disturbed = True

    def is_clean(self) -> bool:
        """Whether the last run retained just what runs of clean tests do; bytes of all kinds are not looked at."""
        shape = self._as_usual()
        usual = min((one.usual for one in self._shapes if one.usual is not None), default=None)
        self.excess_blocks = (
            0 if usual is None or self._retained is None else self._retained - usual
        )
        if shape is None:
            self.may_leak, self.native_bytes = EVERYTHING, math.inf
            return False
        native, rose = shape.native[int(self._rose(BLOCKS))], int(self._rose(HEAP))
        self.native_bytes, self.unusual_bytes = (
            rose - max(0, native[0]),
            rose - max(0, native[len(native) // 2]),
        )
        raised = tuple(at for at in _OTHERS if self._rose(at) > 0)
        self.may_leak = (
            (HEAP,) * (self.native_bytes > 0) + raised + (PRIVATE,) * (self.claimed_bytes > 0)
        )
        return not raised

    def _as_usual(self) -> Clean | None:
        """The shape for which it is usual to retain what this test has."""
        if self._retained is None or not self._is_settled or not self._is_exact:
            return None
        # A module or function whose tests all fill a cache retains more than others do, but so does one with a leak.
        known = (one for one in self._shapes if one.usual is not None)
        least = min(known, key=lambda one: one.usual or 0, default=None)
        return least if least and least.usual == self._retained else None

    def learn(self, was_repeated: bool) -> None:
        """The test of the last run is clean."""
        if self._retained is None or not self._is_settled or not self._is_exact:
            return
        for shape in self._shapes:
            if was_repeated:
                shape.learn(self._retained, int(self._rose(HEAP)))
            else:
                shape.add(self._retained)

    def _rose(self, at: int) -> float:
        return self._rows[_WIDTH + at] - self._rows[at]


def _shapes_of(item: pytest.Item) -> tuple[Hashable, ...]:
    """The test function with all its parameters; tests of one kind in one module or class; all of one kind.

    Kinds are told by what the size of pytest's own state depends on. The first test of a class or module leaves the
    state of that one behind as well.
    """
    entered = tuple(map(type, item.listchain()[len(set_up_nodes(item.session)) :]))
    marks = tuple(mark.name for mark in item.iter_markers())
    kind = (type(item), type(item.parent), hasattr(item, "callspec"), entered, marks)
    return (item.parent, getattr(item, "originalname", item.name)), (item.parent, kind), kind


def _announce(item: pytest.Item) -> None:
    """Sets the variable that pytest sets in each phase: glibc keeps every string that was ever in the environment."""
    for phase in ("setup", "call", "teardown"):
        os.environ["PYTEST_CURRENT_TEST"] = f"{item.nodeid} ({phase})".replace("\0", "(null)")
    del os.environ["PYTEST_CURRENT_TEST"]
