"""``leakguard.loop``: repeats one callable of the user's until its runs have an answer."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.clock import Spent
from pytest_leakguard.counters.caches import NO_RUNNER, RunnerCaches
from pytest_leakguard.counters.reader import BLOCKS, Reader
from pytest_leakguard.counters.tempfiles import temporary_files
from pytest_leakguard.explain.interned_strings import interns_new_strings
from pytest_leakguard.screening import thresholds
from pytest_leakguard.screening.confirmation import Confirmation, Examination, Limits
from pytest_leakguard.screening.findings import check_of
from pytest_leakguard.screening.forks import children_end, end_if_child
from pytest_leakguard.screening.gc_freeze import frozen
from pytest_leakguard.screening.instruments import (
    DISPLACED,
    PYTHON_DISPLACED,
    instruments,
    qualified,
    with_note,
)
from pytest_leakguard.screening.ledger import Ledger, Run
from pytest_leakguard.screening.quick_check import EVERYTHING, QuickCheck, Suspect, rare_counters
from pytest_leakguard.screening.room import OutOfRoom, Room
from pytest_leakguard.screening.users_containers import UsersContainers, united


@dataclass(frozen=True, slots=True)
class Harness:
    """What is the test runner's part in a loop, and no growth of the unit."""

    after_call: Callable[[], object] | None = None
    """Takes back what it keeps of each call."""
    directories: tuple[str, ...] = ()
    """What its temporary directories begin with; it tidies up there by itself."""
    caches: RunnerCaches = NO_RUNNER
    """What it and its plugins keep of each call, and can compute again."""
    progress: Callable[[str], object] = str
    """Shows how far the loop is; called with an empty text when it is over."""


NO_HARNESS = Harness()


def check_loop(
    work: Callable[[], object],
    check_id: str,
    *,
    iterations: int | None = None,
    budget_bytes: float = 0.0,
    seconds: float = 10.0,
    sees_native: bool = True,
    harness: Harness = NO_HARNESS,
) -> Check:
    """Calls ``work`` repeatedly and says what leaks per call. What ``work`` raises is the caller's.

    ``iterations`` is after how many calls a quiet unit is clean; one that keeps something is called
    on, up to ``seconds``, until it is proved to leak or what it has kept goes again.
    """
    blank = Check(check_id, "test", "tracker")
    found = instruments(sees_native)
    if found.tracker is None:
        return replace(blank, problems=(found.problem,))
    watcher = temporary_files()
    with ExitStack() as stack:
        if not watcher.is_watching:
            watcher.watch(harness.directories)
            stack.callback(watcher.stop)
        unit = _followed(_ending_children(_synchronous(work, stack)), harness.after_call)
        reader = Reader(watcher, runner=harness.caches)
        ledger = Ledger(found.tracker, reader)
        stack.callback(harness.progress, "")

        def show(runs: int) -> None:
            harness.progress(f"loop of {check_id}, {runs:,} calls so far")

        stack.enter_context(children_end())
        calls = iterations or thresholds.LOOP_CALLS
        examination, further = _examined(unit, ledger, calls, seconds, show)

        def armed(calls: int = 1) -> None:
            ledger.arm()
            try:
                for _ in range(calls):
                    unit()
            finally:
                ledger.disarm()

        check = check_of(blank, examination, armed, ledger, budget_bytes, seconds, further).check
        displaced = (DISPLACED,) if found.sees_native and ledger.take_displaced() else ()
        if ledger.take_python_displaced():
            displaced = (*displaced, PYTHON_DISPLACED)
        check = with_note(check, ledger.take_loss())
        return qualified(check, *found.blind, *reader.take_unread(), *displaced)


def _examined(
    unit: Callable[[], object],
    ledger: Ledger,
    calls: int,
    seconds: float,
    progress: Callable[[int], object],
) -> tuple[Examination, Callable[[int], Examination] | None]:
    """What the calls have left, and what makes more of them.

    What was there before is frozen meanwhile.
    """
    room = Room(ledger)

    def run(count: int = 1) -> Run:
        room.check()
        return ledger.run(unit, count)

    try:
        with frozen():
            unit()  # what is made on first use
            lengths = UsersContainers().lengths()
            first = run()
            lengths.note_run()
            grown = united(lengths.containers, ledger.grown_by(first))
            del lengths  # which would keep alive what is in a list that is replaced
            quick = QuickCheck(ledger, run, (first,))
            suspect = quick.check(EVERYTHING, grown=grown)
            if suspect is None or suspect.grown is not None:  # the strings it holds may stay too
                suspect = _interning(unit, quick, ledger) or quick.continued(suspect)
            suspect = suspect or _over_many(quick, ledger, run, calls, seconds, progress)
            if quick.stopped and not quick.runs:
                raise OutOfRoom(quick.stopped)
            if suspect is None:
                return Examination({}, {}, runs=sum(run.calls for run in quick.runs)), None
            most_runs = max(calls, thresholds.MOST_RUNS_OF_LOOP)
            limits = Limits(seconds, most_runs, confirming_s=seconds / 2)
            confirmation = Confirmation(ledger, run, suspect, limits, progress)
            examination = confirmation.examine()
            is_clean = examination.leaking is None and not examination.undecided
            rare = confirmation.rare_beside() if is_clean else None
            if rare is not None:
                confirmation = Confirmation(ledger, run, rare, limits, progress)
                examination = confirmation.examine()
            return examination, confirmation.examine_further
    except OutOfRoom as problem:
        return Examination({}, {}, str(problem)), None


def _interning(unit: Callable[[], object], quick: QuickCheck, ledger: Ledger) -> Suspect | None:
    """A suspect when each call has new strings interned, by the user's or a package's code."""
    while len(quick.runs) < thresholds.SUSPECT_AFTER:
        quick.runs.append(quick.run_again())

    def traced_run() -> list[str]:
        quick.runs.append(quick.run_again())
        return ledger.interned_by(quick.runs[-1])

    if not all(map(ledger.has_interned, quick.runs)):
        return None
    if not interns_new_strings(unit, traced_run):
        return None
    ledger.counts_interned = True
    return Suspect(frozenset({BLOCKS}), tuple(quick.runs))


def _over_many(
    quick: QuickCheck,
    ledger: Ledger,
    run: Callable[[int], Run],
    calls: int,
    seconds: float,
    progress: Callable[[int], object],
) -> Suspect | None:
    """Leaks that are not in every call, looked for in some dozens of parts of all calls.

    Ends after so many seconds of computing, with the calls there were.
    """
    length = max(1, calls // thresholds.LOOP_CHUNKS)
    done, spent = 0, Spent()
    while done < calls and spent.seconds < seconds:
        quick.runs.append(run(length))
        done += length
        progress(done)
    later = quick.runs[-thresholds.LOOP_CHUNKS :]
    counters = rare_counters(ledger, later)
    return Suspect(counters, tuple(later), is_rare=True) if counters else None


def _synchronous(work: Callable[[], Any], stack: ExitStack) -> Callable[[], object]:
    """A coroutine function becomes a call that runs it to its end.

    All calls have one event loop.
    """
    if not inspect.iscoroutinefunction(work):
        return work
    runner = stack.enter_context(asyncio.Runner())

    def once() -> object:
        return runner.run(work())

    return once


def _ending_children(unit: Callable[[], object]) -> Callable[[], object]:
    """A child that the unit forks and that comes back out of it calls it no further."""

    def once() -> object:
        try:
            result = unit()
        except BaseException:
            end_if_child(has_failed=True)
            raise
        end_if_child()
        return result

    return once


def _followed(
    unit: Callable[[], object], after: Callable[[], object] | None
) -> Callable[[], object]:
    if after is None:
        return unit

    def once() -> object:
        try:
            return unit()
        finally:
            after()

    return once
