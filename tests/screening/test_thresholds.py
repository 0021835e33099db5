"""Each number that screening decides by decides something: its case changes when it moves.

A case gives the promised answer with the number as it is, and another one with the number a
little smaller and a little larger. No case runs or tracks anything: a script says what runs keep.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import pytest_leakguard
from pytest_leakguard import pytest_integration
from pytest_leakguard.core.checks import Check
from pytest_leakguard.counters.reader import BLOCKS, DESCRIPTORS, HEAP
from pytest_leakguard.explain.explainer import Cause
from pytest_leakguard.screening import thresholds
from pytest_leakguard.screening.ledger import Run
from pytest_leakguard.screening.room import OutOfRoom
from pytest_leakguard.screening.statistics import PerRun
from pytest_leakguard.tracker.tracker import NOTHING, Amount
from tests.screening.scripted import (
    GROWN,
    ONE,
    ScriptedLedger,
    ScriptedSpent,
    always,
    every,
    last,
    on,
)

STAGES = "pytest_leakguard.pytest_integration.test_check"
LONG_S = 1000.0
MIB = 1024**2


class Rooms:
    """Modules of screening, and of the check of a test, imported anew with a number changed."""

    def __getattr__(self, name: str) -> ModuleType:
        return importlib.import_module(f"pytest_leakguard.screening.{name}")

    @property
    def stages(self) -> ModuleType:
        return importlib.import_module(STAGES)


@contextmanager
def rooms_with(number: str = "", value: Any = None) -> Iterator[Rooms]:
    """Import the modules anew, so that values made at import follow the number too."""
    saved = {name: sys.modules.pop(name) for name in list(sys.modules) if is_of_rooms(name)}
    rooms = Rooms()
    try:
        if number:
            setattr(rooms.thresholds, number, value)
        yield rooms
    finally:
        for name in list(sys.modules):
            if is_of_rooms(name):
                del sys.modules[name]
        sys.modules.update(saved)
        pytest_leakguard.screening = saved["pytest_leakguard.screening"]
        if STAGES in saved:
            pytest_integration.test_check = saved[STAGES]  # type: ignore[attr-defined]


def is_of_rooms(name: str) -> bool:
    return name.split(".")[:2] == ["pytest_leakguard", "screening"] or name == STAGES


@dataclass(frozen=True)
class Case:
    """What is asked, what is promised, and by which factors the number is moved."""

    ask: Callable[[Rooms], object]
    promised: object
    factors: tuple[float, ...] = (0.5, 2.0)


# The quick check.


def suspected(
    rooms: Rooms, ledger: ScriptedLedger, is_patient: bool = False, spare_s: float = 0.0
) -> bool:
    """Whether the quick check suspects a scripted unit."""
    quick_check: Any = rooms.quick_check
    quick_check.Spent = lambda: ScriptedSpent(ledger)
    quick = quick_check.QuickCheck(ledger, ledger.repeat)
    return quick.check(quick_check.EVERYTHING, is_patient, spare_s) is not None


def larger_each_time(rooms: Rooms) -> object:
    """Runs after which a text that grows is suspected."""

    def newest(call: int, now: int) -> Amount:
        return Amount(1, 1000 + now, 0) if call == now - 1 else NOTHING

    ledger = ScriptedLedger({BLOCKS: newest})
    return suspected(rooms, ledger) and ledger.calls


def first_runs_of_leak(rooms: Rooms) -> int:
    ledger = ScriptedLedger({BLOCKS: always})
    assert suspected(rooms, ledger)
    return ledger.calls


def patience(rooms: Rooms) -> tuple[bool, int]:
    """A list that is resized by every eighth item, and the runs that it takes."""
    ledger = ScriptedLedger({BLOCKS: every(8, GROWN)})
    return suspected(rooms, ledger, is_patient=True), ledger.calls


def resized(rooms: Rooms) -> tuple[bool, ...]:
    """Buffers that are resized twice and three times."""
    found = []
    for calls in ((9, 17), (9, 17, 22)):
        ledger = ScriptedLedger({HEAP: on(*calls, amount=GROWN)})
        found.append(suspected(rooms, ledger, is_patient=True))
    return tuple(found)


def rare_events(rooms: Rooms) -> tuple[bool, ...]:
    """Three and four runs of twenty that have kept something."""
    found = []
    for calls in ((3, 9, 19), (3, 9, 15, 19)):
        ledger = ScriptedLedger({BLOCKS: on(*calls)})
        runs = [ledger.repeat() for _ in range(20)]
        found.append(bool(rooms.quick_check.rare_counters(ledger, runs)))
    return tuple(found)


def first_runs(rooms: Rooms) -> tuple[bool, ...]:
    """Events of which one is in the last run that says nothing, or in the one behind it."""
    found = []
    for early in (2, 3):
        ledger = ScriptedLedger({BLOCKS: on(early, 70, 80, 99)}, run_s=1.0)
        found.append(suspected(rooms, ledger, spare_s=99.0))
    return tuple(found)


def runs_after_an_event(rooms: Rooms) -> int:
    """As many as there is time for, after those in which every test gets as many runs."""
    ledger = ScriptedLedger({BLOCKS: on(15)}, run_s=0.01)
    suspected(rooms, ledger, spare_s=0.495)
    return ledger.calls - 50


def spare_runs(rooms: Rooms) -> int:
    """Of a test whose runs are so slow that its time is enough for 20."""
    ledger = ScriptedLedger(run_s=0.01)
    suspected(rooms, ledger, spare_s=0.195)
    return ledger.calls


def spare_runs_of_slow(rooms: Rooms) -> int:
    """Of a test whose time is exceeded before it has them: three times 0.15 seconds."""
    ledger = ScriptedLedger(run_s=0.02)
    suspected(rooms, ledger, spare_s=0.149)
    return ledger.calls


# The confirmation.


def examined(
    rooms: Rooms,
    ledger: ScriptedLedger,
    is_rare: bool = False,
    runs: int = 4,
    **limits: float,
) -> Any:
    """What a confirmation says of a scripted unit that is suspected after so many runs."""
    confirmation: Any = rooms.confirmation
    confirmation.Spent = lambda: ScriptedSpent(ledger)
    confirmation.OutOfRoom = OutOfRoom  # the script's; modules imported anew have another
    firsts = tuple(ledger.repeat() for _ in range(runs))
    counters = frozenset((*ledger.memory, *ledger.scarce))
    suspect = rooms.quick_check.Suspect(counters, firsts, is_rare)
    ledger.told = [0]
    return confirmation.Confirmation(
        ledger,
        ledger.repeat,
        suspect,
        confirmation.Limits(**{"seconds": LONG_S, **limits}),
        ledger.told.append,
    ).examine()


def runs_of(rooms: Rooms, ledger: ScriptedLedger) -> int:
    """Runs after which a leak is proved, without those at the end."""
    assert examined(rooms, ledger).leaking is not None
    return ledger.told[-1]


def rare_descriptors(rooms: Rooms) -> int:
    """Descriptors that prove a leak of one in every tenth run."""
    ledger = ScriptedLedger(scarce={DESCRIPTORS: lambda call: float(call % 10 == 9)})
    found = examined(rooms, ledger, is_rare=True, runs=50)
    assert found.leaking == DESCRIPTORS
    return sum(kept.blocks for kept in found.series[DESCRIPTORS])


def full_caches(rooms: Rooms) -> tuple[bool, int]:
    """Whether a cache of 4,000 entries is told from a leak, and thousands of runs of a leak."""
    cache = examined(rooms, ScriptedLedger({BLOCKS: last(4000)}, run_s=1e-5))
    leak = ScriptedLedger({BLOCKS: always}, run_s=1e-5)
    return cache.leaking is None, runs_of(rooms, leak) // 1000


def confirming_chunks(rooms: Rooms, run_s: float) -> list[int]:
    """Runs under each number until a leak is proved, without those at the end."""
    ledger = ScriptedLedger({BLOCKS: always}, run_s=run_s)
    examined(rooms, ledger)
    return ledger.chunks[: 4 + len(ledger.told) - 1]


def last_chunks(rooms: Rooms) -> list[int]:
    """Runs under each number after a leak is proved."""
    ledger = ScriptedLedger({BLOCKS: always}, run_s=1e-5)
    examined(rooms, ledger)
    return ledger.chunks[4 + len(ledger.told) - 1 :]


def largest_of_slow(rooms: Rooms) -> int:
    ledger = ScriptedLedger({BLOCKS: always}, run_s=0.001)
    examined(rooms, ledger, least_runs=4000)
    return max(ledger.chunks[: 4 + len(ledger.told) - 1])


def part_of_all(rooms: Rooms) -> int:
    """How many times the thousandth run's number there had been as many runs before."""
    before = 0
    for calls in confirming_chunks(rooms, 1e-5):
        if before >= 1000:
            return before // calls
        before += calls
    raise AssertionError(before)


def singles_at_the_end(rooms: Rooms) -> int:
    return last_chunks(rooms).count(1)


def settling_at_the_end(rooms: Rooms) -> int:
    return sum(calls > 1 for calls in last_chunks(rooms))


def uneven(rooms: Rooms) -> tuple[bool, ...]:
    """Whether a leak of one, two or three blocks is proved in the time of 2,000 and 2,200 runs."""

    def kept(call: int, now: int) -> Amount:
        return Amount(1 + call % 3, 64, 0)

    found = []
    for seconds in (20.0, 22.0):
        ledger = ScriptedLedger({BLOCKS: kept}, run_s=0.01)
        found.append(examined(rooms, ledger, seconds=seconds).leaking == BLOCKS)
    return tuple(found)


class Slowing(ScriptedLedger):
    """Leaks in every run; the first four take no time, each of the others so many seconds."""

    def __init__(self, *seconds: float) -> None:
        super().__init__({BLOCKS: always}, run_s=0.0)
        self._last_s = seconds

    def run(self, work: Callable[[], object], calls: int = 1) -> Run:
        at = len(self.chunks) - 4
        self.run_s = self._last_s[at] if at >= 0 else 0.0
        return super().run(work, calls)


def is_leak_in_time(rooms: Rooms, *seconds: float) -> bool:
    """Whether these runs, and no further ones, prove a leak."""
    found = examined(rooms, Slowing(*seconds), seconds=sum(seconds) - 0.1)
    return found.leaking == BLOCKS and not found.undecided


def ever_slower(rooms: Rooms) -> tuple[bool, ...]:
    """Whether a last run that takes 1.4 and 1.6 times as long as the one before ends it as a leak."""
    return is_leak_in_time(rooms, 1.0, 1.4), is_leak_in_time(rooms, 1.0, 1.6)


def slowest_share(rooms: Rooms) -> tuple[bool, ...]:
    """Whether a run that takes twice as long does, which has had 0.31 and 0.36 of all the time."""
    return is_leak_in_time(rooms, 2.5, 1.0, 1.0, 2.0), is_leak_in_time(rooms, 1.5, 1.0, 1.0, 2.0)


def exhausting(rooms: Rooms) -> tuple[bool, ...]:
    """Whether 2 and 3 runs that leave the process no room for another prove a leak."""
    found = []
    for runs in (2, 3):
        ledger = ScriptedLedger(scarce={DESCRIPTORS: lambda call: 100.0}, rooms=runs)
        found.append(examined(rooms, ledger, runs=runs).leaking == DESCRIPTORS)
    return tuple(found)


def rare_proof(rooms: Rooms) -> tuple[bool, ...]:
    """Whether a leak in every tenth run is proved that has been seen 11 and 12 times in its time."""
    found = []
    for runs in (90, 100):
        ledger = ScriptedLedger({BLOCKS: every(10)}, run_s=0.1)
        found.append(examined(rooms, ledger, is_rare=True, runs=runs).leaking == BLOCKS)
    return tuple(found)


def frequent(rooms: Rooms) -> tuple[bool, ...]:
    """Whether losses in every fourth and every third run are proved before the most runs."""
    found = []
    for period in (4, 3):
        ledger = ScriptedLedger({BLOCKS: every(period)}, run_s=0.1)
        found.append(examined(rooms, ledger, is_rare=True, runs=60).leaking == BLOCKS)
    return tuple(found)


def rare_seconds(rooms: Rooms) -> int:
    """For a rare leak that has not been seen often enough by then."""
    ledger = ScriptedLedger({BLOCKS: every(20)}, run_s=0.1)
    return round(float(examined(rooms, ledger, is_rare=True, runs=40).seconds))


def runs_into_memory(rooms: Rooms) -> int:
    large = Amount(1, 20 * MIB, 0)
    return int(examined(rooms, ScriptedLedger({HEAP: every(1, large)}, run_s=1.0)).runs)


# What series say.


def paces(rooms: Rooms) -> tuple[str, ...]:
    """Leaks whose last third keeps 0.92 and 0.88 of what the first third of the later half keeps."""
    answers = []
    for late in (0.915, 0.88):
        level, totals = 0.0, []
        for calls in range(1, 121):
            level += 1.0 if calls <= 80 else late
            totals.append(rooms.statistics.Total(calls, level))
        series = [rooms.statistics.Kept(1, 1, 1)] * 120
        answers.append(rooms.statistics.answer(series, totals, False).name)
    return tuple(answers)


def steps(rooms: Rooms) -> tuple[str, ...]:
    """A leak after 10 and 11 runs, of whose later half one third has one and two."""
    answers = []
    for runs in (10, 11):
        totals = [rooms.statistics.Total(calls, calls) for calls in range(1, runs + 1)]
        series = [rooms.statistics.Kept(1, 1, 1)] * runs
        answers.append(rooms.statistics.answer(series, totals, False).name)
    return tuple(answers)


def flat(rooms: Rooms) -> tuple[str, ...]:
    """Runs that together keep no more than before, after 190 and 210 of them."""
    answers = []
    for runs in (190, 210):
        totals = [rooms.statistics.Total(calls, 1.0) for calls in range(1, runs + 1)]
        series = [rooms.statistics.Kept(1, 1, 1)] * runs
        answers.append(rooms.statistics.answer(series, totals, False).name)
    return tuple(answers)


def answer_of_rare(rooms: Rooms, *thirds: int, silence: int = 0) -> str:
    """Thirds of 60 runs with so many losses each, spread evenly, and then runs without any."""
    blocks = []
    for count in thirds:
        for run in range(60):
            blocks.append(int((run + 1) * count // 60 > run * count // 60))
    series = [rooms.statistics.Kept(1, count, count) for count in (*blocks, *[0] * silence)]
    return str(rooms.statistics.answer(series, [], True).name)


def least_per_call(rooms: Rooms) -> tuple[str, ...]:
    """Runs that together gain 0.45 and 0.55 blocks each."""
    answers = []
    for pace in (0.45, 0.55):
        totals = [rooms.statistics.Total(calls, pace * calls) for calls in range(1, 101)]
        series = [rooms.statistics.Kept(1, 1, 1)] * 100
        answers.append(rooms.statistics.answer(series, totals, False).name)
    return tuple(answers)


def newer(rooms: Rooms) -> tuple[bool, ...]:
    """Whether 7 and 8 losses in the newer half alone say that the older ones are gone."""
    found = []
    for losses in (7, 8):
        blocks = [0] * 60 + [int(run % 7 == 6 and run < 7 * losses) for run in range(60)]
        series = [rooms.statistics.Kept(1, count, count) for count in blocks]
        found.append(rooms.statistics.answer(series, [], True).name == "NOTHING")
    return tuple(found)


def rarer(rooms: Rooms) -> tuple[str, ...]:
    """Losses that become rarer, but not by more than chance would have it."""
    return answer_of_rare(rooms, 12, 9, 6), answer_of_rare(rooms, 12, 9, 5)


def fewer(rooms: Rooms) -> tuple[str, ...]:
    """Losses that become rarer by just as much as chance would have it, and by more."""
    return answer_of_rare(rooms, 60, 50, 40), answer_of_rare(rooms, 60, 50, 39)


def few_late(rooms: Rooms) -> tuple[str, ...]:
    return answer_of_rare(rooms, 4, 4, 3), answer_of_rare(rooms, 4, 4, 2)


def silent(rooms: Rooms) -> tuple[bool, ...]:
    """Whether losses in every tenth run have stopped after 30 and 31 old runs without one."""
    found = []
    for runs in (30, 31):
        found.append(answer_of_rare(rooms, 6, 6, 6, silence=runs + 1) == "NOTHING")
    return tuple(found)


def exact_shares(rooms: Rooms) -> tuple[bool, ...]:
    """Whether 14 and 16 of 20 old runs make an exact size."""
    found = []
    for same in (14, 16):
        sizes = [1] * same + list(range(2, 22 - same))
        series = [rooms.statistics.Kept(1, 1, size) for size in (99, *sizes, 99)]
        found.append(rooms.statistics.per_run(series, False).is_exact)
    return tuple(found)


# What becomes of an examination.


def doubtful(rooms: Rooms) -> tuple[bool, ...]:
    """Whether 590 and 610 runs prove a leak that Python holds where nothing becomes longer."""
    findings: Any = rooms.findings
    findings._explained = lambda *_, **__: Cause(holders=("shop.Order.next",))
    leak = rooms.confirmation.Examination({}, {BLOCKS: PerRun(1, 64, is_exact=True)})
    blank = Check("test_x.py::test", "test", "tracker")

    def is_proved(runs: int) -> bool:
        checked = findings.check_of(
            blank,
            replace(leak, runs=40),
            None,
            None,
            budget_bytes=0.0,
            seconds=LONG_S,
            further=lambda wanted: replace(leak, runs=runs),
        )
        return bool(checked.check.findings)

    return is_proved(590), is_proved(610)


# The loop.


def looped(rooms: Rooms, ledger: ScriptedLedger) -> Any:
    """The check of a loop over a scripted unit."""
    module: Any = rooms.loop
    for name in ("quick_check", "confirmation"):
        getattr(rooms, name).Spent = lambda: ScriptedSpent(ledger)
    module.instruments = lambda _: SimpleNamespace(tracker=object(), blind=(), sees_native=True)
    module.temporary_files = lambda: SimpleNamespace(is_watching=True)
    module.Reader = lambda *_, **__: SimpleNamespace(take_unread=lambda: ())
    module.Ledger = lambda *_: ledger
    return module.check_loop(lambda: None, "loop", seconds=LONG_S)


def calls_of_quiet_loop(rooms: Rooms) -> int:
    """Calls in hundreds; each number has as many."""
    ledger = ScriptedLedger()
    assert not looped(rooms, ledger).findings
    return round(ledger.calls / 100)


def numbers_of_quiet_loop(rooms: Rooms) -> int:
    ledger = ScriptedLedger()
    looped(rooms, ledger)
    return len(ledger.chunks)


def cache_in_loop(rooms: Rooms) -> tuple[bool, int]:
    """Whether a cache of 15,000 entries is told from a leak in a loop, and after how many calls."""
    ledger = ScriptedLedger({BLOCKS: last(15_000)}, run_s=1e-6)

    def ask(counter: int) -> Any:
        return rooms.loop._examined(lambda: None, ledger, 1500, LONG_S, lambda runs: None)

    quick_check: Any = rooms.quick_check
    confirmation: Any = rooms.confirmation
    quick_check.Spent = confirmation.Spent = lambda: ScriptedSpent(ledger)
    cache, _ = ask(BLOCKS)
    ledger.memory[BLOCKS] = lambda call, now: ONE
    leak, _ = ask(BLOCKS)
    return cache.leaking is None, leak.runs // 1000


# The time of a suite.


def stages(rooms: Rooms, tests: int, tests_s: float, spare_s: float = 0.0) -> Any:
    """The checks of a suite of so many tests, which have taken so long."""
    made: Any = object.__new__(rooms.stages.Stages)
    made.tests, made._tests_s, made._spare_s, made._confirming_s = tests, tests_s, spare_s, 0.0
    return made


def spare(rooms: Rooms, tests: int, tests_s: float = 0.0, spare_s: float = 0.0) -> float:
    return round(float(stages(rooms, tests, tests_s, spare_s)._spare_of(None)), 4)


def item_of_suite() -> Any:
    """As much of an item of pytest's as a blank check is made of."""
    path = Path("test_x.py").resolve()
    config = SimpleNamespace(
        invocation_params=SimpleNamespace(dir=path.parent), getoption=lambda *_: False
    )
    location = (path.name, 1, "test")
    return SimpleNamespace(nodeid=f"{path.name}::test", location=location, path=path, config=config)


def confirmed_after(rooms: Rooms) -> tuple[bool, ...]:
    """Whether the fifth suspect is confirmed after 69 and after 71 seconds of confirmations."""
    found = []
    for seconds in (69.0, 71.0):
        made = stages(rooms, 500, 1.0)
        made._confirming_s, made._suspects = seconds, 4
        made._causes = SimpleNamespace(behind=lambda *_: None)
        made._session = SimpleNamespace(settings_of=lambda item: None)
        made._confirmed = lambda *_: SimpleNamespace(problems=())
        item = item_of_suite()
        suspect = rooms.quick_check.Suspect(frozenset({BLOCKS}), ())
        repeater = SimpleNamespace(run=None, run_around=None)
        check = made._suspected(item, repeater, ScriptedLedger(), suspect, None, ())
        found.append(not check.problems)
    return tuple(found)


NEAR = (0.9, 1.1)
APART = (0.8, 1.3)
INSIDE = (True, False)
OUTSIDE = (False, True)

CASES = {
    "SUSPECT_AFTER": Case(first_runs_of_leak, 4, (0.75, 1.25)),
    "LARGER_EACH_TIME": Case(larger_each_time, 8, (0.875, 1.125)),
    "BUFFER_PATIENCE": Case(patience, (True, 24), NEAR),
    "SCARCE_PROOF": Case(rare_descriptors, 8, (0.875, 1.125)),
    "LEAST_RUNS": Case(
        lambda rooms: runs_of(rooms, ScriptedLedger({BLOCKS: always}, run_s=1.0)), 24, NEAR
    ),
    "MOST_RUNS": Case(full_caches, (True, 4)),
    "MOST_RUNS_OF_LOOP": Case(cache_in_loop, (True, 40)),  # half of them settle what is pruned
    "CONFIRMING_S": Case(
        lambda rooms: runs_of(rooms, ScriptedLedger({BLOCKS: always}, run_s=0.02)), 34, APART
    ),
    "CHUNK_S": Case(largest_of_slow, 100),
    "BUFFER_EVENTS": Case(resized, OUTSIDE, (0.6, 1.4)),
    "STEADY_SHARE": Case(paces, ("STEADY", "FADING"), NEAR),
    "UNEVEN_RUNS": Case(uneven, OUTSIDE, NEAR),
    "DOUBTFUL_RUNS": Case(doubtful, OUTSIDE, NEAR),
    "EVER_SLOWER": Case(ever_slower, OUTSIDE, NEAR),
    "SLOWEST_SHARE": Case(slowest_share, OUTSIDE, NEAR),
    "EXHAUSTING_RUNS": Case(exhausting, OUTSIDE, (0.67, 1.33)),
    "RARE_EVENTS": Case(rare_events, OUTSIDE, (0.75, 1.25)),
    "RARE_PROOF": Case(rare_proof, OUTSIDE, NEAR),
    "FIRST_RUNS": Case(first_runs, OUTSIDE, (0.6, 1.4)),
    "MEMORY_LIMIT_BYTES": Case(runs_into_memory, 13, NEAR),
    "SPARE_SHARE": Case(lambda rooms: spare(rooms, 2, 100.0, 3.95), 0.05),
    "SPARE_RUNS": Case(spare_runs, 45, NEAR),
    "SPARE_FACTOR": Case(spare_runs_of_slow, 24, NEAR),
    "SPARE_S": Case(lambda rooms: spare(rooms, 4), 0.05),
    "SPARE_TESTS": Case(
        lambda rooms: tuple(spare(rooms, tests) > 0 for tests in (100, 101)), INSIDE, NEAR
    ),
    "SPARE_OF_EVENT_S": Case(runs_after_an_event, 51, NEAR),
    "EXACT_SHARE": Case(exact_shares, OUTSIDE, NEAR),
    "LOOP_CALLS": Case(calls_of_quiet_loop, 16, NEAR),
    "LOOP_CHUNKS": Case(numbers_of_quiet_loop, 30),
    "LAST_RUNS": Case(singles_at_the_end, 9, NEAR),
    "SETTLING_STEPS": Case(settling_at_the_end, 8, (0.75, 1.25)),
    "CONFIRMATIONS_S": Case(confirmed_after, INSIDE, NEAR),
    "CONFIRMATION_S": Case(confirmed_after, INSIDE, APART),
    "LEAST_STEPS": Case(steps, ("FADING", "STEADY"), (0.5, 1.5)),
    "STEPS_IN_ALL": Case(part_of_all, 24, APART),
    "FLAT_AFTER": Case(flat, ("FADING", "NOTHING"), NEAR),
    "SILENCE": Case(silent, OUTSIDE, (0.67, 1.33)),
    "LEAST_PER_CALL": Case(least_per_call, ("FADING", "STEADY"), APART),
    "NEWER_EVENTS": Case(newer, OUTSIDE, (0.875, 1.125)),
    "FREQUENT_SHARE": Case(frequent, INSIDE, APART),
    "RARE_SHARE": Case(rarer, ("STEADY", "FADING"), APART),
    "FEWER_SIGMAS": Case(fewer, ("STEADY", "FADING"), NEAR),
    "RARE_LATE_EVENTS": Case(few_late, ("STEADY", "FADING"), (0.67, 1.33)),
    "RARE_S": Case(rare_seconds, 2),
}


def moved(value: Any, factor: float) -> Any:
    return round(value * factor) if isinstance(value, int) else value * factor


@pytest.mark.parametrize("name", CASES)
def test_the_number_gives_the_promised_answer(name: str) -> None:
    with rooms_with() as rooms:
        assert CASES[name].ask(rooms) == CASES[name].promised


@pytest.mark.parametrize(
    ("name", "factor"),
    [(name, factor) for name, case in CASES.items() for factor in case.factors],
)
def test_a_number_that_moves_changes_an_answer(name: str, factor: float) -> None:
    value = moved(getattr(thresholds, name), factor)
    assert value != getattr(thresholds, name)
    with rooms_with(name, value) as rooms:
        assert CASES[name].ask(rooms) != CASES[name].promised


def test_every_number_has_a_case() -> None:
    assert {name for name in vars(thresholds) if name.isupper()} == set(CASES)


def test_the_rooms_are_as_before_when_a_number_has_moved() -> None:
    from pytest_leakguard.screening import statistics

    with rooms_with("LEAST_RUNS", 99) as rooms:
        assert rooms.statistics is not statistics
    assert sys.modules["pytest_leakguard.screening.statistics"] is statistics
    assert pytest_leakguard.screening.thresholds is thresholds
