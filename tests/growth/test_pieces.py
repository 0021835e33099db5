"""Recordings with restarts and cycles, and two groups side by side, as ``trend`` judges them."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from typing import Any

import pytest

from pytest_leakguard.cli.trend import compare_recordings, judge_recording
from pytest_leakguard.growth.diagnosis import Production
from pytest_leakguard.growth.pieces import restarts_in

MIB = 2.0**20
SEEDS = 40


def recorded(
    seed: int,
    days: float,
    every_s: int,
    leak: float = 0.0,
    cycle: float = 0.0,
    restart_h: int = 0,
    week: float = 0.0,
) -> str:
    """A recording in MiB (leak: per hour), with 2 MiB of noise; ``week`` is less on weekends."""
    chance = random.Random(seed)
    phase, leaked = chance.random() * 86_400, 0.0
    xs: list[float] = []
    ys: list[float] = []
    for i in range(int(days * 86_400 / every_s)):
        at = i * every_s
        if restart_h and i and at % (restart_h * 3600) < every_s:
            leaked = 0.0
        leaked += leak * every_s / 3600
        daily = cycle / 2 * (1 + math.sin(2 * math.pi * (at + phase) / 86_400))
        weekly = week * (at // 86_400 % 7 < 5)
        xs.append(1.7e9 + at)
        ys.append((400 + leaked + daily + weekly + chance.gauss(0, 2)) * MIB)
    return json.dumps({"time": xs, "rss": ys})


@pytest.mark.parametrize(
    ("kind", "leaks"),
    [
        ({"days": 7, "every_s": 600, "leak": 3, "cycle": 100}, True),
        ({"days": 7, "every_s": 600, "cycle": 100}, False),
        ({"days": 10, "every_s": 900, "leak": 20, "restart_h": 48}, True),
        ({"days": 10, "every_s": 900, "leak": 20, "restart_h": 48, "cycle": 100}, True),
        ({"days": 28, "every_s": 3600, "leak": 1, "cycle": 100, "week": 60}, True),
        ({"days": 28, "every_s": 3600, "cycle": 100, "week": 60}, False),
    ],
)
def test_cycles_and_restarts_hide_no_leak_and_make_none(kind: dict[str, Any], leaks: bool) -> None:
    found = Counter[bool]()
    for seed in range(SEEDS):
        report = judge_recording(recorded(seed, **kind), "x.json", Production(0, 1 << 30))
        found[report.diagnosis.shape == "leak"] += 1
        if leaks:
            assert all(mark.requests is not None for mark in report.diagnosis.marks)
    assert found[leaks] >= 38


def test_what_was_taken_out_is_said() -> None:
    restarts = recorded(1, days=10, every_s=900, leak=20, restart_h=48)
    notes = judge_recording(restarts, "x.json", Production()).notes
    assert "rss: 4 restarts: judged on the pieces between, one after another" in notes
    cycle = recorded(1, days=7, every_s=900, cycle=100)
    assert "rss: a daily cycle is taken out" in judge_recording(cycle, "x.json", Production()).notes


def test_the_teeth_of_a_collector_are_no_restarts() -> None:
    teeth = [100 + 10.0 * (i % 8) for i in range(400)]
    assert restarts_in(teeth) == []
    assert restarts_in([]) == []


@pytest.mark.parametrize(("leak", "status"), [(6, 1), (0, 0)])
def test_a_canary_is_compared_with_the_stable_group(leak: float, status: int) -> None:
    found = Counter[int]()
    text = ""
    for seed in range(20):
        canary = recorded(seed, days=2, every_s=120, leak=leak, cycle=20)
        stable = recorded(seed + 500, days=2, every_s=120, cycle=20)
        text, answer = compare_recordings(canary, "canary.json", stable, "stable.json")
        found[answer] += 1
    assert found[status] >= 19
    says = "grows faster than" if status else "does not surely grow faster than"
    assert f"canary.json {says} stable.json" in text
    assert "per hour more (95 % between" in text


def test_groups_that_have_nothing_in_common_are_undecided() -> None:
    requests = json.dumps({"requests": list(range(100)), "rss": [1e6] * 100})
    text, status = compare_recordings(recorded(1, 2, 600), "a.json", requests, "b.json")
    assert (status, "no series over the same axis" in text) == (3, True)


def test_what_is_missing_is_counted_as_the_recording_counts() -> None:
    ys = [50 * MIB + 40 * MIB * (1 - math.exp(-i / 350)) for i in range(200)]
    text = json.dumps({"time": [1.7e9 + 10 * i for i in range(200)], "rss": ys})
    report = judge_recording(text, "x.json", Production())
    assert report.diagnosis.shape == "undecided"
    assert "extend the run to 3980 seconds" in report.growth[0].reason
