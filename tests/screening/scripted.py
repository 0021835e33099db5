"""A ledger whose runs keep what a script says, and a clock that only its runs move."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

import pytest

from pytest_leakguard.counters.reader import COUNTERS
from pytest_leakguard.screening.ledger import Ledger, Run
from pytest_leakguard.screening.room import OutOfRoom
from pytest_leakguard.tracker.tracker import NOTHING, Amount

Keeps = Callable[[int, int], Amount]
"""What a call, counted from 0, has left when so many calls have been made."""
Rises = Callable[[int], float]
"""By how much a call has raised a counter of scarce things."""
ONE = Amount(1, 64, 0)
GROWN = Amount(0, 0, 64)
MANY_THREADS = 1 << 20


def always(call: int, now: int) -> Amount:
    """A leak of one block in every call."""
    return ONE


def last(count: int) -> Keeps:
    """The blocks of the newest calls, as a bounded cache or a replaced value has them."""
    return lambda call, now: ONE if call >= now - count else NOTHING


def flushed_after(count: int) -> Keeps:
    """A buffer that is emptied after so many calls."""
    return lambda call, now: ONE if call >= now - now % count else NOTHING


def first(count: int, amount: Amount = ONE) -> Keeps:
    """Blocks of the first calls, as what is made on first use."""
    return lambda call, now: amount if call < count else NOTHING


def every(period: int, amount: Amount = ONE) -> Keeps:
    """A leak in every so many calls."""
    return lambda call, now: amount if call % period == period - 1 else NOTHING


def on(*calls: int, amount: Amount = ONE) -> Keeps:
    """Blocks of these calls."""
    return lambda call, now: amount if call in calls else NOTHING


class ScriptedLedger(Ledger):
    """Runs nothing and tracks nothing: what a run has kept is computed from the script."""

    def __init__(
        self,
        memory: Mapping[int, Keeps] | None = None,
        scarce: Mapping[int, Rises] | None = None,
        run_s: float = 0.001,
        rooms: float = float("inf"),
    ) -> None:
        """``run_s`` seconds go by in each call; ``rooms`` runs fit into the process."""
        self.memory, self.scarce = dict(memory or {}), dict(scarce or {})
        self.run_s, self.rooms = run_s, rooms
        self.now_s = 0.0
        self.calls = 0
        self.chunks: list[int] = []
        self.told: list[int] = []
        """Runs so far, as a confirmation tells them."""
        self.read_again_count = 0
        self.waits_s: list[float] = []
        self.emptied = 0
        self.after_emptying: Mapping[int, Keeps] = {}
        self.has_touched_old = self.counts_interned = False
        self._firsts: dict[int, int] = {}
        self._lost_bytes = 0.0

    def run(self, work: Callable[[], object], calls: int = 1) -> Run:
        self._firsts[len(self.chunks)] = self.calls
        rises = [0.0] * len(COUNTERS)
        for counter, rise in self.scarce.items():
            for call in range(self.calls, self.calls + calls):
                rises[counter] += rise(call)
        found = Run(len(self.chunks), calls, tuple(rises))
        self.chunks.append(calls)
        self.calls += calls
        self.now_s += calls * self.run_s
        return found

    def take_python_displaced(self) -> bool:
        return False

    def take_displaced(self) -> bool:
        return False  # the script sees all memory

    def has_interned(self, run: Run) -> bool:
        return False  # asked since Python 3.12; the script keeps no strings

    def repeat(self, calls: int = 1) -> Run:
        if len(self.chunks) >= self.rooms:
            raise OutOfRoom("no room")
        return self.run(int, calls)

    def again(self, run: Run) -> Run:
        self.read_again_count += 1
        return Run(run.number, run.calls, (0.0,) * len(COUNTERS))

    def left(self, runs: Iterable[Run], counter: int) -> list[int]:
        return [int(run.rises[counter]) for run in runs]

    def wait_for_ends(self, runs: Iterable[Run], patience_s: float) -> bool:
        self.waits_s.append(patience_s)
        return True

    def kept(self, run: Run, counter: int) -> Amount:
        keeps = self.memory.get(counter)
        if keeps is None:
            return NOTHING
        start = self._firsts[run.number]
        blocks = size_bytes = grown_bytes = 0
        for call in range(start, start + run.calls):
            amount = keeps(call, self.calls)
            blocks += amount.blocks
            size_bytes += amount.size_bytes
            grown_bytes += amount.grown_bytes
        return Amount(blocks, size_bytes, grown_bytes)

    def watching_of(self, number: int) -> Amount:
        return NOTHING  # the script keeps no code

    def has_kept(self, run: Run, counter: int) -> bool:
        amount = self.kept(run, counter)
        return amount.blocks > 0 or amount.grown_bytes > 0

    def buffers(self) -> list[Any]:
        return []

    def all_bytes(self, counter: int) -> int:
        keeps = self.memory.get(counter, first(0))
        amounts = [keeps(call, self.calls) for call in range(self.calls)]
        return sum(amount.size_bytes + amount.grown_bytes for amount in amounts)

    def grown_by(self, run: Run) -> list[Any]:
        return []

    @property
    def threads_before(self) -> int:
        return MANY_THREADS

    @property
    def has_older_threads(self) -> bool:
        return False

    def rise(self, counter: int) -> float:
        return 0.0

    def bytes_of_last(self) -> int:
        return 0

    def empty_caches(self) -> None:
        self.emptied += 1
        self.memory.update(self.after_emptying)


def follow_clock(
    monkeypatch: pytest.MonkeyPatch, ledger: ScriptedLedger, *modules: ModuleType
) -> None:
    """Lets these modules measure the seconds that the scripted runs take."""
    for module in modules:
        monkeypatch.setattr(module, "Spent", lambda: ScriptedSpent(ledger))


class ScriptedSpent:
    """As ``core.clock.Spent``."""

    def __init__(self, ledger: ScriptedLedger) -> None:
        self._ledger, self._began_s = ledger, ledger.now_s

    @property
    def seconds(self) -> float:
        return self._ledger.now_s - self._began_s
