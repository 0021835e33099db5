"""When a container that takes entries is full, and whether it accounts for what is kept."""

from __future__ import annotations

from dataclasses import replace

from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.growth.ages import Ages, Counted, Fate
from pytest_leakguard.growth.classify import judge
from pytest_leakguard.growth.filling import Filling, Grown, filling, has_no_end, is_emptied
from pytest_leakguard.services.timeline import SERVICE_METRICS

CACHE = Grown(200, 300, 5000, False, ("shop.CACHE",), "it keeps at most 5,000")
LIST = Grown(200, 300, 0, True)


def test_a_container_without_end_is_a_leak_whatever_fills_beside_it() -> None:
    assert has_no_end([[CACHE, LIST]], 200, 300)
    assert not has_no_end([[CACHE, replace(LIST, growth=100)]], 200, 300)


def test_what_leaks_in_one_request_of_five_has_a_fifth_of_the_entries() -> None:
    rare = replace(LIST, growth=40)
    assert has_no_end([[rare]], 200, 300)
    assert not has_no_end([[rare, replace(CACHE, growth=80)]], 200, 300)
    assert not has_no_end([[]], 200, 300)


def test_a_list_that_nobody_is_seen_to_empty_has_no_end_once_it_has_grown_for_long() -> None:
    unknown = replace(LIST, is_open=False, is_list=True)
    assert has_no_end([[unknown]], 200, 500)
    assert not has_no_end([[unknown]], 200, 300)
    assert not has_no_end([[replace(unknown, why="shop.py:7 takes entries out")]], 200, 500)
    assert not has_no_end([[replace(unknown, is_list=False)]], 200, 500)


def test_what_somebody_empties_is_followed_for_longer() -> None:
    sessions = replace(LIST, is_open=False, why="shop.py:7 takes entries out")
    assert is_emptied([[sessions]], 200)
    assert is_emptied([[replace(CACHE, growth=20)]], 200)
    assert not is_emptied([[LIST]], 200)


def test_containers_of_two_workers_take_half_of_the_entries_each() -> None:
    half = replace(LIST, growth=100)
    full = replace(CACHE, growth=200)
    assert has_no_end([[half, full], [half, full]], 200, 300)
    assert not has_no_end([[half, full], [CACHE]], 200, 300)


def test_a_cache_is_full_when_the_rest_of_its_entries_have_come() -> None:
    found = filling([[CACHE]], 200, 400)
    assert found is not None
    assert found.full_at == 400 + 4700
    assert found.shows_at > found.full_at


def test_the_worker_that_gets_fewest_requests_is_full_last() -> None:
    slow = replace(CACHE, growth=50)
    found = filling([[replace(CACHE, growth=150)], [slow]], 200, 400)
    assert found == Filling(slow, 400 + 4 * 4700)


def test_a_cache_that_takes_few_entries_is_not_what_leaks() -> None:
    assert filling([[replace(CACHE, growth=20)]], 200, 400) is None
    assert filling([[LIST]], 200, 400) is None


def test_while_a_cache_fills_nothing_is_decided_and_it_is_said_what_would() -> None:
    requests = [20.0 * i for i in range(60)]
    grows = [1e6 + 1000 * n for n in requests]
    found = filling([[CACHE]], 200, 400)
    ages = Ages(Fate.FILLING, filling=found, kept_bytes=1000, requests=1000)
    series = {"heap_bytes": grows, "private_bytes": grows}
    counted = Counted({"heap_bytes": ages}, grows)
    judged = judge(requests, series, counted=counted, metrics=SERVICE_METRICS)
    assert judged.shape is Shape.UNDECIDED
    assert [trend.shape for trend in judged.trends] == [Shape.UNDECIDED] * 2
    reason = f"{judged.overall}"
    assert "shop.CACHE" in reason
    assert "at most 5,000" in reason
    assert f"send at least {found.shows_at:,} requests" in reason if found else False
