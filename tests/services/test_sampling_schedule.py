"""The spacing of readings, from what they cost and how long requests take."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from pytest_leakguard.growth.thresholds import LEAST_READINGS
from pytest_leakguard.services import check, sampling_schedule
from pytest_leakguard.services.launch import Service
from pytest_leakguard.services.live_heap import HeapReader
from pytest_leakguard.services.sampler import Sampler
from pytest_leakguard.services.timeline import Timeline


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


def sampler(working_s: float, reading_s: float = 0.0, checkpoints_s: float = 0.0) -> Sampler:
    """A sampler that has spent so much; its next reading costs 0.1 s."""
    made = Sampler(Service(os.getpid(), 0, "service"), HeapReader(is_active=False), 10_000)
    made._costs_s.append(0.1)
    made.timeline.working_s, made.timeline.reading_s = working_s, reading_s
    made.timeline.checkpoints_s = checkpoints_s
    return made


def is_dear(share: float) -> bool:
    """Whether a reader is told that sampling took so much of the time."""
    timeline = Timeline(requests=[0, 100], working_s=1 - share, reading_s=share)
    return bool(list(check._dear(timeline)))


CASES: dict[str, tuple[Callable[[], object], object, tuple[float, float]]] = {
    "MOST_SHARE": (lambda: (is_dear(0.019), is_dear(0.021)), (False, True), (0.9, 1.1)),
    "READINGS_SHARE": (lambda: sampler(10, reading_s=0.1).next_sample(100), 200, (0.9, 1.1)),
    "CHECKPOINTS_SHARE": (
        lambda: [sampler(100, checkpoints_s=s).can_afford_checkpoint() for s in (0.19, 0.21)],
        [True, False],
        (0.9, 1.1),
    ),
    "LONGEST_FACTOR": (
        lambda: sampling_schedule.extended(5000, 0.0001, 0.01),
        100_000,
        (0.5, 2),
    ),
    "LONGEST_S": (lambda: sampling_schedule.extended(5000, 0.002, 0.012), 7500, (0.5, 2)),
    "HOPELESS_S": (
        lambda: [sampling_schedule.extended(5000, 0.002, cost) for cost in (0.02, 0.0215)],
        [7500, 5000],
        (0.9, 1.1),
    ),
    "_EXTENDED_SHARE": (
        lambda: sampling_schedule.extended(5000, 0.0004, 0.001),
        5962,
        (0.9, 1.1),
    ),
    "_CHECKPOINTS_S": (
        lambda: sampling_schedule.extended(5000, 0.0004, 0.001),
        5962,
        (0.5, 2),
    ),
    "_LIVENESS_CHECKS": (lambda: sampling_schedule.liveness_check_after(5000), 50, (0.5, 2)),
    "_FINEST": (lambda: sampling_schedule.next_reading(1000, 0, 5000), 1025, (0.9, 1.1)),
    "_LEAST_GAP": (lambda: sampling_schedule.next_reading(10, 0, 5000), 14, (0.5, 2)),
    "BATCH": (lambda: sampling_schedule.next_batch_end(0, 1e9, 5000), 10, (0.5, 2)),
    "FREQUENT_UNTIL": (
        lambda: [sampling_schedule.next_batch_end(done, 1e9, 5000) for done in (580, 620)],
        [599, 680],
        (0.9, 1.1),
    ),
    "_BATCHES_SO_FAR": (lambda: sampling_schedule.next_batch_end(900, 0, 5000), 930, (0.5, 2)),
    "_BATCHES_LATE": (lambda: sampling_schedule.next_batch_end(3000, 1e9, 5000), 3150, (0.9, 1.1)),
    "_LONGEST_BATCH": (lambda: sampling_schedule.next_batch_end(600, 1e9, 5000), 660, (0.5, 2)),
    "_LIKELY_READINGS": (lambda: sampling_schedule.likely_end(100, 5000), 280, (0.5, 2)),
}
"""For each number what is asked, what is promised, and the factors by which it is moved."""


@pytest.mark.parametrize("name", CASES)
def test_a_number_of_the_schedule_that_moves_changes_an_answer(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, promised, factors = CASES[name]
    assert ask() == promised
    for factor in factors:
        value = getattr(sampling_schedule, name)
        moved = round(value * factor) if isinstance(value, int) else value * factor
        with monkeypatch.context() as patched:
            patched.setattr(sampling_schedule, name, moved)
            assert ask() != promised, factor


def test_every_number_of_the_schedule_has_a_case() -> None:
    assert {name for name in vars(sampling_schedule) if name.isupper()} == set(CASES)
