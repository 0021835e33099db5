"""The quick look at one test, by what each of its runs leaves: one accident hides no leak, and caches are cleared."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import cast

import pytest

from pytest_leakguard.counters.reader import BLOCKS, COUNTERS, Reader
from pytest_leakguard.screening.quick_check import (
    EMPTIED_AFTER,
    SUSPECT_AFTER,
    SUSPECT_OF_KNOWN_AFTER,
    Circumstances,
    QuickLook,
    Suspicion,
)


class Scripted:
    """A reader of blocks that rise as the script says, one entry per run; 1 when it is used up."""

    def __init__(self, rises: list[int]) -> None:
        self.empties_library_caches = False
        self._blocks, self._rises, self.runs = 0, iter(rises), 0

    def run(self) -> None:
        self._blocks += next(self._rises, 1)
        self.runs += 1

    def read_cheap(self, into: array[float], row: int, clears_caches: bool = False) -> None:
        into[row * len(COUNTERS) + BLOCKS] = self._blocks

    def read_heap(self, into: array[float], row: int) -> None:
        """No memory is read here."""

    read = read_cheap


def look(rises: list[int], enough: int = SUSPECT_AFTER) -> tuple[Suspicion | None, int]:
    """What the look says, and how many runs it took."""
    script = Scripted(rises)
    seen = QuickLook(cast("Reader", script)).at(script.run, Circumstances(), enough)
    return seen, script.runs


def accidents(runs: int) -> Iterator[list[int]]:
    """A leak of one block, with one run that stands still or falls."""
    for at in range(runs):
        for fall in (0, -1, -3):
            yield [*[1] * at, fall]


@pytest.mark.parametrize("rises", list(accidents(SUSPECT_AFTER + 1)), ids=str)
def test_one_accident_hides_no_leak(rises: list[int]) -> None:
    seen, _ = look(rises)
    assert seen is not None
    assert 0 < seen.rises[BLOCKS] <= 1


@pytest.mark.parametrize("rises", list(accidents(SUSPECT_OF_KNOWN_AFTER)), ids=str)
def test_nor_one_that_is_known_already_of_which_two_runs_are_looked_at(rises: list[int]) -> None:
    assert look(rises, SUSPECT_OF_KNOWN_AFTER)[0] is not None


@pytest.mark.parametrize("first", [0, -2, -50])
def test_the_first_run_with_empty_library_caches_counts_for_nothing(first: int) -> None:
    seen, runs = look([*[1] * EMPTIED_AFTER, first])
    assert seen is not None
    assert seen.rises[BLOCKS] == 1
    assert runs == SUSPECT_AFTER + 1


@pytest.mark.parametrize(
    ("rises", "most"),
    [([0] * 9, 2), ([1, 0, 0, 0], 3), ([40, 3, 0, 0, 0], 5), ([1, -1, 1, -1, 1, -1], 6)],
)
def test_what_stops_rising_is_cleared_soon(rises: list[int], most: int) -> None:
    seen, runs = look(rises)
    assert seen is None
    assert runs <= most
