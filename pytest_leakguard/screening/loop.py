"""``leakguard.loop``: repeats one callable of the user's until its counters have an answer."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from pytest_leakguard.core.checks import Check
from pytest_leakguard.counters.caches import NO_RUNNER, RunnerCaches
from pytest_leakguard.counters.reader import Reader
from pytest_leakguard.counters.tempfiles import temporary_files
from pytest_leakguard.explain.interned_strings import interns_new_strings
from pytest_leakguard.screening.confirmation import Limits, Repetition
from pytest_leakguard.screening.findings import check_of


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

    ``iterations`` is after how many calls a quiet unit is clean; one that grows is called on, up to
    ``seconds``, until its growth is proved to be a leak or levels off.
    """
    limits = replace(Limits(), seconds=seconds)
    if iterations is not None:
        limits = replace(
            limits,
            enough_when_clean=iterations,
            warm_up=min(limits.warm_up, max(2, iterations // 10)),
        )
    watcher = temporary_files()
    with ExitStack() as stack:
        if not watcher.is_watching:
            watcher.watch(harness.directories)
            stack.callback(watcher.stop)
        unit = _followed(_synchronous(work, stack), harness.after_call)
        reader = Reader(watcher, runner=harness.caches)
        stack.callback(harness.progress, "")

        def show(runs: int) -> None:
            harness.progress(f"loop of {check_id}, {runs:,} calls so far")

        show(0)  # keeps what it keeps before anything is counted
        examination = Repetition(unit, reader, limits, show).examine()
        if examination.leaking is None and interns_new_strings(unit):
            reader = Reader(watcher, leaves_out_interned=False, runner=harness.caches)
            examination = Repetition(unit, reader, limits, show).examine()
        blank = Check(check_id, "test", "counters")
        return check_of(blank, examination, unit, reader, budget_bytes, seconds).check


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
