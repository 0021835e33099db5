"""The spacing of readings, from what they cost and how long requests take."""

from __future__ import annotations

import pytest

from pytest_leakguard.growth.thresholds import LEAST_READINGS
from pytest_leakguard.services import sampling_schedule


def readings(cost_s: float, per_request_s: float, limit: int) -> list[int]:
    """The requests after which a whole run is read, if every reading costs the same."""
    done, at = 0, list[int]()
    while done < limit:
        affordable = sampling_schedule.affordable_at(
            done, done * per_request_s, len(at) * cost_s, cost_s, sampling_schedule.READINGS_SHARE
        )
        done = min(limit, sampling_schedule.next_reading(done, affordable, limit))
        at.append(done)
    return at


def test_a_reading_is_afforded_once_all_of_them_keep_their_share() -> None:
    assert sampling_schedule.affordable_at(
        100, working_s=1.0, spent_s=0.01, cost_s=0.01, share=0.01
    ) == pytest.approx(200)
    assert sampling_schedule.affordable_at(0, 0.0, 0.0, 0.01, 0.01) == 0.0


def test_cheap_readings_are_as_fine_as_they_pay() -> None:
    assert sampling_schedule.next_reading(10, affordable=0, limit=5000) == 14
    assert sampling_schedule.next_reading(1000, affordable=0, limit=5000) == 1025
    assert len(readings(1e-6, 0.001, 5000)) > 100


@pytest.mark.parametrize("cost_s", [0.0005, 0.001, 0.0015])
def test_readings_keep_their_share_of_the_time(cost_s: float) -> None:
    at = readings(cost_s, 0.001, 5000)
    assert len(at) * cost_s <= 1.05 * sampling_schedule.READINGS_SHARE * 5000 * 0.001 + 2 * cost_s


@pytest.mark.parametrize("limit", [300, 5000, 60_000])
def test_however_dear_a_verdict_has_its_readings(limit: int) -> None:
    at = readings(10.0, 0.001, limit)
    assert LEAST_READINGS <= len(at) <= LEAST_READINGS + 4
    assert sum(request >= limit / 2 for request in at) >= 11
    assert sum(request >= limit / 4 for request in at) >= 17


def test_a_run_is_made_longer_where_that_helps_and_within_bounds() -> None:
    assert sampling_schedule.extended(5000, 0.001, 0.0005) == 5000
    longer = sampling_schedule.extended(5000, 0.0004, 0.001)
    assert 5000 < longer < 10 * 5000
    assert LEAST_READINGS * 0.001 / (longer * 0.0004) < sampling_schedule.MOST_SHARE
    assert sampling_schedule.extended(5000, 0.0001, 0.01) == sampling_schedule.LONGEST_FACTOR * 5000
    assert sampling_schedule.extended(5000, 0.002, 0.012) == sampling_schedule.LONGEST_S / 0.002
    assert sampling_schedule.extended(5000, 0.0002, 0.5) == 5000  # a JVM's readings
    assert sampling_schedule.extended(5000, 0.0, 0.5) == 5000
