"""What series of runs say, with known answers: leaks, caches, buffers, rare leaks, sizes."""

from __future__ import annotations

import functools
import gc
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_leakguard.screening import thresholds
from pytest_leakguard.screening.statistics import (
    Answer,
    Kept,
    PerRun,
    Total,
    answer,
    events,
    has_lost_all,
    is_even,
    is_ever_more,
    is_growth,
    per_run,
)

NOTHING = Kept(1, 0, 0)
amounts = st.tuples(st.integers(1, 50), st.integers(1, 10_000))
chunks = st.lists(st.integers(1, 256), min_size=1, max_size=60)
series_of_any = st.lists(
    st.builds(
        Kept,
        st.integers(1, 256),
        st.integers(0, 50),
        st.integers(0, 10_000),
        st.integers(-100, 100),
    ),
    min_size=1,
    max_size=40,
)


def single(*blocks: int, size_bytes: int = 10) -> list[Kept]:
    """Runs one by one, each of which has so many blocks now."""
    return [Kept(1, count, count * size_bytes) for count in blocks]


def grown(level: Callable[[int], float], runs: int) -> list[Total]:
    """What all runs together had kept after each of them."""
    return [Total(calls, level(calls)) for calls in range(1, runs + 1)]


def piled_up(series: Sequence[Kept]) -> list[Total]:
    """The totals of a series in which nothing goes again."""
    totals, calls, weight = [], 0, 0.0
    for kept in series:
        calls += kept.calls
        weight += kept.blocks
        totals.append(Total(calls, weight))
    return totals


def of_levels(level: Callable[[int], float], runs: int = 400) -> Answer:
    """The answer when every run has a block left and all together are so large."""
    return answer(single(*[1] * runs), grown(level, runs), is_rare=False)


@given(amounts, st.integers(1, 256), st.integers(16, 100))
def test_a_leak_in_every_run_is_steady(amount: tuple[int, int], calls: int, numbers: int) -> None:
    blocks, size_bytes = amount
    series = [Kept(calls, blocks * calls, size_bytes * calls)] * numbers
    assert answer(series, piled_up(series), is_rare=False) is Answer.STEADY


@given(amounts, chunks)
def test_a_leak_in_every_run_is_not_cleared_however_the_runs_are_numbered(
    amount: tuple[int, int], calls: list[int]
) -> None:
    blocks, size_bytes = amount
    series = [Kept(count, blocks * count, size_bytes * count) for count in calls]
    assert answer(series, piled_up(series), is_rare=False) is not Answer.NOTHING
    assert per_run(series, is_rare=False) == PerRun(blocks, size_bytes, is_exact=True)


@given(series_of_any, st.integers(1, 256))
def test_an_old_run_that_has_lost_all_clears_whatever_the_others_keep(
    series: list[Kept], calls: int
) -> None:
    series.insert(0, Kept(calls, 0, 0))
    assert answer(series, piled_up(series), is_rare=False) is Answer.NOTHING


@given(series_of_any, st.integers(2, 1000), st.booleans())
def test_a_leak_that_weighs_more_is_a_leak_as_well(
    series: list[Kept], factor: int, is_rare: bool
) -> None:
    totals = piled_up(series)
    larger = [Total(total.calls, total.weight * factor) for total in totals]
    if answer(series, totals, is_rare) is Answer.STEADY:
        assert answer(series, larger, is_rare) is Answer.STEADY


@given(series_of_any, series_of_any)
def test_events_of_two_series_are_those_of_both(early: list[Kept], late: list[Kept]) -> None:
    assert events(early + late) == events(early) + events(late)
    assert 0 <= events(early) <= len(early)


@given(series_of_any)
def test_what_one_run_keeps_lies_between_the_least_and_the_most(series: list[Kept]) -> None:
    found = per_run(series, is_rare=True)
    each = [kept.blocks / kept.calls for kept in series]
    assert min(each) - 1e-9 <= found.blocks <= max(each) + 1e-9


@given(st.integers(1, 300), st.integers(20, 400))
def test_totals_that_have_stopped_growing_clear(full_after: int, runs: int) -> None:
    runs = max(runs, 3 * full_after, thresholds.FLAT_AFTER)
    assert of_levels(lambda calls: min(calls, full_after), runs) is Answer.NOTHING


def test_the_newest_run_alone_is_not_old_enough_to_clear() -> None:
    assert answer(single(1, 1, 1, 0), [], is_rare=False) is Answer.FADING


def test_a_rare_leak_has_lost_all_only_when_no_run_keeps_anything() -> None:
    assert has_lost_all(single(1, 0, 1), is_rare=False)
    assert not has_lost_all(single(1, 0, 1), is_rare=True)
    assert has_lost_all(single(0, 0), is_rare=True)


def test_one_run_that_keeps_nothing_clears() -> None:
    assert answer([NOTHING], [], is_rare=False) is Answer.NOTHING


def test_a_bounded_cache_that_loses_old_runs_is_cleared() -> None:
    series = single(*[0] * 100, *[1] * 50)
    assert answer(series, grown(lambda calls: min(calls, 50), 150), is_rare=False) is Answer.NOTHING


def test_a_cache_that_reuses_blocks_in_place_is_cleared_by_flat_totals() -> None:
    assert of_levels(lambda calls: 640.0) is Answer.NOTHING


def test_totals_that_fall_a_little_clear() -> None:
    assert of_levels(lambda calls: -0.1 * calls) is Answer.NOTHING


def test_totals_that_fall_as_much_as_a_leak_would_add_say_nothing() -> None:
    assert of_levels(lambda calls: -float(calls)) is Answer.FADING


def test_less_than_half_a_block_per_call_is_not_what_every_run_keeps() -> None:
    assert of_levels(lambda calls: 0.4 * calls) is Answer.NOTHING


def test_a_leak_beside_a_cache_that_is_full_is_steady() -> None:
    assert of_levels(lambda calls: calls + 9.0 * min(calls, 150)) is Answer.STEADY


def test_a_leak_beside_a_cache_that_fills_is_not_yet_steady() -> None:
    assert of_levels(lambda calls: calls + 9.0 * min(calls, 300)) is Answer.FADING


@pytest.mark.parametrize("seed", range(5))
def test_a_cache_that_fills_with_random_keys_fades(seed: int) -> None:
    keys, seen, levels = random.Random(seed), set[int](), [0.0]
    for _ in range(600):
        seen.update(keys.choices(range(4000), k=20))
        levels.append(64.0 * len(seen))
    assert of_levels(lambda calls: levels[calls], 600) in (Answer.FADING, Answer.NOTHING)


@pytest.mark.parametrize("runs", [500, 650])
def test_a_buffer_that_grows_geometrically_is_not_steady(runs: int) -> None:
    def level(calls: int) -> float:
        size = 1
        while size < calls:
            size *= 2
        return 8.0 * size

    assert of_levels(level, runs) is not Answer.STEADY


def test_what_is_pruned_now_and_then_is_cleared() -> None:
    assert of_levels(lambda calls: calls % 50) is Answer.NOTHING


def test_a_leak_beside_what_is_pruned_now_and_then_is_steady() -> None:
    assert of_levels(lambda calls: calls + 3.0 * (calls % 20)) is Answer.STEADY


def test_what_is_freed_once_does_not_hide_a_leak() -> None:
    assert of_levels(lambda calls: calls + 1000.0 * (calls < 100)) is Answer.STEADY


@pytest.mark.parametrize("runs", [1, 5, 10])
def test_few_readings_of_the_totals_say_nothing(runs: int) -> None:
    assert of_levels(float, runs) is Answer.FADING


def test_a_rare_leak_is_steady() -> None:
    series = single(*[int(run % 10 == 9) for run in range(300)])
    assert answer(series, piled_up(series), is_rare=True) is Answer.STEADY
    assert answer(series, piled_up(series), is_rare=False) is Answer.NOTHING


def test_a_rare_leak_that_stops_is_cleared() -> None:
    series = single(*[int(run % 10 == 9 and run < 190) for run in range(300)])
    assert answer(series, piled_up(series), is_rare=True) is Answer.NOTHING


def test_a_rare_leak_that_becomes_rarer_is_not_steady() -> None:
    series = single(*[int(run % (5 + run // 20) == 0) for run in range(300)])
    assert answer(series, piled_up(series), is_rare=True) is Answer.FADING


def test_growth_of_older_blocks_counts_as_kept() -> None:
    assert not Kept(1, 0, 0, grown_bytes=8).is_nothing
    assert Kept(1, 0, 0, grown_bytes=-8).is_nothing
    assert Kept(1, 0, 0, grown_bytes=8).is_growth
    assert not Kept(1, 1, 8, grown_bytes=8).is_growth


def test_a_series_is_growth_only_where_no_run_keeps_a_block() -> None:
    growth = Kept(1, 0, 0, grown_bytes=8)
    assert is_growth([growth, NOTHING])
    assert not is_growth([growth, Kept(1, 1, 8)])
    assert not is_growth([NOTHING])


def test_a_size_is_exact_where_nearly_all_runs_agree() -> None:
    series = single(9, *[2] * 8, 3, 3, 9)
    assert per_run(series, is_rare=False) == PerRun(2, 20, is_exact=True)


def test_a_size_is_the_mean_where_runs_differ() -> None:
    found = per_run(single(9, 2, 2, 4, 4, 9), is_rare=False)
    assert found == PerRun(3.0, 30.0, is_exact=False)


def test_the_first_and_the_newest_run_do_not_shape_the_size() -> None:
    assert per_run(single(50, 1, 1, 1, 50), is_rare=False) == PerRun(1, 10, is_exact=True)


def test_half_a_block_per_run_is_no_exact_size() -> None:
    series = [Kept(2, 1, 11) for _ in range(20)]
    assert per_run(series, is_rare=False) == PerRun(0.5, 5.5, is_exact=False)


def test_the_growth_of_older_blocks_alone_is_an_exact_size() -> None:
    series = [Kept(1, 0, 0, grown_bytes=32) for _ in range(20)]
    assert per_run(series, is_rare=False) == PerRun(0, 32, is_exact=True)
    assert is_even(series)


def test_growth_beside_blocks_is_no_part_of_the_exact_size() -> None:
    series = [Kept(1, 1, 10, grown_bytes=run) for run in range(20)]
    assert per_run(series, is_rare=False) == PerRun(1, 10, is_exact=True)


def test_calls_that_share_the_frame_of_their_loop_are_even() -> None:
    series = single(*[26] * 30) + [
        Kept(calls, 25 * calls + 1, 10 * (25 * calls + 1)) for calls in range(2, 60)
    ]
    assert is_even(series)


def test_calls_that_keep_ever_less_together_are_not_even() -> None:
    series = single(*[26] * 30) + [Kept(calls, 26, 260) for calls in range(2, 60)]
    assert not is_even(series)


def test_runs_that_differ_are_not_even() -> None:
    assert not is_even(single(1, 2, 3, 1, 2, 3, 1, 2, 3))


def test_losses_that_are_all_in_the_newer_half_have_gone_from_the_older() -> None:
    series = single(*[0] * 100, *[int(run % 10 == 9) for run in range(100)])
    assert answer(series, piled_up(series), is_rare=True) is Answer.NOTHING


def test_a_buffer_that_some_runs_resize_is_steady_while_its_least_rises() -> None:
    series = [Kept(1, 0, 0, grown_bytes=64 * int(run % 8 == 7)) for run in range(400)]
    assert answer(series, grown(lambda calls: 8.0 * calls, 400), is_rare=True) is Answer.STEADY


def test_a_buffer_that_is_emptied_now_and_then_is_cleared() -> None:
    series = [Kept(1, 0, 0, grown_bytes=64 * int(run % 8 == 7)) for run in range(400)]
    totals = grown(lambda calls: 8.0 * (calls % 50), 400)
    assert answer(series, totals, is_rare=True) is Answer.NOTHING


def beside(kept: Kept, series: list[Kept]) -> tuple[list[Kept], list[Total]]:
    """``kept`` by the first run, and eight times as much by the newest, beside older growth."""
    newest = Kept(1, 8 * kept.blocks, 8 * kept.size_bytes)
    series = [kept, *series, newest]
    totals, blocks, grown_bytes = [], 0, 0
    for calls, entry in enumerate(series, start=1):
        blocks += entry.blocks
        grown_bytes += entry.grown_bytes
        totals.append(Total(calls, blocks, grown_bytes))
    return series, totals


def test_a_list_that_goes_up_and_down_makes_no_leak_of_blocks_beside_it() -> None:
    """It has nothing to do with what the first run has made, nor with what is still running."""
    steps = [64 if run % 16 == 7 else -64 if run % 16 == 15 else 0 for run in range(400)]
    series, totals = beside(Kept(1, 1, 72), [Kept(1, 0, 0, step) for step in steps])
    assert answer(series, totals, is_rare=True) is Answer.NOTHING
    assert per_run(series, is_rare=True).size_bytes == 0


def test_a_list_that_only_goes_up_is_a_leak_beside_a_block_of_the_first_run() -> None:
    steps = [64 * int(run % 8 == 7) for run in range(400)]
    series, totals = beside(Kept(1, 1, 72), [Kept(1, 0, 0, step) for step in steps])
    assert answer(series, totals, is_rare=True) is Answer.STEADY
    assert per_run(series, is_rare=True).size_bytes == 8


def test_the_size_of_a_rare_leak_is_its_mean_per_run() -> None:
    series = single(*[int(run % 4 == 3) for run in range(42)])
    assert per_run(series, is_rare=True) == PerRun(0.25, 2.5, is_exact=False)


def test_runs_that_each_keep_more_than_those_before_are_told() -> None:
    assert is_ever_more(single(9, *range(5, 40), 9))
    assert is_ever_more(single(9, *range(5, 30), 29, *range(30, 40), 9))


@pytest.mark.parametrize(
    "blocks",
    [[5] * 30, [2] * 20 + [3] * 20, [*range(40, 5, -1)], [5, 9] * 15, [0, *range(1, 30)], [5, 6]],
    ids=["even", "one step", "ever less", "up and down", "one has nothing", "too few"],
)
def test_other_runs_are_not_ever_more(blocks: list[int]) -> None:
    assert not is_ever_more(single(9, *blocks, 9))


def entries_of_caches() -> int:
    caches = [found for found in gc.get_objects() if type(found) is functools._lru_cache_wrapper]
    return sum(cache.cache_info().currsize for cache in caches)


def test_looking_at_runs_fills_no_cache_of_the_interpreter() -> None:
    """Its entries may be blocks that a thread of a run has dropped, which would be counted."""
    series = [Kept(calls, calls // 3, calls * 7) for calls in range(1, 60)]
    before = entries_of_caches()
    per_run(series, is_rare=False)
    answer(series, piled_up(series), is_rare=False)
    assert entries_of_caches() == before


def test_runs_under_one_number_weigh_as_many_runs() -> None:
    series = [Kept(1, 5, 50), Kept(1, 7, 70), Kept(100, 200, 2000), Kept(1, 5, 50)]
    assert per_run(series, is_rare=False) == PerRun(2, 20, is_exact=True)
