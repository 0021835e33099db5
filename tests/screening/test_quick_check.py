"""A few runs clear what keeps nothing; what every run keeps, or some of many, is suspected."""

from __future__ import annotations

import pytest

from pytest_leakguard.counters.reader import BLOCKS, CHILDREN, DESCRIPTORS, FILES, HEAP, THREADS
from pytest_leakguard.screening import quick_check, thresholds
from pytest_leakguard.screening.ledger import Run
from pytest_leakguard.screening.quick_check import (
    EVERYTHING,
    QuickCheck,
    Suspect,
    Totals,
    kept_by_all,
    raised_by,
    rare_counters,
    settled,
    text_of,
)
from pytest_leakguard.tracker.tracker import NOTHING, Amount
from tests.screening.scripted import (
    GROWN,
    ScriptedLedger,
    always,
    every,
    first,
    flushed_after,
    follow_clock,
    last,
    on,
)

SPARE_S = 0.1
"""Seconds for rare leaks: a hundred scripted runs."""


def checked(
    ledger: ScriptedLedger,
    suspected: frozenset[int] = EVERYTHING,
    is_patient: bool = False,
    spare_s: float = 0.0,
) -> Suspect | None:
    """The suspect after the quick check of a scripted unit."""
    return QuickCheck(ledger, ledger.repeat).check(suspected, is_patient, spare_s)


def checked_for_rare(
    monkeypatch: pytest.MonkeyPatch, ledger: ScriptedLedger, spare_s: float = SPARE_S
) -> Suspect | None:
    follow_clock(monkeypatch, ledger, quick_check)
    return checked(ledger, spare_s=spare_s)


def test_the_first_run_that_keeps_nothing_clears() -> None:
    ledger = ScriptedLedger()
    assert checked(ledger) is None
    assert ledger.calls == 1


def test_nothing_is_run_where_nothing_is_suspected() -> None:
    ledger = ScriptedLedger({BLOCKS: always})
    assert checked(ledger, suspected=frozenset()) is None
    assert ledger.calls == 0


def test_a_value_that_is_replaced_is_cleared_by_the_second_run() -> None:
    ledger = ScriptedLedger({BLOCKS: last(1)})
    assert checked(ledger) is None
    assert ledger.calls == 2


def test_what_is_made_on_first_use_is_cleared_by_the_second_run() -> None:
    ledger = ScriptedLedger({BLOCKS: first(1)})
    assert checked(ledger) is None
    assert ledger.calls == 2


def test_what_every_run_keeps_is_suspected_after_a_few() -> None:
    ledger = ScriptedLedger({BLOCKS: always})
    suspect = checked(ledger)
    assert suspect is not None
    assert suspect.counters == {BLOCKS} and not suspect.is_rare
    assert len(suspect.runs) == ledger.calls == thresholds.SUSPECT_AFTER


def test_only_counters_that_the_first_run_has_raised_are_looked_at() -> None:
    ledger = ScriptedLedger({BLOCKS: always, HEAP: always})
    suspect = checked(ledger, suspected=frozenset({HEAP}))
    assert suspect is not None and suspect.counters == {HEAP}


def test_a_counter_that_is_cleared_leaves_the_others_suspected() -> None:
    ledger = ScriptedLedger({BLOCKS: last(2), HEAP: always}, {DESCRIPTORS: lambda call: 1.0})
    suspect = checked(ledger)
    assert suspect is not None and suspect.counters == {HEAP, DESCRIPTORS}


def test_an_older_buffer_that_grows_in_every_run_is_suspected() -> None:
    suspect = checked(ScriptedLedger({BLOCKS: every(1, GROWN)}))
    assert suspect is not None and suspect.counters == {BLOCKS}


def test_a_descriptor_of_every_run_is_suspected() -> None:
    suspect = checked(ScriptedLedger(scarce={DESCRIPTORS: lambda call: 1.0}))
    assert suspect is not None and suspect.counters == {DESCRIPTORS}


def test_a_pool_of_three_descriptors_is_cleared() -> None:
    assert checked(ScriptedLedger(scarce={DESCRIPTORS: lambda call: float(call < 3)})) is None


def test_a_list_that_is_resized_now_and_then_is_suspected_with_patience() -> None:
    ledger = ScriptedLedger({BLOCKS: every(8, GROWN)})
    suspect = checked(ledger, is_patient=True)
    assert suspect is not None
    assert suspect.counters == {BLOCKS} and suspect.is_rare
    assert ledger.calls == thresholds.BUFFER_PATIENCE


@pytest.mark.parametrize(("most", "is_suspect"), [(10**6, True), (1200, False)])
def test_what_replaces_the_last_and_is_larger_each_time_is_suspected(
    most: int, is_suspect: bool
) -> None:
    """As a text that a line is added to; not one of which only the end is kept."""

    def newest(call: int, now: int) -> Amount:
        return Amount(1, min(most, 1000 + 50 * now), 0) if call == now - 1 else NOTHING

    suspect = checked(ScriptedLedger({BLOCKS: newest}))
    assert (suspect is not None) == is_suspect
    if suspect is not None:
        assert isinstance(suspect.grown, Totals) and not suspect.is_rare
        assert len(suspect.runs) == thresholds.LARGER_EACH_TIME


def test_a_buffer_that_every_run_makes_larger_is_no_rare_leak() -> None:
    """So that few slow runs prove it, and running out of time for rare leaks does not clear it."""
    suspect = checked(ScriptedLedger({HEAP: lambda call, now: GROWN}), is_patient=True)
    assert suspect is not None
    assert suspect.counters == {HEAP} and not suspect.is_rare


def test_a_list_that_is_resized_now_and_then_is_cleared_without_patience() -> None:
    ledger = ScriptedLedger({BLOCKS: every(8, GROWN)})
    assert checked(ledger) is None
    assert ledger.calls == 1


def test_a_buffer_that_is_resized_twice_more_is_cleared() -> None:
    assert checked(ScriptedLedger({HEAP: on(9, 17, amount=GROWN)}), is_patient=True) is None


def test_the_first_repeated_run_does_not_count_for_a_buffer() -> None:
    assert checked(ScriptedLedger({HEAP: on(0, 9, 17, amount=GROWN)}), is_patient=True) is None


def test_what_every_run_keeps_needs_no_patience() -> None:
    ledger = ScriptedLedger({BLOCKS: always})
    suspect = checked(ledger, is_patient=True)
    assert suspect is not None and not suspect.is_rare
    assert ledger.calls == thresholds.SUSPECT_AFTER


def test_a_leak_in_every_tenth_run_is_suspected_in_spare_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = ScriptedLedger({BLOCKS: every(10)})
    suspect = checked_for_rare(monkeypatch, ledger)
    assert suspect is not None
    assert suspect.counters == {BLOCKS} and suspect.is_rare
    assert len(suspect.runs) == ledger.calls


def test_a_rare_descriptor_is_suspected_in_spare_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = ScriptedLedger(scarce={DESCRIPTORS: lambda call: float(call % 10 == 9)})
    suspect = checked_for_rare(monkeypatch, ledger)
    assert suspect is not None and suspect.counters == {DESCRIPTORS}


def test_without_spare_time_a_rare_leak_is_not_looked_for() -> None:
    ledger = ScriptedLedger({BLOCKS: every(10)})
    assert checked(ledger) is None
    assert ledger.calls == 1


def test_quiet_runs_end_with_the_spare_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = ScriptedLedger()
    assert checked_for_rare(monkeypatch, ledger) is None
    assert ledger.calls == pytest.approx(1 + SPARE_S / ledger.run_s, abs=1)


def test_a_run_that_leaves_something_gets_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = ScriptedLedger({BLOCKS: every(40)})
    suspect = checked_for_rare(monkeypatch, ledger)
    assert suspect is not None and suspect.is_rare
    more = thresholds.SPARE_OF_EVENT_S / ledger.run_s
    assert ledger.calls == pytest.approx(1 + SPARE_S / ledger.run_s + more, abs=2)


def test_what_is_made_on_first_use_gets_no_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = ScriptedLedger({BLOCKS: on(1, 2)})
    assert checked_for_rare(monkeypatch, ledger) is None
    assert ledger.calls < 2 * SPARE_S / ledger.run_s


def test_a_rare_leak_that_stops_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = ScriptedLedger({BLOCKS: on(10, 20, 30, 40, 50, 60)})
    assert checked_for_rare(monkeypatch, ledger) is None


def test_a_buffer_that_is_flushed_is_cleared() -> None:
    assert checked(ScriptedLedger({BLOCKS: flushed_after(3)})) is None


def test_rare_runs_end_where_the_process_has_no_more_descriptors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = ScriptedLedger(rooms=20)
    assert checked_for_rare(monkeypatch, ledger) is None
    assert ledger.calls == 20


def test_what_a_run_raises_is_the_callers() -> None:
    def fails() -> Run:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        QuickCheck(ScriptedLedger(), fails).check(EVERYTHING)


@pytest.mark.parametrize("counter", [THREADS, CHILDREN])
def test_threads_and_processes_that_end_by_themselves_are_waited_for(counter: int) -> None:
    ledger = ScriptedLedger(scarce={counter: lambda call: 1.0})
    run = settled(ledger, ledger.repeat())
    assert not any(run.rises)
    assert len(ledger.waits_s) == 1 and ledger.read_again_count == 1


def test_nothing_is_waited_for_where_no_thread_is_left() -> None:
    ledger = ScriptedLedger({BLOCKS: always}, {DESCRIPTORS: lambda call: 1.0})
    run = ledger.repeat()
    assert settled(ledger, run) is run and not ledger.waits_s


def test_a_run_raises_what_it_has_kept() -> None:
    ledger = ScriptedLedger({BLOCKS: always, HEAP: every(2)}, {FILES: lambda call: 2.0})
    assert raised_by(ledger, ledger.repeat()) == {BLOCKS, FILES}
    assert raised_by(ledger, ledger.repeat()) == {BLOCKS, HEAP, FILES}


def test_a_counter_is_kept_by_all_only_if_each_run_keeps_it() -> None:
    ledger = ScriptedLedger({BLOCKS: always, HEAP: first(2)}, {FILES: lambda call: -1.0})
    runs = [ledger.repeat() for _ in range(3)]
    assert kept_by_all(ledger, (BLOCKS, HEAP, FILES), runs) == {BLOCKS}


def test_events_in_the_early_runs_alone_are_not_rare_leaks() -> None:
    ledger = ScriptedLedger({BLOCKS: first(5), HEAP: on(0, 1, 2, 19)})
    runs = [ledger.repeat() for _ in range(20)]
    assert rare_counters(ledger, runs) == {HEAP}


def test_a_suspicion_is_told_in_words() -> None:
    ledger = ScriptedLedger({BLOCKS: always}, {DESCRIPTORS: lambda call: 1.0})
    suspect = checked(ledger)
    assert suspect is not None
    assert text_of(ledger, suspect).endswith("file descriptors kept by each of 4 runs")
    rare = Suspect(frozenset({BLOCKS}), suspect.runs, is_rare=True)
    assert text_of(ledger, rare).endswith("kept by some of 4 runs")


def test_what_the_librarys_caches_keep_of_each_run_takes_one_run_to_clear() -> None:
    ledger = ScriptedLedger({BLOCKS: always})
    ledger.after_emptying = {BLOCKS: first(0)}
    assert checked(ledger) is None
    assert ledger.calls == 1
