"""Workers that get unequally many requests: a cache fills in one of them long after it is full in the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_leakguard.growth.workers import Worker, levelled
from pytest_leakguard.services.timeline import Timeline

REQUESTS = [100.0 * n for n in range(51)]
BASE = 20 << 20
Kept = Callable[[float], float]


def worker(
    share: float, kept: Kept, program: str = "1 gunicorn shop:app", base: float = BASE
) -> Worker:
    """A process that gets ``share`` of the requests and has ``kept`` bytes after so many of its own."""
    process = Worker(program)
    for done in REQUESTS:
        ticks = done * share * 0.03  # of 10 ms; a request takes 0.3 ms
        process.add(ticks, {"heap_bytes": base + kept(done * share)})
    return process


def timeline(*workers: Worker) -> Timeline:
    heaps = zip(*(process.series["heap_bytes"] for process in workers), strict=True)
    sums: list[float | None] = [sum(value for value in row if value is not None) for row in heaps]
    numbered = {(number, 0): process for number, process in enumerate(workers)}
    return Timeline(requests=list(REQUESTS), series={"heap_bytes": sums}, workers=numbered)


def cache(done: float) -> float:
    return 8192 * min(done, 300)


def leak(done: float) -> float:
    return 1024 * done


def master() -> Worker:
    return worker(0.0, cache, "0 gunicorn shop:app")


@pytest.mark.parametrize("share", [0.01, 0.03, 0.05])
def test_a_cache_that_still_fills_in_the_worker_with_few_requests_is_no_leak(share: float) -> None:
    judged = timeline(master(), worker(1 - share, cache), worker(share, cache)).judge()
    assert judged.shape == "cache"
    assert any("the others fill up" in text for text in judged.overall.evidence)
    alone = Timeline(
        requests=list(REQUESTS),
        series=timeline(worker(1 - share, cache), worker(share, cache)).series,
    )
    assert alone.judge().shape == "leak"  # for all that the sum says


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3, 0.5])
def test_a_leak_is_one_however_the_requests_are_spread(share: float) -> None:
    judged = timeline(master(), worker(1 - share, leak), worker(share, leak)).judge()
    assert judged.shape == "leak"
    assert judged.overall.per_iteration == pytest.approx(1024, rel=0.01)


def test_a_small_leak_beneath_a_cache_that_fills_is_seen() -> None:
    both = [worker(share, lambda done: cache(done) + 64 * done) for share in (0.97, 0.03)]
    assert timeline(*both).judge().shape == "leak"


def test_a_worker_that_rests_shows_nothing_of_the_other() -> None:
    busy_first = worker(1.0, lambda done: leak(min(done, 2500)))
    busy_first.ticks = [min(tick, busy_first.ticks[25]) for tick in busy_first.ticks]
    busy_later = worker(1.0, lambda done: leak(max(0.0, done - 2500)))
    busy_later.ticks = [max(0.0, tick - busy_later.ticks[25]) for tick in busy_later.ticks]
    assert timeline(busy_first, busy_later).judge().shape == "leak"


def test_a_leak_beyond_what_the_busiest_holds_is_one() -> None:
    assert timeline(worker(0.6, lambda done: 0.0), worker(0.4, leak)).judge().shape == "leak"


def test_only_processes_of_the_same_program_are_compared() -> None:
    judged = timeline(worker(0.9, cache), worker(0.1, leak, program="1 mailer")).judge()
    assert judged.shape == "leak"


def test_processes_that_come_and_go_show_nothing() -> None:
    workers = [worker(0.95, cache), worker(0.05, cache)]
    assert levelled(REQUESTS, workers, "heap_bytes") is not None
    workers[0].ticks.pop()
    assert levelled(REQUESTS, workers, "heap_bytes") is None
    assert levelled(REQUESTS, [], "heap_bytes") is None
    assert levelled(REQUESTS, [worker(0.95, cache)], "heap_bytes") is None


def test_readings_without_a_heap_are_left_out() -> None:
    workers = [worker(0.95, cache), worker(0.05, cache)]
    for process in workers:
        process.series["heap_bytes"][7] = None
    level = levelled(REQUESTS, workers, "heap_bytes")
    assert level is not None
    assert level[7] is None
    assert level[-1] == 2 * BASE + 2 * 8192 * 300


@pytest.mark.parametrize("leaking", [1, 2])
def test_one_worker_beyond_the_busiest_is_enough_to_show_nothing(leaking: int) -> None:
    """The busiest is full with 2.3 MiB; one of the others fills up, one is at 3.1 MiB."""
    workers = [worker(0.8, cache), worker(0.1, cache), worker(0.1, cache)]
    assert levelled(REQUESTS, workers, "heap_bytes") is not None
    workers[leaking] = worker(0.1, lambda done: 6500 * done)
    assert levelled(REQUESTS, workers, "heap_bytes") is None
