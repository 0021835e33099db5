"""``leakguard.watch``: what a block of code leaves allocated, by its entries.

A block that is entered once is judged by what is alive at its end, less what is still in use and
what is made once. One that is entered more often is judged by its entries, as runs of a test are.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.counters.reader import BLOCKS, COUNTERS, Reader
from pytest_leakguard.counters.tempfiles import temporary_files
from pytest_leakguard.counters.transients import PATIENCE_S
from pytest_leakguard.explain.allocations import FRAMES
from pytest_leakguard.explain.code_owner import Site, source_line
from pytest_leakguard.explain.explainer import Cause
from pytest_leakguard.explain.one_run import Left, Traces, left_by, traces_of
from pytest_leakguard.screening import thresholds
from pytest_leakguard.screening.confirmation import ORDER, Examination
from pytest_leakguard.screening.findings import finding_of, growth_of, within_budget
from pytest_leakguard.screening.gc_freeze import SetAside
from pytest_leakguard.screening.instruments import (
    DISPLACED,
    PYTHON_DISPLACED,
    instruments,
    qualified,
)
from pytest_leakguard.screening.ledger import MEMORY, RESOURCES, Ledger, Run
from pytest_leakguard.screening.loop import NO_HARNESS, Harness
from pytest_leakguard.screening.statistics import Kept, PerRun, per_run

BY_RUNS = thresholds.SUSPECT_AFTER
"""Entries from which on the block is judged by them alone, whoever holds what they leave."""
TRACED = 2
"""Entries in which the place of each allocation is noted, which makes them slow."""
RECENT = 16
"""Entries that are looked at again after each later one."""
ADVICE = (
    "if this is made on first use only, do it once before the block, or enter the block "
    f"{BY_RUNS} times, so that its entries tell"
)


@dataclass(slots=True)
class Entry:
    """One time through the block."""

    run: Run
    left: Left | None
    """``None`` where it was not looked at in detail: there had been enough entries."""


@dataclass(slots=True)
class WatchedBlock:
    """One block, known by its place."""

    stack: tuple[Frame, ...]
    entries: list[Entry] = field(default_factory=list)
    cleared: set[int] = field(default_factory=set)
    """Counters in which an entry but the first has left nothing."""
    unseen: list[str] = field(default_factory=list)


class Watches:
    """The blocks of one session; they share a ledger, which is made with the first."""

    def __init__(self, harness: Harness = NO_HARNESS, sees_native: bool = True) -> None:
        self._harness = harness
        self._instruments = instruments(sees_native)
        self._blocks: dict[tuple[str, int], WatchedBlock] = {}
        self._ledger: Ledger | None = None
        self._is_inside = False

    @contextmanager
    def watch(self, stack: tuple[Frame, ...]) -> Iterator[WatchedBlock]:
        """Around the block that is at the innermost of these frames."""
        if self._is_inside:
            raise UsageProblem("leakguard.watch cannot be used inside itself")
        key = (stack[0].file or "", stack[0].line or 0) if stack else ("", 0)
        block = self._blocks.setdefault(key, WatchedBlock(stack))
        if self._instruments.tracker is None:
            yield block
            return
        ledger = self._ledger = self._ledger or self._made_ledger()
        self._is_inside = True
        try:
            yield from self._entered(block, ledger)
        finally:
            self._is_inside = False

    def _entered(self, block: WatchedBlock, ledger: Ledger) -> Iterator[WatchedBlock]:
        is_tracing = len(block.entries) < TRACED and not tracemalloc.is_tracing()
        aside = SetAside()
        gc.collect()
        if is_tracing:
            tracemalloc.start(FRAMES)
        try:
            aside.begin()
            ledger.begin()
            aside.listen()
            ledger.arm()
            try:
                yield block
            finally:
                ledger.disarm()
                aside.hush()
            run = ledger.end()
            traces = traces_of(ledger.tracker, run.number) if is_tracing else {}
        finally:
            if is_tracing:
                tracemalloc.stop()
            aside.end()
        self._note(block, ledger, run, traces)

    def _note(self, block: WatchedBlock, ledger: Ledger, run: Run, traces: Traces) -> None:
        if any(run.rises[at] > 0 for at in RESOURCES):
            ledger.wait_for_ends((run,), PATIENCE_S)
            run = ledger.again(run)
        left = None
        if len(block.entries) < BY_RUNS:
            ledger.empty_caches()
            left = left_by(ledger.tracker, run.number, traces)
        block.entries.append(Entry(run, left))
        self._clear(block, ledger)

    def _clear(self, block: WatchedBlock, ledger: Ledger) -> None:
        """Notes in which counters an entry but the first has left nothing that is there now."""
        entry = block.entries[-1]
        for earlier in block.entries[1:][-RECENT:]:
            for counter in MEMORY:
                if not ledger.has_kept(earlier.run, counter):
                    block.cleared.add(counter)
        for counter in RESOURCES:
            if len(block.entries) > 1 and entry.run.rises[counter] <= 0:
                block.cleared.add(counter)
        block.unseen.extend(ledger.reader.take_unread())
        if ledger.take_displaced() and self._instruments.sees_native:
            block.unseen.append(DISPLACED)
        if ledger.take_python_displaced():
            block.unseen.append(PYTHON_DISPLACED)

    def check(self, block: WatchedBlock, blank: Check, budget_bytes: float) -> Check:
        """The answer of a block, by its entries so far."""
        if self._ledger is None:
            return replace(blank, problems=(self._instruments.problem,))
        leaking = self._leaking(block, self._ledger)
        examination = Examination({}, leaking, runs=len(block.entries))
        check = replace(blank, growth=growth_of(examination), notes=_notes(block))
        counter = examination.leaking
        if counter is not None:
            finding = finding_of(counter, examination, _cause(block, counter), blank.id)
            finding = replace(finding, details=(_pace(block), *finding.details[1:]))
            check = within_budget(check, finding, budget_bytes)
        return qualified(check, *self._instruments.blind, *block.unseen)

    def _leaking(self, block: WatchedBlock, ledger: Ledger) -> dict[int, PerRun]:
        """By counter what one entry leaves."""
        count = len(block.entries)
        found: dict[int, PerRun] = {}
        for counter in ORDER:
            if counter in block.cleared or not count:
                continue
            if counter in RESOURCES:
                rise = block.entries[-1].run.rises[counter]
                if rise > 0:
                    found[counter] = PerRun(int(rise), 0, is_exact=True)
            elif count < BY_RUNS:
                kept = _of_left(block.entries[-1].left, counter)
                if kept is not None:
                    found[counter] = kept
            else:
                series = [_kept(ledger, entry.run, counter) for entry in block.entries[TRACED:]]
                found[counter] = per_run(series, is_rare=False)
        return found

    def _made_ledger(self) -> Ledger:
        tracker = self._instruments.tracker
        assert tracker is not None
        watcher = temporary_files()
        if not watcher.is_watching:
            watcher.watch(self._harness.directories)
        return Ledger(tracker, Reader(watcher, self._harness.directories, self._harness.caches))


def _of_left(left: Left | None, counter: int) -> PerRun | None:
    if left is None:
        return None
    domain = MEMORY[counter]
    blocks = 0
    size_bytes = 0
    for block in (*left.python, *left.native):
        if block.domain is domain:
            blocks += 1
            size_bytes += block.size_bytes
    return PerRun(blocks, size_bytes, is_exact=True) if blocks else None


def _kept(ledger: Ledger, run: Run, counter: int) -> Kept:
    amount = ledger.kept(run, counter)
    return Kept(1, amount.blocks, amount.size_bytes, amount.grown_bytes)


def _cause(block: WatchedBlock, counter: int) -> Cause:
    lefts = [entry.left for entry in block.entries if entry.left is not None]
    left = next((left for left in reversed(lefts) if left.site.calls), lefts[-1])
    own = Site(block.stack[:1])
    site = left.site if left.site.own or left.site.library else own
    details = list(left.kinds) if counter == BLOCKS else []
    if site.own is not None and (text := source_line(site.own)):
        details.append(f"line: {text}")
    if len(block.entries) < BY_RUNS and not COUNTERS[counter].is_resource:
        details.append(ADVICE)
    if counter not in MEMORY:
        return Cause(site, details=tuple(details))
    return Cause(site, left.holders, left.held_by, tuple(details), is_held=left.is_held)


def _pace(block: WatchedBlock) -> str:
    count = len(block.entries)
    return "left by the block" if count == 1 else f"left each of {count} times through the block"


def _notes(block: WatchedBlock) -> tuple[str, ...]:
    """What was alive and is no leak, of a block that is not judged by its entries alone."""
    if not block.entries or len(block.entries) >= BY_RUNS:
        return ()
    left = block.entries[-1].left
    return left.excused if left is not None else ()
