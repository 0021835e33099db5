"""What holds for every series: units and offsets do not matter, nothing crashes it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.growth.answers import Cache, Estimate, Leaking, Stable, Undecided
from pytest_leakguard.growth.classify import judge, judge_series
from pytest_leakguard.growth.forecasting import forecast
from pytest_leakguard.growth.metrics import BLOCKS, METRICS, Metric, Source
from pytest_leakguard.growth.recordings import read_series
from pytest_leakguard.growth.statistics import Slope
from pytest_leakguard.growth.stopping import may_stop

EXACT = Metric("exact", Source.HEAP, quantum=1, floor=100, settled=400, step=10_000)
REQUESTS = [10.0 * i for i in range(160)]
rates = st.floats(1, 1e6)
offsets = st.integers(0, 2**40)
counts = st.integers(16, 160)
noise = st.lists(st.integers(-50, 50), min_size=160, max_size=160)
wild = st.one_of(
    st.none(), st.floats(allow_nan=True, allow_infinity=True), st.integers(), st.just(0)
)


def same(one: Estimate, other: Estimate, factor: float) -> None:
    assert one.shape == other.shape
    for a, b in (
        (one.per_iteration, other.per_iteration),
        (one.low, other.low),
        (one.high, other.high),
    ):
        assert a * factor == pytest.approx(b, rel=1e-6, abs=1e-6)


@given(rates, offsets)
def test_a_pure_line_is_a_leak(rate: float, offset: int) -> None:
    answer = judge_series(REQUESTS, [offset + rate * x for x in REQUESTS], EXACT)
    assert isinstance(answer, Leaking)
    assert answer.low <= rate * (1 + 1e-6)
    assert answer.high >= rate * (1 - 1e-6)


@given(offsets, counts)
def test_a_constant_is_stable(offset: int, count: int) -> None:
    answer = judge_series(REQUESTS[:count], [offset] * count)
    assert isinstance(answer, Stable)
    assert (answer.per_iteration, answer.rise) == (0, 0)


@given(rates, st.floats(0.1, 0.8), offsets)
def test_a_line_that_saturates_is_no_leak(rate: float, share: float, offset: int) -> None:
    full = share * REQUESTS[-1]
    answer = judge_series(REQUESTS, [offset + rate * min(x, full) for x in REQUESTS], EXACT)
    assert not isinstance(answer, Leaking)


@given(st.floats(0.02, 0.25), st.integers(10_000, 10**9))
def test_an_exponential_approach_is_no_leak(share: float, size: int) -> None:
    tau = share * REQUESTS[-1]
    values = [size * (1 - math.exp(-x / tau)) for x in REQUESTS]
    assert not isinstance(judge_series(REQUESTS, values, EXACT), Leaking)


@given(noise)
def test_noise_around_a_level_is_no_leak(values: list[int]) -> None:
    answer = judge_series(REQUESTS, [10_000 + value for value in values], EXACT)
    assert isinstance(answer, Stable | Cache | Undecided)


@given(noise, st.integers(0, 500), st.sampled_from([0.125, 0.5, 2.0, 8.0, 1024.0]))
def test_scaling_the_axis_scales_the_rate(values: list[int], rate: int, factor: float) -> None:
    series = [rate * x + value for x, value in zip(REQUESTS, values, strict=True)]
    one = judge_series(REQUESTS, series, EXACT)
    same(judge_series([factor * x for x in REQUESTS], series, EXACT), one, factor)


@given(noise, st.integers(0, 500), st.sampled_from([0.25, 2.0, 16.0]))
def test_scaling_readings_and_their_metric_scales_the_rate(
    values: list[int], rate: int, factor: float
) -> None:
    series = [rate * x + value for x, value in zip(REQUESTS, values, strict=True)]
    metric = Metric(
        "scaled",
        Source.HEAP,
        quantum=factor,
        floor=100 * factor,
        settled=400 * factor,
        step=10_000 * factor,
    )
    scaled = judge_series(REQUESTS, [factor * y for y in series], metric)
    same(judge_series(REQUESTS, series, EXACT), scaled, factor)


@given(noise, st.integers(0, 500), offsets)
def test_adding_a_constant_changes_nothing(values: list[int], rate: int, offset: int) -> None:
    series = [rate * x + value for x, value in zip(REQUESTS, values, strict=True)]
    one = judge_series(REQUESTS, series, EXACT)
    same(one, judge_series(REQUESTS, [offset + y for y in series], EXACT), 1)


@given(
    st.lists(st.one_of(st.floats(), st.integers()), max_size=60),
    st.lists(wild, max_size=60),
    st.sampled_from(METRICS),
)
def test_no_input_crashes_it_and_all_numbers_are_finite(
    requests: list[float], values: list[float | None], metric: Metric
) -> None:
    for xs in (requests, sorted(x for x in requests if x == x), list(range(len(values)))):
        answer = judge_series(xs, values, metric)
        numbers = [answer.per_iteration, answer.low, answer.high, answer.rise]
        assert all(map(math.isfinite, numbers))
        assert answer.low <= answer.per_iteration <= answer.high
        assert answer.shape in {"leak", "cache", "burst", "stable", "undecided"}
        whole = judge(xs, {metric.name: values, "anon": values, "heap": values, "x": [1]})
        may_stop([whole, whole])
        forecast(answer, 3, 1e9, 1e6)


@given(st.floats(), st.floats(), st.floats(), st.floats(), st.floats())
def test_no_forecast_is_negative(
    rate: float, low: float, pace: float, limit: float, current: float
) -> None:
    answer = forecast(Slope(rate, low, rate), pace, limit, current)
    for seconds in (answer.alert.seconds, answer.severe.latest_s):
        assert seconds is None or 0 <= seconds < math.inf


@given(st.integers(16, 160), st.integers(0, 60))
def test_fewer_samples_of_a_constant_never_make_a_leak(count: int, value: int) -> None:
    assert not isinstance(judge_series(REQUESTS[:count], [value] * count, BLOCKS), Leaking)


@given(
    st.one_of(
        st.text(max_size=300),
        st.from_regex(r'\{"requests": \[[-0-9eE., NaInfinty]{0,40}\], "rss": \[[^\]]{0,40}\]\}'),
        st.from_regex(r"# Elapsed time   CPU \(%\)     Real \(MB\)\n([ 0-9.eE+-]{0,30}\n){0,5}"),
        st.from_regex(r"[# ]{0,2}hostname;timestamp;kbmemused\n([^\n]{0,30}\n){0,5}"),
        st.from_regex(r"12:00:0[0-9] +PID minflt/s RSS\n([^\n]{0,30}\n){0,5}"),
        st.from_regex(r"(requests|time),rss_kb\n([-0-9a-z.,\"]{0,30}\n){0,5}"),
    )
)
def test_any_text_is_a_recording_or_a_malformed_report(text: str) -> None:
    try:
        recording = read_series(text, "log")
    except MalformedReport as error:
        assert str(error).startswith("log: ")
        return
    assert all(len(cells) == len(recording.requests) for cells in recording.series.values())
    judge(recording.requests, recording.series)
