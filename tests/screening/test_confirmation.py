"""A suspect is repeated until old runs have lost what they kept, or enough have kept it."""

from __future__ import annotations

import pytest

from pytest_leakguard.counters.reader import BLOCKS, DESCRIPTORS, HEAP, THREADS
from pytest_leakguard.screening import confirmation, thresholds
from pytest_leakguard.screening.confirmation import Confirmation, Examination, Limits
from pytest_leakguard.screening.ledger import Run
from pytest_leakguard.screening.quick_check import Suspect
from pytest_leakguard.screening.statistics import PerRun
from pytest_leakguard.tracker.tracker import NOTHING, Amount
from tests.screening.scripted import (
    GROWN,
    ONE,
    ScriptedLedger,
    always,
    every,
    first,
    flushed_after,
    follow_clock,
    last,
)

LONG = Limits(seconds=1000.0)
"""More time than any of these cases takes."""


class Examining:
    """Confirmations of scripted units by their clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.told: list[int] = []

    def of(
        self,
        ledger: ScriptedLedger,
        limits: Limits = LONG,
        is_rare: bool = False,
        runs: int = thresholds.SUSPECT_AFTER,
    ) -> Confirmation:
        """The confirmation of all that the script says, after so many runs."""
        follow_clock(self._monkeypatch, ledger, confirmation)
        counters = frozenset((*ledger.memory, *ledger.scarce))
        suspect = Suspect(counters, tuple(ledger.repeat() for _ in range(runs)), is_rare)
        return Confirmation(ledger, ledger.repeat, suspect, limits, self.told.append)

    def __call__(
        self,
        ledger: ScriptedLedger,
        limits: Limits = LONG,
        is_rare: bool = False,
        runs: int = thresholds.SUSPECT_AFTER,
    ) -> Examination:
        return self.of(ledger, limits, is_rare, runs).examine()


@pytest.fixture
def examine(monkeypatch: pytest.MonkeyPatch) -> Examining:
    return Examining(monkeypatch)


def is_cleared(examination: Examination) -> bool:
    return examination.leaking is None and not examination.undecided


def test_what_every_run_keeps_leaks_with_its_exact_size(examine: Examining) -> None:
    found = examine(ScriptedLedger({BLOCKS: always}))
    assert found.leaking == BLOCKS and not found.undecided
    assert found.per_run == {BLOCKS: PerRun(1, 64, is_exact=True)}
    assert found.size_bytes == 64 and found.share == 1.0


def test_a_leak_of_slow_runs_is_proved_by_few_of_them(examine: Examining) -> None:
    found = examine(ScriptedLedger({BLOCKS: always}, run_s=1.0))
    assert found.runs == thresholds.LEAST_RUNS + thresholds.LAST_RUNS


def test_a_replaced_value_is_cleared_at_once(examine: Examining) -> None:
    found = examine(ScriptedLedger({BLOCKS: last(2)}))
    assert is_cleared(found) and found.runs == thresholds.SUSPECT_AFTER


@pytest.mark.parametrize("entries", [10, 100, 300])
def test_a_bounded_cache_is_cleared_when_it_loses_old_runs(
    examine: Examining, entries: int
) -> None:
    found = examine(ScriptedLedger({BLOCKS: last(entries)}))
    assert is_cleared(found)
    assert entries < found.runs < 4 * entries + 16


def test_a_cache_of_4000_entries_is_cleared_where_runs_are_quick(examine: Examining) -> None:
    assert is_cleared(examine(ScriptedLedger({BLOCKS: last(4000)}, run_s=1e-5)))


def test_a_buffer_that_is_flushed_is_cleared(examine: Examining) -> None:
    assert is_cleared(examine(ScriptedLedger({BLOCKS: flushed_after(50)})))


def test_a_cache_that_uses_blocks_again_is_cleared_by_what_all_runs_keep(
    examine: Examining,
) -> None:
    """What a later run adds, the first one has lost; none has lost all."""

    def kept(call: int, now: int) -> Amount:
        return ONE if call else Amount(10**6 - now, 64, 0)

    assert is_cleared(examine(ScriptedLedger({BLOCKS: kept})))


def test_a_leak_is_found_beside_a_cache_that_has_filled(examine: Examining) -> None:
    def kept(call: int, now: int) -> Amount:
        return Amount(3, 300, 0) if call < 100 else ONE

    found = examine(ScriptedLedger({BLOCKS: kept}))
    assert found.per_run == {BLOCKS: PerRun(1, 64, is_exact=True)}


def test_what_some_of_the_runs_keep_beside_a_cache_is_a_suspect_then(examine: Examining) -> None:
    ledger = ScriptedLedger({BLOCKS: last(200)})
    confirmation = examine.of(ledger)
    ledger.memory[HEAP] = every(6)  # it was not in every run, so nobody has suspected it
    assert is_cleared(confirmation.examine())
    suspect = confirmation.rare_beside()
    assert suspect is not None
    assert suspect.counters == frozenset({HEAP})
    assert suspect.is_rare
    found = Confirmation(ledger, ledger.repeat, suspect, LONG).examine()
    assert found.leaking == HEAP


def test_a_cache_alone_leaves_no_suspect(examine: Examining) -> None:
    confirmation = examine.of(ScriptedLedger({BLOCKS: last(200)}))
    assert is_cleared(confirmation.examine())
    assert confirmation.rare_beside() is None


def test_a_counter_that_is_cleared_is_no_part_of_the_leak(examine: Examining) -> None:
    found = examine(ScriptedLedger({BLOCKS: always, HEAP: last(50)}))
    assert set(found.per_run) == {BLOCKS} and set(found.series) == {BLOCKS, HEAP}


def ever_less(call: int, now: int) -> Amount:
    """A cache that fills with keys that come by chance."""
    return Amount(10**6 // (call + 1), 10**6 // (call + 1), 0)


@pytest.mark.parametrize("run_s", [0.001, 0.06])
def test_what_keeps_ever_less_is_undecided_and_no_leak(examine: Examining, run_s: float) -> None:
    found = examine(ScriptedLedger({BLOCKS: ever_less}, run_s=run_s), Limits(seconds=5.0))
    assert found.leaking is None and "no proof" in found.undecided


def test_running_out_of_time_is_undecided_and_says_what_it_takes(examine: Examining) -> None:
    found = examine(ScriptedLedger({BLOCKS: always}, run_s=1.0), Limits(seconds=10.0))
    assert found.runs < thresholds.LEAST_RUNS
    assert "confirm=SECONDS" in found.undecided
    assert found.per_run == {BLOCKS: PerRun(1, 64, is_exact=True)}  # if its holder has no limit


def test_what_differs_from_run_to_run_is_no_likely_leak_when_time_runs_out(
    examine: Examining,
) -> None:
    found = examine(ScriptedLedger({BLOCKS: uneven}, run_s=1.0), Limits(seconds=10.0))
    assert found.undecided and not found.per_run


def uneven(call: int, now: int) -> Amount:
    """A leak of one, two or three blocks in every run."""
    return Amount(1 + call % 3, 64, 0)


def test_runs_that_differ_need_more_proof_than_even_ones(examine: Examining) -> None:
    few = examine(ScriptedLedger({BLOCKS: uneven}, run_s=0.01), Limits(seconds=15.0))
    assert few.leaking is None and "no proof" in few.undecided
    assert thresholds.LEAST_RUNS < few.runs < thresholds.UNEVEN_RUNS
    many = examine(ScriptedLedger({BLOCKS: uneven}, run_s=0.01), Limits(seconds=25.0))
    assert many.leaking == BLOCKS and not many.undecided
    assert thresholds.UNEVEN_RUNS < many.runs < thresholds.MOST_RUNS


def test_memory_that_would_break_the_process_ends_it_early_as_a_leak(
    examine: Examining,
) -> None:
    large = Amount(1, 100 * 1024**2, 0)
    found = examine(ScriptedLedger({HEAP: every(1, large)}))
    assert found.leaking == HEAP and found.runs == thresholds.SUSPECT_AFTER


def test_a_process_without_free_descriptors_ends_it_early(examine: Examining) -> None:
    found = examine(ScriptedLedger(scarce={DESCRIPTORS: lambda call: 100.0}, rooms=6))
    assert found.leaking == DESCRIPTORS and found.runs == 6


STEPS_OF_PROOF = 11
"""Runs one by one of which each third of the later half has two."""


def test_descriptors_are_proved_by_few_runs(examine: Examining) -> None:
    found = examine(ScriptedLedger(scarce={DESCRIPTORS: lambda call: 1.0}))
    assert found.leaking == DESCRIPTORS and found.runs == STEPS_OF_PROOF
    assert found.per_run[DESCRIPTORS].blocks == 1


def test_a_pool_of_descriptors_is_cleared(examine: Examining) -> None:
    size = thresholds.SCARCE_PROOF - 2
    assert is_cleared(examine(ScriptedLedger(scarce={DESCRIPTORS: lambda call: call < size})))


def test_a_thread_names_the_leak_and_its_memory_comes_along(examine: Examining) -> None:
    found = examine(ScriptedLedger({BLOCKS: always, HEAP: always}, {THREADS: lambda call: 1.0}))
    assert found.leaking == THREADS
    assert set(found.per_run) == {THREADS, BLOCKS, HEAP} and found.size_bytes == 128


def test_a_rare_leak_of_quick_runs_is_proved(examine: Examining) -> None:
    found = examine(ScriptedLedger({BLOCKS: every(10)}), is_rare=True, runs=40)
    assert found.leaking == BLOCKS


def test_a_rare_leak_is_proved_by_its_events(examine: Examining) -> None:
    found = examine(ScriptedLedger({BLOCKS: every(10)}, run_s=0.1), is_rare=True, runs=110)
    assert found.leaking == BLOCKS and found.is_rare
    assert found.share == pytest.approx(0.1, abs=0.02)
    assert found.per_run[BLOCKS].blocks == pytest.approx(0.1, abs=0.02)


def test_a_rare_leak_that_stops_is_cleared(examine: Examining) -> None:
    def kept(call: int, now: int) -> Amount:
        return ONE if call < 36 and call % 6 == 5 else NOTHING

    assert is_cleared(examine(ScriptedLedger({BLOCKS: kept}), is_rare=True, runs=40))


def test_few_events_in_all_the_time_are_undecided(examine: Examining) -> None:
    ledger = ScriptedLedger({BLOCKS: every(10)}, run_s=0.1)
    found = examine(ledger, Limits(seconds=0.35), is_rare=True, runs=78)
    assert found.leaking is None and found.undecided


def test_a_rare_leak_of_slow_runs_is_not_cleared_between_two_events(examine: Examining) -> None:
    found = examine(ScriptedLedger({BLOCKS: every(20)}, run_s=0.1), is_rare=True, runs=80)
    assert found.undecided and found.seconds < 2 * thresholds.RARE_S


def test_what_caches_drop_when_they_are_emptied_is_cleared(examine: Examining) -> None:
    ledger = ScriptedLedger({BLOCKS: always})
    ledger.after_emptying = {BLOCKS: first(0)}
    assert is_cleared(examine(ledger))
    assert ledger.emptied == 1


def test_what_caches_drop_is_cleared_also_where_the_time_is_over(examine: Examining) -> None:
    ledger = ScriptedLedger({BLOCKS: every(10)}, run_s=0.1)
    ledger.after_emptying = {BLOCKS: first(0)}
    assert is_cleared(examine(ledger, Limits(seconds=0.35), is_rare=True, runs=110))
    assert ledger.emptied == 1


def test_a_rare_leak_of_which_only_new_runs_keep_something_in_the_end_is_none(
    examine: Examining,
) -> None:
    """What the older ones have kept has gone with a thread that has ended, or with a cache."""
    ledger = ScriptedLedger({BLOCKS: every(10)}, run_s=1e-5)
    ledger.after_emptying = {BLOCKS: lambda call, now: ONE if call > now * 0.6 else NOTHING}
    assert is_cleared(examine(ledger, is_rare=True, runs=40))
    assert ledger.now_s < thresholds.RARE_S


def test_runs_are_numbered_one_by_one_then_together(examine: Examining) -> None:
    ledger = ScriptedLedger({BLOCKS: always}, run_s=1e-5)
    examine(ledger)
    settling = ledger.chunks[-thresholds.SETTLING_STEPS :]
    single = ledger.chunks[: -thresholds.SETTLING_STEPS][-thresholds.LAST_RUNS :]
    confirming = ledger.chunks[: -thresholds.SETTLING_STEPS - thresholds.LAST_RUNS]
    assert set(confirming[: 2 * thresholds.STEPS_IN_ALL]) == {1}
    assert 100 < max(confirming) <= sum(confirming) / thresholds.STEPS_IN_ALL
    assert set(single) == {1}
    assert sum(settling) == pytest.approx(sum(confirming), abs=thresholds.SETTLING_STEPS)


def test_a_chunk_of_slow_runs_is_short(examine: Examining) -> None:
    ledger = ScriptedLedger({BLOCKS: always}, run_s=0.02)
    examine(ledger)
    assert max(ledger.chunks) * ledger.run_s <= thresholds.CHUNK_S + 1e-9


def test_a_holder_with_a_limit_is_filled_beyond_it(examine: Examining) -> None:
    ledger = ScriptedLedger({BLOCKS: last(2000)})
    examination = examine.of(ledger)
    assert examination.examine().leaking == BLOCKS
    further = examination.examine_further(5000)
    assert is_cleared(further)
    assert 2000 < further.runs < 5000


def test_a_holder_that_breaks_its_limit_still_leaks(examine: Examining) -> None:
    examination = examine.of(ScriptedLedger({BLOCKS: always}))
    before = examination.examine().runs
    further = examination.examine_further(5000)
    assert further.leaking == BLOCKS and further.runs >= 5000 > before


def test_progress_is_told_the_runs_so_far(examine: Examining) -> None:
    examine(ScriptedLedger({BLOCKS: always}, run_s=1.0))
    assert examine.told == list(range(thresholds.SUSPECT_AFTER + 1, thresholds.LEAST_RUNS + 1))


def test_the_old_run_to_explain_has_kept_just_what_one_loses(examine: Examining) -> None:
    def kept(call: int, now: int) -> Amount:
        return Amount(2, 999, 0) if call in (1, 2) else ONE

    found = examine(ScriptedLedger({BLOCKS: kept}))
    assert found.old_run == (3, 1)


def test_a_leak_of_descriptors_has_no_old_run(examine: Examining) -> None:
    found = examine(ScriptedLedger(scarce={DESCRIPTORS: lambda call: 1.0}))
    assert found.old_run == (None, 1)


def test_what_a_run_raises_is_the_callers(examine: Examining) -> None:
    def fails(calls: int) -> Run:
        raise ZeroDivisionError

    ledger = ScriptedLedger({BLOCKS: always})
    suspect = Suspect(frozenset({BLOCKS}), (ledger.repeat(),))
    with pytest.raises(ZeroDivisionError):
        Confirmation(ledger, fails, suspect, LONG).examine()


def test_a_buffer_that_only_grows_is_growth_in_bytes_also_when_the_time_is_over(
    examine: Examining,
) -> None:
    """No run has kept a block that could be counted."""
    ledger = ScriptedLedger({BLOCKS: every(1, GROWN)}, run_s=0.1)
    examination = examine.of(ledger, Limits(4.0, 5_000, 24, 9.0))
    assert examination.examine().leaking == HEAP
    assert examination.examine_further(5_000).leaking == HEAP


@pytest.mark.parametrize("seconds", [3.0, 6.0])
def test_what_later_runs_make_larger_has_the_size_that_a_run_adds_itself(
    examine: Examining, seconds: float
) -> None:
    """As each of the streams does that a logger writes to."""

    def stream(call: int, now: int) -> Amount:
        return Amount(2, 100 + 10 * (now - 1 - call), 0)

    found = examine(ScriptedLedger({BLOCKS: stream}), Limits(seconds))
    assert found.leaking == BLOCKS and found.is_written_on
    assert (found.size_bytes, found.per_run[BLOCKS].is_exact) == (100, True)


def test_what_no_later_run_touches_is_not_said_to_be_made_larger(examine: Examining) -> None:
    assert not examine(ScriptedLedger({BLOCKS: always})).is_written_on
