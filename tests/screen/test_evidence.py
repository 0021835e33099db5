"""The arithmetic of exact counters on series with known answers."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from pytest_leakguard.evidence import Shape, weigh


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


def test_the_pace_of_a_leak_is_exact() -> None:
    evidence = weigh(range(0, 200, 5), [3 * at for at in range(0, 200, 5)], "blocks")
    assert evidence.per_run == pytest.approx(3.0)
    assert evidence.low == pytest.approx(evidence.high)
