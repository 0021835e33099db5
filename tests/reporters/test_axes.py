"""Axes of the drawings: from zero or broken, ticks at round numbers, whatever the values are."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from pytest_leakguard.reporters.html_axes import BOTTOM, HEIGHT, LEFT, TOP, horizontal, vertical

VALUES = st.floats(-1e17, 1e17, allow_nan=False)


def test_what_rises_by_much_is_drawn_from_zero() -> None:
    axis = vertical((10.0, 100.0), "")
    assert not axis.is_broken
    assert [tick.label for tick in axis.ticks()] == ["0", "20", "40", "60", "80", "100"]


def test_what_rises_by_little_is_drawn_on_a_broken_axis_from_a_round_number() -> None:
    axis = vertical((1000.0, 1100.0), "")
    assert axis.is_broken
    assert [tick.label for tick in axis.ticks()] == [
        "1,000",
        "1,020",
        "1,040",
        "1,060",
        "1,080",
        "1,100",
    ]


def test_bytes_have_ticks_in_their_own_round_numbers() -> None:
    axis = vertical((0.0, 3 * 1024 * 1024.0), "bytes")
    assert [tick.label for tick in axis.ticks()] == ["0", "1 MiB", "2 MiB", "3 MiB"]


def test_ticks_that_stand_close_are_told_apart() -> None:
    labels = [tick.label for tick in vertical((14.3 * 2**20, 15.1 * 2**20), "bytes").ticks()]
    assert labels == ["14.25 MiB", "14.5 MiB", "14.75 MiB", "15 MiB", "15.25 MiB"]


def test_a_flat_series_lies_inside_of_its_axis() -> None:
    for value in (0.0, 7.0, 2.0**30):
        axis = vertical((value, value), "bytes")
        assert axis.low <= value <= axis.high and axis.low < axis.high


@given(st.lists(VALUES, min_size=1, max_size=9), st.sampled_from(["bytes", "blocks"]))
def test_every_value_is_inside_of_the_drawing_between_its_ticks(
    values: list[float], unit: str
) -> None:
    axis = vertical(values, unit)
    for value in values:
        assert TOP - 0.2 <= axis.at(value) <= HEIGHT - BOTTOM + 0.2
    ticks = axis.ticks()
    assert len(ticks) <= 10
    assert all(math.isfinite(tick.at) and tick.label for tick in ticks)
    assert axis.is_broken == (axis.low > 0)


@given(VALUES, VALUES)
def test_the_lower_axis_goes_from_the_first_to_the_last(one: float, other: float) -> None:
    low, high = sorted((one, other))
    axis = horizontal(low, high)
    assert axis.at(low) == LEFT
    assert all(math.isfinite(tick.at) for tick in axis.ticks())
