"""When there can be no more runs, the answer comes from those there were."""

from __future__ import annotations

import os

import pytest

from pytest_leakguard.counters.reader import BLOCKS, DESCRIPTORS
from pytest_leakguard.screening import confirmation
from pytest_leakguard.screening.confirmation import Confirmation, Examination, Limits
from pytest_leakguard.screening.forks import children_end, end_if_child
from pytest_leakguard.screening.ledger import Run
from pytest_leakguard.screening.loop import check_loop
from pytest_leakguard.screening.quick_check import QuickCheck, Suspect
from pytest_leakguard.screening.room import OutOfRoom, Room
from tests.screening.scripted import ScriptedLedger, always, follow_clock


class SlowerAndSlower(ScriptedLedger):
    """Each run takes so many times as long as the one before."""

    def __init__(self, factor: float) -> None:
        super().__init__({BLOCKS: always}, run_s=0.05)
        self.factor = factor

    def repeat(self, calls: int = 1) -> Run:
        self.run_s *= self.factor
        return super().repeat(calls)


def examined(monkeypatch: pytest.MonkeyPatch, ledger: ScriptedLedger) -> Examination:
    """The answer of ten seconds."""
    follow_clock(monkeypatch, ledger, confirmation)
    runs = tuple(ledger.repeat() for _ in range(4))
    suspect = Suspect(frozenset(ledger.memory), runs)
    return Confirmation(ledger, ledger.repeat, suspect, Limits(seconds=10.0)).examine()


def test_a_leak_that_doubles_the_time_of_the_next_run_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = examined(monkeypatch, SlowerAndSlower(2.0))
    assert found.leaking == BLOCKS and not found.undecided


def test_runs_that_are_slow_alike_are_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = SlowerAndSlower(1.0)
    ledger.run_s = 6.0
    assert examined(monkeypatch, ledger).undecided


def test_the_reason_for_no_more_runs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = ScriptedLedger({BLOCKS: always})
    follow_clock(monkeypatch, ledger, confirmation)
    suspect = Suspect(frozenset({BLOCKS}), (ledger.repeat(), ledger.repeat()))
    ledger.rooms = 2
    found = Confirmation(ledger, ledger.repeat, suspect, Limits()).examine()
    assert found.undecided.endswith("no room")


def test_a_quick_check_without_room_keeps_its_suspicion() -> None:
    ledger = ScriptedLedger(scarce={DESCRIPTORS: lambda call: 1.0}, rooms=2)
    quick = QuickCheck(ledger, ledger.repeat)
    suspect = quick.check(frozenset({DESCRIPTORS}))
    assert quick.stopped == "no room" and len(quick.runs) == 2
    assert suspect is not None and suspect.counters == {DESCRIPTORS}


def test_containers_that_may_grow_are_not_waited_for_without_room() -> None:
    ledger = ScriptedLedger(rooms=0)
    quick = QuickCheck(ledger, ledger.repeat)
    assert quick.check(frozenset(), grown=[[]]) is None
    assert quick.stopped == "no room"


def test_a_loop_without_room_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(room: Room, runs: int = 1) -> None:
        raise OutOfRoom("all descriptors are open")

    monkeypatch.setattr(Room, "check", full)
    check = check_loop(list, "loop")
    assert check.problems == ("undecided: all descriptors are open",)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.parametrize("has_failed", [False, True])
def test_a_child_of_a_repeated_run_ends_as_its_test_did(has_failed: bool) -> None:
    with children_end():
        child = os.fork()
        end_if_child(has_failed)
        if child == 0:  # or two test runs would go on
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == int(has_failed)
