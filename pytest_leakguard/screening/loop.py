"""``leakguard.loop``: repeats one callable of the user's until its runs have an answer."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from pytest_leakguard.core.checks import Check
from pytest_leakguard.counters.caches import NO_RUNNER, RunnerCaches
from pytest_leakguard.counters.reader import BLOCKS, Reader
from pytest_leakguard.counters.tempfiles import temporary_files
from pytest_leakguard.explain.interned_strings import interns_new_strings
from pytest_leakguard.screening import thresholds
from pytest_leakguard.screening.confirmation import Confirmation, Examination, Limits
from pytest_leakguard.screening.findings import check_of
from pytest_leakguard.screening.ledger import Ledger, Run
from pytest_leakguard.screening.quick_check import EVERYTHING, QuickCheck, Suspect, rare_counters
from pytest_leakguard.tracker.installed import installed


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
    harness: Harness = NO_HARNESS,
) -> Check:
    """Calls ``work`` repeatedly and says what leaks per call. What ``work`` raises is the caller's.

    ``iterations`` is after how many calls a quiet unit is clean; one that keeps something is called on, up to
    ``seconds``, until it is proved to leak or what it has kept goes again.
    """
    blank = Check(check_id, "test", "tracker")
    found = installed()
    if found.tracker is None:
        return replace(blank, problems=(found.problem,))
    watcher = temporary_files()
    with ExitStack() as stack:
        if not watcher.is_watching:
            watcher.watch(harness.directories)
            stack.callback(watcher.stop)
        unit = _followed(_synchronous(work, stack), harness.after_call)
        ledger = Ledger(found.tracker, Reader(watcher, runner=harness.caches))
        stack.callback(harness.progress, "")

        def show(runs: int) -> None:
            harness.progress(f"loop of {check_id}, {runs:,} calls so far")

        calls = iterations or thresholds.LOOP_CALLS
        examination, further = _examined(unit, ledger, calls, seconds, show)

        def armed(calls: int = 1) -> None:
            ledger.arm()
            try:
                for _ in range(calls):
                    unit()
            finally:
                ledger.disarm()

        return check_of(blank, examination, armed, ledger, budget_bytes, seconds, further).check


def _examined(
    unit: Callable[[], object],
    ledger: Ledger,
    calls: int,
    seconds: float,
    progress: Callable[[int], object],
) -> tuple[Examination, Callable[[int], Examination] | None]:
    """What the calls have left, and what makes more of them; what was there before is frozen meanwhile."""

    def run(count: int = 1) -> Run:
        return ledger.run(unit, count)

    gc.collect()
    gc.freeze()
    try:
        unit()  # what is made on first use
        quick = QuickCheck(ledger, run)
        suspect = (
            quick.check(EVERYTHING)
            or _interning(unit, quick, ledger)
            or _over_many(quick, ledger, run, calls, progress)
        )
        if suspect is None:
            return Examination({}, {}, runs=sum(run.calls for run in quick.runs)), None
        most_runs = max(calls, thresholds.MOST_RUNS_OF_LOOP)
        limits = Limits(seconds, most_runs, confirming_s=seconds / 2)
        confirmation = Confirmation(ledger, run, suspect, limits, progress)
        return confirmation.examine(), confirmation.examine_further
    finally:
        gc.unfreeze()


def _interning(unit: Callable[[], object], quick: QuickCheck, ledger: Ledger) -> Suspect | None:
    """A suspect when each call has new strings interned, by the user's or a package's code."""
    while len(quick.runs) < thresholds.SUSPECT_AFTER:
        quick.runs.append(quick.run_again())
    if not all(map(ledger.has_interned, quick.runs)) or not interns_new_strings(unit):
        return None
    ledger.counts_interned = True
    return Suspect(frozenset({BLOCKS}), tuple(quick.runs))


def _over_many(
    quick: QuickCheck,
    ledger: Ledger,
    run: Callable[[int], Run],
    calls: int,
    progress: Callable[[int], object],
) -> Suspect | None:
    """Leaks that are not in every call, looked for in some dozens of parts of all calls."""
    length = max(1, calls // thresholds.LOOP_CHUNKS)
    done = 0
    while done < calls:
        quick.runs.append(run(length))
        done += length
        progress(done)
    later = quick.runs[-thresholds.LOOP_CHUNKS :]
    counters = rare_counters(ledger, later)
    return Suspect(counters, tuple(later), is_rare=True) if counters else None


def _synchronous(work: Callable[[], Any], stack: ExitStack) -> Callable[[], object]:
    """A coroutine function becomes a call that runs it to its end, on one event loop for all calls."""
    if not inspect.iscoroutinefunction(work):
        return work
    runner = stack.enter_context(asyncio.Runner())

    def once() -> object:
        return runner.run(work())

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
