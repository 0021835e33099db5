"""What became of what each request batch had allocated: the answer for each way of keeping."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_leakguard.growth import classify
from pytest_leakguard.growth.ages import Ages, Counted, Fate, judge_ages, largest_leak_missed
from pytest_leakguard.services.timeline import SERVICE_METRICS

SIZE = 10
Keep = Callable[[int], int]
Life = Callable[[int, int], float]


def for_ever(batch: int, age: int) -> float:
    return 1.0


def judge(batches: int, keep: Keep, life: Life = for_ever) -> Ages:
    """``keep`` is what request ``n`` keeps in bytes, ``life`` the share alive at some age."""
    ends: list[int] = []
    alive: list[list[int]] = []
    kept: list[int] = []
    for last in range(batches):
        ends.append((last + 1) * SIZE)
        kept.append(sum(keep(n) for n in range(last * SIZE, (last + 1) * SIZE)))
        alive.append([round(kept[k] * life(k, last - k)) for k in range(last + 1)])
    return judge_ages(ends, alive)


def at_rest(batches: int, leak: int, open_bytes: int) -> Ages:
    """Connections are open until the rest after the last batch; beside them there may be a leak."""
    ends = [(k + 1) * SIZE for k in range(batches)]
    alive = [[(leak * SIZE + open_bytes)] * (k + 1) for k in range(batches)]
    alive[-1] = [leak * SIZE] * batches
    return judge_ages(ends, alive, settled=batches - 1)


@pytest.mark.parametrize(("leak", "fate"), [(0, Fate.GONE), (1024, Fate.KEPT)])
def test_connections_that_are_closed_in_a_rest_are_no_part_of_what_is_kept(
    leak: int, fate: Fate
) -> None:
    ages = at_rest(30, leak, 12_000)
    assert (ages.fate, ages.per_request) == (fate, leak)


def both_at(offset: int) -> Keep:
    return lambda n: 10_240 * (n % 200 in (offset, offset - 1))


def one_in_100(offset: int) -> Keep:
    return lambda n: 1000 * (n % 100 == offset)


@pytest.mark.parametrize("leak", [1, 64, 1024, 10_240])
def test_a_leak_in_each_request_is_told_exactly_within_200_requests(leak: int) -> None:
    ages = judge(20, lambda n: leak)
    assert (ages.fate, ages.per_request) == (Fate.KEPT, leak)
    assert (ages.low, ages.high) == (leak, leak)


def test_a_table_that_doubles_now_and_then_does_not_change_the_rate() -> None:
    ages = judge(60, lambda n: 2056 + (n in (160, 320) and 65_536))
    assert ages.fate is Fate.KEPT
    assert ages.per_request == 2056


def test_a_table_that_takes_no_more_is_no_leak() -> None:
    ages = judge(240, lambda n: 1000 * (n < 2000))
    assert not ages.is_leak


def test_a_leak_in_one_request_of_a_hundred_is_told_within_2000() -> None:
    ages = judge(200, lambda n: 10_240 * (n % 100 == 99))
    assert ages.fate is Fate.KEPT_NOW_AND_THEN
    assert ages.per_request == pytest.approx(102.4, rel=0.1)


def test_strings_that_stay_beside_a_rare_leak_do_not_change_its_rate() -> None:
    ages = judge(200, lambda n: 10_240 * (n % 100 == 99) + 56 * (n % 7 == 0))
    assert ages.fate is Fate.KEPT_NOW_AND_THEN
    assert ages.per_request == pytest.approx(110, rel=0.1)


def test_a_clean_service_is_quiet_within_300_requests() -> None:
    assert judge(30, lambda n: 0).fate is Fate.GONE


def test_what_is_done_once_at_first_is_no_leak() -> None:
    assert judge(30, lambda n: 100_000 * (n < 20)).fate is Fate.GONE


def test_one_request_in_a_hundred_keeps_a_run_from_its_early_end() -> None:
    for offset in range(100):
        for batches in range(15, 60):
            ages = judge(batches, one_in_100(offset))
            assert ages.fate is not Fate.GONE, (offset, batches)


@pytest.mark.parametrize("entries", [20, 100, 300, 500])
def test_a_cache_that_is_full_loses_the_old_for_the_new(entries: int) -> None:
    life = entries // SIZE
    ages = judge(4 * life + 40, lambda n: 4096, lambda k, age: 1.0 * (age < life))
    assert not ages.is_leak
    assert ages.fate in (Fate.LOST, Fate.GONE)


def test_a_cache_that_still_fills_is_kept_as_a_leak_is() -> None:
    """Why kept blocks alone do not end a run early."""
    assert judge(20, lambda n: 4096, lambda k, age: 1.0 * (age < 100)).fate is Fate.KEPT


@pytest.mark.parametrize("entries", [1000, 1024])
def test_a_cache_that_has_just_become_full_is_no_leak_any_more(entries: int) -> None:
    """It loses its oldest entries first, which are no longer looked at otherwise."""
    before = entries // SIZE
    assert judge(before, lambda n: 4096, lambda k, age: 1.0 * (age < before)).is_leak
    after = before * 11 // 10
    assert not judge(after, lambda n: 4096, lambda k, age: 1.0 * (age < before)).is_leak


def test_a_leak_in_one_request_of_a_hundred_of_two_equal_workers_is_not_quiet() -> None:
    """Both keep something at the same time, and then nothing for two hundred requests."""
    for offset in range(100, 200):
        for batches in range(50, 100):
            ages = judge(batches, both_at(offset))
            assert ages.fate is not Fate.GONE, (offset, batches)


def test_the_rate_of_a_rare_leak_hardly_depends_on_where_the_run_is_cut() -> None:
    for offset in range(100):
        for batches in range(130, 160):
            ages = judge(batches, one_in_100(offset))
            assert ages.per_request == pytest.approx(10, rel=0.1), (offset, batches)


def test_timers_that_wait_until_there_are_a_hundred_are_no_growth() -> None:
    """As asyncio keeps those that were cancelled."""
    looks = []
    for batches in range(40, 55):
        ends = [SIZE * (k + 1) for k in range(batches)]
        alive = []
        for last in range(batches):
            cleared = last // 10 * 10
            alive.append([2000 * (k >= cleared) for k in range(last + 1)])
        looks.append(judge_ages(ends, alive).fate)
    assert any(one is other is Fate.GONE for one, other in itertools.pairwise(looks))


def test_a_leak_beneath_a_full_cache_is_seen() -> None:
    ages = judge(200, lambda n: 1064, lambda k, age: 1.0 if age < 30 else 64 / 1064)
    assert ages.fate is Fate.KEPT
    assert ages.per_request == pytest.approx(64, rel=0.02)


def test_a_full_cache_alone_is_settled_once_the_old_have_nothing_left() -> None:
    ages = judge(200, lambda n: 1000, lambda k, age: 1.0 * (age < 30))
    assert ages.fate is Fate.GONE or (ages.fate is Fate.LOST and ages.is_settled)


def test_sessions_that_expire_are_no_leak() -> None:
    ages = judge(100, lambda n: 500, lambda k, age: max(0.0, 1 - age / 20))
    assert not ages.is_leak


def test_growth_that_ends_is_no_leak() -> None:
    ages = judge(100, lambda n: 1000 * (n < 500))
    assert not ages.is_leak


def test_growth_that_began_late_is_not_quiet() -> None:
    assert judge(100, lambda n: 1000 * (n >= 700)).fate is not Fate.GONE


def test_too_few_batches_say_nothing() -> None:
    for batches in range(11):
        assert judge(batches, lambda n: 100).fate is Fate.UNKNOWN
    assert largest_leak_missed(judge(5, lambda n: 0)) is None


def test_a_buffer_that_only_grows_is_not_quiet() -> None:
    """Its block is old, and what it gains belongs to no batch."""
    ends = [SIZE * (k + 1) for k in range(40)]
    alive = [[0] * (k + 1) for k in range(40)]
    assert judge_ages(ends, alive, [1000] * 40).fate is Fate.GONE
    assert judge_ages(ends, alive, [1000 + 80 * k for k in range(40)]).fate is Fate.UNKNOWN


def doubling(requests: int, full_at: int = 1 << 30) -> Ages:
    """A text of 30 bytes for each request in a block that doubles, up to a size."""
    ends, alive, kept = list[int](), list[list[int]](), list[int]()
    room = 512
    while not ends or ends[-1] < requests:
        ends.append((ends[-1] if ends else 0) + max(SIZE, (ends[-1] if ends else 0) // 50))
        kept.append(0)
        if room < min(30 * ends[-1], full_at):
            while room < min(30 * ends[-1], full_at):
                room *= 2
            kept[:] = [0] * (len(kept) - 1) + [room]
        alive.append(list(kept))
    return judge_ages(ends, alive, [0] * len(ends))


@pytest.mark.parametrize("requests", [700, 1200, 2500, 5000])
def test_a_buffer_that_doubles_for_ever_is_a_leak_of_what_is_added(requests: int) -> None:
    ages = doubling(requests)
    assert ages.fate is Fate.GROWN and ages.is_leak
    assert ages.per_request == pytest.approx(30, rel=0.15)
    assert "larger each time" in ages.summary


@pytest.mark.parametrize("requests", range(150, 700, 50))
def test_a_buffer_that_doubles_is_never_quiet(requests: int) -> None:
    assert doubling(requests).fate is not Fate.GONE


def test_a_buffer_that_is_large_enough_is_no_leak() -> None:
    assert not doubling(1500, full_at=16_000).is_leak


def test_open_connections_are_not_asked_for() -> None:
    def life(batch: int, age: int) -> float:
        return 1.0 * (age < 2)

    assert judge(40, lambda n: 20_000 * (n % 10 == 0), life).fate is Fate.GONE
    ends = [SIZE * (k + 1) for k in range(40)]
    alive = [[5000 * (k >= last - 4) for k in range(last + 1)] for last in range(40)]
    assert judge_ages(ends, alive, patience=80).fate is Fate.GONE


def test_the_reader_is_told_what_was_found() -> None:
    assert judge(20, lambda n: 1).summary.endswith("bytes are still alive, and none lost any")
    assert "0 bytes are still alive" in judge(40, lambda n: 0).summary
    cache = judge(100, lambda n: 100, lambda k, age: 1.0 * (age < 40))
    assert cache.fate is Fate.LOST
    assert cache.summary.endswith("are gone again: old ones lose theirs")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.integers(-5, 5000), max_size=40), max_size=40), st.data())
def test_any_numbers_get_an_answer(rows: list[list[int]], data: st.DataObject) -> None:
    alive = [(row + [0] * 40)[: last + 1] for last, row in enumerate(rows)]
    steps = data.draw(
        st.lists(st.integers(1, 100), min_size=len(rows), max_size=len(rows)), label="steps"
    )
    ends = [sum(steps[: k + 1]) for k in range(len(rows))]
    ages = judge_ages(ends, alive)
    assert ages.low <= ages.per_request <= ages.high
    assert ages.kept_bytes >= 0


def test_little_that_is_kept_now_and_then_is_a_pool_that_finds_its_size() -> None:
    requests = [20.0 * i for i in range(100)]
    for size, shape in ((352, "stable"), (10_240, "leak")):
        kept = [float(size * int(n // 100)) for n in requests]
        ages = judge(200, lambda n, size=size: size * (n % 100 == 99))  # type: ignore[misc]  # mypy cannot infer such a lambda
        assert ages.fate is Fate.KEPT_NOW_AND_THEN
        counted = Counted({"heap_bytes": ages}, kept)
        judged = classify.judge(
            requests, {"heap_bytes": kept}, counted=counted, metrics=SERVICE_METRICS
        )
        assert judged.shape == shape


def test_long_batches_that_all_keep_something_are_no_leak_in_each_request() -> None:
    """As batches become longer later on, each of them has one of the few requests that keep."""
    ends = [*range(10, 610, 10), *range(650, 6001, 200)]
    sizes = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    kept = [1056 * (size // 100) + 352 * (k % 9 == 8) for k, size in enumerate(sizes)]
    alive = [kept[: last + 1] for last in range(len(ends))]
    assert judge_ages(ends, alive).fate is Fate.KEPT_NOW_AND_THEN
    each = [[100 * size for size in sizes[: last + 1]] for last in range(len(ends))]
    assert judge_ages(ends, each).fate is Fate.KEPT
