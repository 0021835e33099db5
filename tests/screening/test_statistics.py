"""The arithmetic of exact counters on series with known answers."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.screening.statistics import weigh


def shape_of(value: Callable[[int], float], runs: int, unit: str = "blocks") -> Shape:
    places = sorted(random.Random(1).sample(range(1, runs), min(120, runs // 2)))
    return weigh([0, *places, runs], [value(at) for at in (0, *places, runs)], unit).shape


@pytest.mark.parametrize("period", [1, 10, 100])
def test_a_periodic_leak_is_a_leak(period: int) -> None:
    assert shape_of(lambda at: 4 * (at // period), 6370) is Shape.LEAK


def test_a_cache_that_has_filled_is_no_leak() -> None:
    assert shape_of(lambda at: min(at, 10_000), 25_570) is not Shape.LEAK


def test_a_buffer_that_is_flushed_is_no_leak() -> None:
    assert shape_of(lambda at: at % 700, 6370) is not Shape.LEAK


def test_a_step_is_no_leak() -> None:
    assert shape_of(lambda at: 5000 if at > 3 else 0, 400) is not Shape.LEAK


def test_random_levels_are_no_leak() -> None:
    levels = random.Random(3)
    for _ in range(200):
        assert shape_of(lambda _: levels.randrange(800_000), 1570, "bytes") is not Shape.LEAK


class Buffer:
    """Takes a share of its size more when it is full."""

    def __init__(self, share: float) -> None:
        self._share, self._room = share, 64.0

    def room(self, used: float) -> float:
        while self._room < used:
            self._room *= 1 + self._share
        return self._room


def places(runs: int, seed: int) -> list[int]:
    """Sixteen in windows that double, as a repetition takes them."""
    irregular, found, length = random.Random(seed), [0, 20], 50
    while found[-1] < runs:
        start = found[-1]
        found += sorted(
            {start + round((part + irregular.random()) * length / 16) for part in range(1, 16)}
        )
        found.append(start + length)
        length *= 2
    return sorted(set(found))


@pytest.mark.parametrize("share", [1 / 16, 1 / 8, 1 / 4])
def test_a_buffer_that_grows_in_ever_larger_steps_is_a_leak(share: float) -> None:
    for seed in range(50):
        buffer = Buffer(share)
        at = places(12_770, seed)
        assert weigh(at, [buffer.room(30 * one) for one in at], "bytes").shape is Shape.LEAK


def test_peaks_that_are_kept_are_no_leak() -> None:
    for seed in range(50):
        sizes, at = random.Random(seed), places(12_770, seed)
        peaks, walk, level, peak, highest = [0.0], [0.0], 0, 0.0, 0
        for _ in range(at[-1]):
            peak = max(peak, sizes.expovariate(1 / 20_000))
            level = max(0, level + sizes.choice((-1, 1)))
            highest = max(highest, level)
            peaks.append(peak)
            walk.append(2000.0 * highest)
        for series in (peaks, walk):
            assert weigh(at, [series[one] for one in at], "bytes").shape is not Shape.LEAK


def test_the_last_entries_of_a_cache_that_come_by_chance_are_no_leak() -> None:
    for seed in range(100):
        chance = random.Random(seed)
        left = [chance.expovariate(1 / 3000) for _ in range(8)]
        at = places(2030, seed)
        assert (
            weigh(at, [9000.0 * sum(when <= one for when in left) for one in at], "bytes").shape
            is not Shape.LEAK
        )


def test_the_pace_of_a_leak_is_exact() -> None:
    evidence = weigh(range(0, 200, 5), [3 * at for at in range(0, 200, 5)], "blocks")
    assert evidence.per_run == pytest.approx(3.0)
    assert evidence.low == pytest.approx(evidence.high)
