"""A recording whose process was gone proves nothing of what came after."""

from __future__ import annotations

import json

import pytest

from pytest_leakguard.cli.trend import as_text, judge_recording
from pytest_leakguard.growth.diagnosis import Production
from pytest_leakguard.verdict import CLEAN, INCONCLUSIVE, LEAKS

SAMPLES = 60
FLAT = [100_000_000] * SAMPLES
RISING = [100_000_000 + 500_000 * number for number in range(SAMPLES)]


def judged(**series: list[int]) -> tuple[int, str]:
    text = json.dumps({"requests": [100 * number for number in range(SAMPLES)], **series})
    report = judge_recording(text, "recording.json", Production())
    said = [*(growth.reason for growth in report.growth), *report.notes]
    return report.exit_status, " ".join(said)


@pytest.mark.parametrize("metric", ["rss", "pss", "uss", "fds", "heap"])
def test_a_series_that_is_0_from_beginning_to_end_measured_nothing(metric: str) -> None:
    status, said = judged(**{metric: [0] * SAMPLES})
    assert status == INCONCLUSIVE
    assert "every reading is 0" in said


@pytest.mark.parametrize("metric", ["rss", "pss", "heap"])
def test_a_series_that_falls_to_0_is_undecided(metric: str) -> None:
    status, said = judged(**{metric: FLAT[:40] + [0] * 20})
    assert status == INCONCLUSIVE
    assert "from request 4,000 on readings are 0" in said


def test_a_leak_that_was_seen_before_the_process_ended_stays_a_leak() -> None:
    status, said = judged(rss=RISING[:50] + [0] * 10)
    assert status == LEAKS
    assert "the process ended there" in said


def test_readings_from_before_the_process_began_are_left_out() -> None:
    assert judged(rss=[0, 0, 0, *FLAT[3:]])[0] == CLEAN
    assert judged(rss=[0, 0, 0, *RISING[3:]])[0] == LEAKS


def test_a_live_process_is_judged_as_before() -> None:
    assert judged(rss=FLAT)[0] == CLEAN
    assert judged(rss=RISING)[0] == LEAKS


def test_a_leak_in_a_recording_is_not_answered_with_a_tool_to_run_what_is_not_there() -> None:
    rows = "".join(f"{at * 100},{100_000_000 + at * 200_000}\n" for at in range(40))
    report = judge_recording(f"requests,rss\n{rows}", "rec.csv", Production())
    text = as_text(report)
    assert "next: to find the allocating line, drive the service with leakguard.serve" in text
    assert "tool=" not in text
