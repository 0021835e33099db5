"""The growth verdict on series with a known answer, recorded ones and made ones."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.growth.ages import Ages, Counted, Fate
from pytest_leakguard.growth.answers import (
    Burst,
    Cache,
    Fragmentation,
    Judgement,
    Leaking,
    Stable,
    Trend,
    Undecided,
)
from pytest_leakguard.growth.classify import judge, judge_series
from pytest_leakguard.growth.forecasting import forecast
from pytest_leakguard.growth.metrics import (
    BLOCKS,
    DESCRIPTORS,
    HEAP,
    IN_PROCESS_METRICS,
    METRICS,
    PROCESSES,
    RESIDENT,
)
from pytest_leakguard.growth.statistics import Slope
from pytest_leakguard.growth.stopping import (
    CAREFUL,
    DEFAULT,
    FULL,
    may_stop,
    missing,
    next_checkpoint,
)
from pytest_leakguard.growth.thresholds import LEAST_READINGS

ROOT = Path(__file__).parents[2]
GOLDEN = sorted((ROOT / "tests/golden/traces").glob("*.json"))
SHARED = ROOT / "../shared/traces"
REQUESTS = [25.0 * i for i in range(201)]
BASE = 40 * 2**20
MIB = 2**20


def pages(*values: float) -> list[float]:
    return [BASE + value // 4096 * 4096 for value in values]


def line(rate: float) -> list[float]:
    return pages(*(rate * x for x in REQUESTS))


def traces(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(folder.glob("*.json")):
        yield path.stem, json.loads(path.read_text())


def judged(trace: dict[str, Any]) -> Judgement:
    names: list[str] = ["anon", "heap", "fds", "threads"]
    series: dict[str, list[float | None]] = {name: trace[name] for name in names if name in trace}
    return judge(trace["requests"], series, processes=trace["procs"][0])


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_recorded_service_gets_an_accepted_answer(path: Path) -> None:
    trace = json.loads(path.read_text())
    answer = judged(trace)
    assert answer.shape in trace["accept"]
    if trace["label"] == "leak":
        truth = trace["true_bytes_per_request"]
        assert answer.overall.per_iteration == pytest.approx(truth, rel=0.15)


def thinned(trace: dict[str, Any], readings: int) -> dict[str, Any]:
    """The trace as if it had been read so often only, evenly spread."""
    requests = trace["requests"]
    kept, gap = [0], requests[-1] / readings
    for number, done in enumerate(requests):
        if done - requests[kept[-1]] >= gap or (number == len(requests) - 1 and number > kept[-1]):
            kept.append(number)
    is_series = {
        name: isinstance(value, list) and len(value) == len(requests)
        for name, value in trace.items()
    }
    return {
        name: [value[i] for i in kept] if is_series[name] else value
        for name, value in trace.items()
    }


@pytest.mark.skipif(not SHARED.is_dir(), reason="the full set of recorded services is not here")
@pytest.mark.parametrize("readings", [LEAST_READINGS, 45, 1000])
def test_no_recorded_service_without_a_leak_is_called_one(readings: int) -> None:
    found = large = 0
    for name, trace in traces(SHARED / "services"):
        if trace["language"] == "java" and "heap" not in trace and not trace["controls"]:
            continue  # its default collector grows resident memory in a straight line when clean
        shape = judged(thinned(trace, readings)).shape
        assert shape != "leak" or "leak" in trace["accept"], name
        if trace["label"] == "leak" and trace["true_bytes_per_request"] >= 64:
            large += 1
            found += shape == "leak"
    assert (found >= 56, large) == (True, 60)


def test_what_was_there_before_a_run_and_is_given_back_hides_no_leak() -> None:
    requests = [25.0 * i for i in range(201)]
    grown = [BASE + 2048 * n - (20 * MIB if n > 2600 else 0) for n in requests]
    judgement = judge(requests, {"anon": grown})
    assert judgement.shape == "leak"
    assert judgement.overall.per_iteration == pytest.approx(2048, rel=0.05)
    emptied = [BASE + 2048 * n - (2048 * 2600 if n > 2600 else 0) for n in requests]
    assert judge(requests, {"anon": emptied}).shape != "leak"


def test_growth_that_bends_is_open_until_the_usual_requests() -> None:
    requests = [10.0 * i for i in range(201)]
    filling = [BASE + 6 * MIB * (1 - math.exp(-n / 3500)) for n in requests]
    judgement = judge(requests, {"anon": filling})
    assert judgement.shape == "undecided"
    assert "slower and slower" in f"{judgement.overall}"
    assert "extend the run to 4000 requests" in f"{judgement.overall}"


def cut(trace: dict[str, Any], share: float) -> dict[str, Any]:
    """What had been recorded after that share of the requests."""
    requests = trace["requests"]
    count = sum(done <= share * requests[-1] for done in requests)
    return {
        name: value[:count] if isinstance(value, list) and len(value) == len(requests) else value
        for name, value in trace.items()
    }


@pytest.mark.skipif(not SHARED.is_dir(), reason="the full set of recorded services is not here")
@pytest.mark.parametrize(("share", "least", "most"), [(0.25, 45, 12), (0.4, 46, 10), (0.8, 52, 4)])
def test_the_longer_a_recording_the_more_leaks_are_found_and_the_fewer_falsely(
    share: float, least: int, most: int
) -> None:
    """What is still falsely a leak are caches that fill in a straight line, as a leak does."""
    found = false = 0
    for _, trace in traces(SHARED / "services"):
        if trace["language"] == "java" and "heap" not in trace and not trace["controls"]:
            continue
        shape = judged(cut(trace, share)).shape
        false += shape == "leak" and "leak" not in trace["accept"]
        large = trace["label"] == "leak" and trace["true_bytes_per_request"] >= 64
        found += large and shape == "leak"
    assert (found >= least, false <= most) == (True, True), (found, false)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the full set of recorded functions is not here")
def test_every_recorded_function_that_leaks_is_found_and_no_other() -> None:
    for name, trace in traces(SHARED / "inprocess"):
        heap = [a + b for a, b in zip(trace["heap"], trace["mmap"], strict=True)]
        series = {"heap": heap, **{key: trace[key] for key in ("blocks", "fds", "threads")}}
        answer = judge(trace["requests"], series, metrics=IN_PROCESS_METRICS)
        assert (answer.shape == "leak") == (trace["label"] == "leak"), name


def test_a_steady_line_is_a_leak_of_its_slope() -> None:
    match judge_series(REQUESTS, line(1000)):
        case Leaking(per_iteration=rate, low=low, high=high, iterations=5000):
            assert low < 1000 < high
            assert rate == pytest.approx(1000, rel=0.02)
        case other:
            pytest.fail(f"{other}")


def test_a_constant_is_stable_and_says_what_would_have_shown() -> None:
    answer = judge_series(REQUESTS, line(0))
    assert isinstance(answer, Stable)
    assert answer.detectable_per_iteration == (256 + 32) * 1024 / 5000
    more = judge_series(REQUESTS, line(0), processes=3).detectable_per_iteration
    assert more is not None
    assert more > answer.detectable_per_iteration


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8])
def test_growth_that_ends_is_a_cache(share: float) -> None:
    values = pages(*(2000 * min(x, share * 5000) for x in REQUESTS))
    assert isinstance(judge_series(REQUESTS, values), Cache)


def test_a_kept_step_is_a_burst() -> None:
    values = pages(*(8 * MIB * (x > 2000) for x in REQUESTS))
    assert isinstance(judge_series(REQUESTS, values), Burst)


@pytest.mark.parametrize("first", [500, 700, 1500])
def test_a_step_in_each_of_two_workers_is_a_burst(first: int) -> None:
    """Also where the busier one comes to it soon after the start."""
    warm_up = [64 * 1024 * min(1.0, x / 400) for x in REQUESTS]
    values = pages(
        *(w + 20 * MIB * ((x > first) + (x > 2200)) for x, w in zip(REQUESTS, warm_up, strict=True))
    )
    assert isinstance(judge_series(REQUESTS, values, processes=3), Burst)


@pytest.mark.parametrize("share", [0.08, 0.1, 0.12, 0.15])
@pytest.mark.parametrize("seed", range(5))
def test_a_cache_that_fills_early_is_no_burst(share: float, seed: int) -> None:
    """Few readings, unevenly spread: two of them may lie far apart where it fills."""
    chance = random.Random(seed)
    requests = [0, *(int((i + chance.random()) * 4000 / 28) for i in range(28)), 4000]
    values = pages(*(3 * MIB * min(1.0, x / (share * 4000)) for x in requests))
    assert isinstance(judge_series(requests, values), Cache | Stable)


def test_memory_given_back_is_a_burst() -> None:
    values = pages(*(8 * MIB * (2000 < x < 2500) for x in REQUESTS))
    answer = judge_series(REQUESTS, values)
    assert isinstance(answer, Burst)
    assert "given back" in answer.evidence[-1]


def test_late_growth_is_undecided_and_says_how_far_to_go() -> None:
    match judge_series(REQUESTS, pages(*(3000 * max(0, x - 3700) for x in REQUESTS))):
        case Undecided(counted_in="requests", have=5000, need=need, reason=reason):
            assert need > 5000
            assert "late" in reason
        case other:
            pytest.fail(f"{other}")


@pytest.mark.parametrize("samples", [0, 1, 2, 14])
def test_undecided_is_not_a_pass(samples: int) -> None:
    match judge_series(REQUESTS[:samples], line(1000)[:samples]):
        case Undecided(counted_in="samples", have=have, need=need):
            assert have == samples < need
        case other:
            pytest.fail(f"{other}")


def test_samples_crowded_at_the_start_are_too_few() -> None:
    requests = [*range(100), 5000, 6000]
    answer = judge_series(requests, [BASE + 900 * x for x in requests])
    assert isinstance(answer, Undecided)
    assert answer.detectable_per_iteration is None


@pytest.mark.parametrize(("where", "is_fragmentation"), [(500, False), (1000, True)])
def test_an_early_step_beside_a_flat_heap_is_the_runtime_that_starts(
    where: int, is_fragmentation: bool
) -> None:
    resident = pages(*(12 * MIB * (x > where) for x in REQUESTS))
    answer = judge(REQUESTS, {"anon": resident, "heap": [5e6] * len(REQUESTS)})
    pages_trend = next(trend for trend in answer.trends if trend.metric.name == "anon")
    assert isinstance(pages_trend, Fragmentation if is_fragmentation else Burst)


def test_the_live_heap_decides_between_leak_and_fragmentation() -> None:
    resident, flat = line(3000), [5e6] * len(REQUESTS)
    answer = judge(REQUESTS, {"anon": resident, "heap": flat})
    assert isinstance(answer.overall, Fragmentation)
    assert [trend.shape for trend in answer.trends] == ["stable", "fragmentation"]
    assert judge(REQUESTS, {"anon": resident, "heap": line(2900)}).shape == "leak"
    assert judge(REQUESTS, {"anon": resident}).shape == "leak"


def test_a_heap_leak_is_found_under_flat_resident_memory() -> None:
    answer = judge(REQUESTS, {"rss": line(0), "heap": [5e6 + 64 * x for x in REQUESTS]})
    assert (answer.shape, answer.overall.metric.name) == ("leak", "heap")


def test_growth_of_file_pages_does_not_outvote_anonymous_memory() -> None:
    answer = judge(REQUESTS, {"rss": line(2000), "anon": line(0)})
    assert answer.shape == "stable"
    assert all(not isinstance(trend, Leaking) for trend in answer.trends)


def test_leaking_counter_is_named() -> None:
    answer = judge(REQUESTS, {"anon": line(0), "fds": [5 + x // 50 for x in REQUESTS]})
    assert (answer.shape, answer.overall.metric.unit) == ("leak", "descriptors")
    assert answer.overall.per_iteration == pytest.approx(0.02, rel=0.05)


def test_a_leaking_counter_decides_where_memory_grows_by_its_bookkeeping() -> None:
    fds = [5.0 + x for x in REQUESTS]
    assert (
        judge(REQUESTS, {"heap": [40 * x for x in REQUESTS], "fds": fds}).overall.metric.name
        == "fds"
    )
    assert (
        judge(REQUESTS, {"heap": [4096 * x for x in REQUESTS], "fds": fds}).overall.metric.name
        == "heap"
    )


def test_collected_heaps_are_not_accused_by_resident_memory_alone() -> None:
    assert judge(REQUESTS, {"anon": line(900)}, runtime="v8").shape != "leak"
    answer = judge(REQUESTS, {"anon": line(9000)}, runtime="jvm")
    assert isinstance(answer.overall, Undecided)
    with_heap = judge(REQUESTS, {"anon": line(9000), "heap": line(9000)}, runtime="jvm")
    assert with_heap.shape == "leak"


def test_a_heap_reading_without_an_answer_excuses_nothing() -> None:
    empty: list[float | None] = [None] * len(REQUESTS)
    answer = judge(REQUESTS, {"anon": line(9000), "heap": empty}, runtime="jvm")
    assert isinstance(answer.overall, Undecided)
    seldom: list[float | None] = [5e6 if i % 40 == 0 else None for i in range(len(REQUESTS))]
    assert judge(REQUESTS, {"anon": line(0), "heap": seldom}).shape == "stable"
    assert judge(REQUESTS[:5], {"anon": line(0)[:5], "fds": [3] * 5}).shape == "undecided"


def test_late_growth_of_the_heap_or_a_counter_is_no_pass() -> None:
    late = [5e6 + 3000 * max(0, x - 3700) for x in REQUESTS]
    assert judge(REQUESTS, {"anon": line(0), "heap": late}).shape == "undecided"
    fds = [3 + max(0.0, x - 3700) // 25 for x in REQUESTS]
    assert judge(REQUESTS, {"anon": line(0), "fds": fds}).shape == "undecided"


def test_blocks_are_not_compared_with_bytes() -> None:
    series = {"blocks": [86_000.0] * len(REQUESTS), "rss": line(3000)}
    assert judge(REQUESTS, series, metrics=IN_PROCESS_METRICS).shape == "leak"


def test_nothing_known_is_undecided() -> None:
    answer = judge(REQUESTS, {"cpu": line(1)})
    assert isinstance(answer.overall, Undecided)
    assert answer.ignored == ("cpu",)


def test_missing_and_damaged_samples_are_left_out_and_counted() -> None:
    values: list[float | None] = list(line(1000))
    values[50], values[60], values[70] = None, float("nan"), 1e300
    answer = judge_series(REQUESTS, values)
    assert isinstance(answer, Leaking)
    assert "3 samples were unusable" in answer.evidence


def test_exact_counters_need_few_samples() -> None:
    calls = list(range(0, 500, 20))
    assert isinstance(judge_series(calls, [86_000 + x for x in calls], BLOCKS), Leaking)
    assert isinstance(judge_series(calls, [86_000.0] * len(calls), BLOCKS), Stable)
    assert isinstance(judge_series(calls, [5 + x // 20 for x in calls], DESCRIPTORS), Leaking)


def test_judging_two_hundred_samples_takes_less_than_twenty_milliseconds() -> None:
    values = line(300)
    started = time.process_time()
    for _ in range(10):
        judge_series(REQUESTS, values)
    assert (time.process_time() - started) / 10 < 0.020


def checkpoint(
    kind: type[Trend], requests: int, detectable: float = 60, rise: float = 0
) -> Judgement:
    more: dict[str, Any] = {}
    if kind is Undecided:
        more = {"reason": "", "remedy": "", "counted_in": "requests", "have": 1, "need": 2}
    trend = kind(
        metric=RESIDENT,
        iterations=requests,
        rise=rise,
        detectable_per_iteration=detectable,
        **more,
    )
    return Judgement(trend, (trend,))


def test_a_leak_ends_the_run_only_when_confirmed_and_large_enough() -> None:
    first, second = checkpoint(Leaking, 800, rise=4 * MIB), checkpoint(Leaking, 1300, rise=8 * MIB)
    assert may_stop([first]) == ""
    assert "leak" in may_stop([first, second])
    assert may_stop([first, checkpoint(Leaking, 1100, rise=8 * MIB)]) == ""
    assert may_stop([first, checkpoint(Leaking, 1300, rise=7 * MIB)]) == ""
    assert may_stop([first, checkpoint(Cache, 1000, 900), second]) == ""
    assert may_stop([first, second], CAREFUL) == ""


@pytest.mark.parametrize(("count", "ends"), [(128, True), (120, False)])
def test_descriptors_beyond_any_pool_end_the_run_beside_memory_that_is_little(
    count: int, ends: bool
) -> None:
    runs = [checkpoint(Leaking, requests, rise=64 * 1024) for requests in (800, 1300)]
    beside = replace(runs[1].overall, metric=DESCRIPTORS, rise=count)
    both = [replace(run, trends=(*run.trends, beside)) for run in runs]
    assert bool(may_stop(both)) == ends
    assert may_stop(both, CAREFUL) == ""


def test_with_unique_keys_nothing_that_grows_ends_the_run() -> None:
    for metric in (RESIDENT, DESCRIPTORS):
        grown = [
            replace(checkpoint(Leaking, 800, rise=8 * MIB).overall, metric=metric, iterations=n)
            for n in (800, 1300)
        ]
        assert may_stop([Judgement(trend) for trend in grown], CAREFUL) == ""
        assert may_stop([Judgement(trend) for trend in grown], DEFAULT) != ""


def test_a_quiet_run_ends_only_when_a_leak_would_have_shown() -> None:
    assert "first 1,600" in may_stop([checkpoint(Stable, 1300, 300), checkpoint(Cache, 1600, 250)])
    assert may_stop([checkpoint(Stable, 1300, 600), checkpoint(Stable, 1600, 250)]) == ""
    assert may_stop([checkpoint(Stable, 1300, 300), checkpoint(Stable, 1600, 270)]) == ""
    assert may_stop([checkpoint(Undecided, 1300, 300), checkpoint(Stable, 1600, 250)]) == ""


def test_the_live_heap_must_be_quiet_too() -> None:
    calm = checkpoint(Stable, 1600)
    heap = replace(calm.trends[0], metric=HEAP, detectable_per_iteration=400)
    assert may_stop([calm, Judgement(calm.overall, (*calm.trends, heap))]) == ""


def test_no_run_goes_beyond_its_budget() -> None:
    assert "budget" in may_stop([checkpoint(Undecided, 5000)])
    assert may_stop([checkpoint(Stable, 4000), checkpoint(Stable, 4500)], FULL) == ""
    assert may_stop([], DEFAULT) == ""


def test_checkpoints_are_geometric() -> None:
    assert (next_checkpoint(0), next_checkpoint(100), next_checkpoint(1000)) == (50, 125, 1250)


def test_forecast_reaches_both_thresholds_with_an_interval() -> None:
    answer = forecast(Slope(1000, 500, 2000), 10, 100e6, 5e6)
    assert answer.alert.requests == pytest.approx(80_000)
    assert answer.alert.seconds == pytest.approx(8000)
    assert answer.alert.soonest_s == pytest.approx(4000)
    assert answer.severe.latest_s == pytest.approx(18_000)


def test_forecast_says_never_for_what_does_not_grow() -> None:
    flat = forecast(Slope(0, -10, 10), 10, 100e6, 5e6).alert
    assert (flat.seconds, flat.latest_s) == (None, None)
    assert flat.soonest_s == pytest.approx(800_000)
    idle = forecast(Slope(1000, 500, 2000), 0, 100e6, 5e6).alert
    assert idle.seconds is None
    assert idle.requests == pytest.approx(80_000)


def test_a_passed_threshold_is_reached_now() -> None:
    assert forecast(judge_series(REQUESTS, line(0)), 1, 100, 90).alert.seconds == 0


def test_what_a_verdict_still_takes_is_said() -> None:
    assert missing([], 0, DEFAULT) == "up to 5,000 more requests"
    assert "to confirm a leak" in missing([checkpoint(Leaking, 900, rise=8 * MIB)], 900, DEFAULT)
    assert "until it has grown by 8 MiB" in missing(
        [checkpoint(Leaking, 900, rise=MIB)], 900, DEFAULT
    )
    assert "leak of 256 bytes" in missing([checkpoint(Stable, 900, 600)], 900, DEFAULT)
    assert missing([checkpoint(Stable, 900, 600)], 900, FULL) == "up to 4,100 more requests"


def test_a_child_kept_now_and_then_is_a_leak_of_processes() -> None:
    requests = list(range(0, 2001, 10))
    kept = [float(1 + request // 100) for request in requests]
    trend = judge_series(requests, kept, PROCESSES)
    assert trend.shape == "leak"
    assert trend.per_iteration == pytest.approx(0.01, rel=0.1)
    pool = [float(min(9, 1 + request // 100)) for request in requests]
    assert judge_series(requests, pool, PROCESSES).shape != "leak"


def test_where_each_block_is_counted_pages_without_a_block_decide() -> None:
    """Memory that a program takes from the kernel by itself is neither fragmentation nor quiet."""
    requests = list(range(0, 5001, 50))
    flat = [float(10 * MIB)] * len(requests)
    mapped = [float(20 * MIB + 2000 * request) for request in requests]
    gone = Counted({"heap": Ages(Fate.GONE, requests=4000, batches=40)}, flat)
    judgement = judge(requests, {"heap": flat, "private_bytes": mapped}, counted=gone)
    assert (judgement.shape, judgement.overall.metric.name) == ("leak", "private_bytes")
    assert any("no block of any allocator" in text for text in judgement.overall.evidence)


def test_pages_that_follow_the_peak_of_live_memory_are_fragmentation() -> None:
    requests = list(range(0, 5001, 50))
    flat = [float(10 * MIB)] * len(requests)
    pages = [float(20 * MIB + 2000 * request) for request in requests]
    peak = [float(12 * MIB + 2000 * request) for request in requests]
    gone = Counted({"heap": Ages(Fate.GONE, requests=4000, batches=40)}, peak)
    judgement = judge(requests, {"heap": flat, "private_bytes": pages}, counted=gone)
    assert judgement.shape == "fragmentation"


def test_a_heap_that_is_read_in_some_processes_only_outvotes_nobody() -> None:
    requests = list(range(0, 5001, 50))
    flat = [float(10 * MIB)] * len(requests)
    pages = [float(20 * MIB + 2000 * request) for request in requests]
    series = {"heap": flat, "private_bytes": pages}
    assert judge(requests, series).shape == "fragmentation"
    assert judge(requests, series, is_heap_whole=False).shape == "leak"


def test_of_blocks_and_mappings_the_larger_leak_is_named() -> None:
    requests = list(range(0, 2001, 10))
    heap = [96.0 * request for request in requests]
    mapped = [8192.0 * request for request in requests]
    metrics = (*METRICS, replace(HEAP, name="mapped_bytes"))
    judgement = judge(requests, {"heap": heap, "mapped_bytes": mapped}, metrics=metrics)
    assert judgement.overall.metric.name == "mapped_bytes"
