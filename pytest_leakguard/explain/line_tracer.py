"""At which line of Python a counter rises that tracemalloc cannot see, such as descriptors."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from pytest_leakguard.core.clock import Spent
from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.counters.reader import HEAP, MAPPED, PRIVATE, Reader
from pytest_leakguard.explain.code_owner import Owner, Site, frames_of, owner

TIMES_AS_MANY = 16
"""Each of glibc's bins per thread holds up to 7; a leak in every tenth run is to be seen some times
after that."""

_FITTING_SHARE = 0.5
"""The least part of what a run loses that a line must gain to be taken for its place."""


class LineTracer:
    """Adds up, line by line, what one reading of a counter rises by while the line runs."""

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self._last = read()
        self._stack: tuple[Frame, ...] = ()
        self._place: tuple[str, int] | None = None
        self._gained: dict[tuple[str, int], float] = {}
        self._stacks: dict[tuple[str, int], tuple[Frame, ...]] = {}
        self._thread = threading.get_ident()

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        """For ``sys.settrace``: follows the code of the user and of packages, and no other."""
        whose = owner(frame.f_code.co_filename)
        if whose in (Owner.HARNESS, Owner.INTERPRETER) or threading.get_ident() != self._thread:
            return None
        self._settle()
        self._place = (frame.f_code.co_filename, frame.f_lineno)
        if (
            event == "return" and frame.f_back is not None
        ):  # what the caller's line does next is the caller's
            self._place = (frame.f_back.f_code.co_filename, frame.f_back.f_lineno)
            frame = frame.f_back
        if self._place not in self._stacks:
            self._stacks[self._place] = frames_of(frame)
        self._last = self._read()
        return self.trace

    def _settle(self) -> None:
        """What has changed since the last event belongs to the line that was running."""
        value = self._read()
        if self._place is not None and value != self._last:
            self._gained[self._place] = self._gained.get(self._place, 0.0) + value - self._last
        self._last = value

    def run(self, work: Callable[[], object]) -> None:
        """One traced run; a debugger's or coverage's own trace function is put back after it."""
        before = sys.gettrace()
        self._place, self._last = None, self._read()
        sys.settrace(self.trace)
        try:
            work()
        finally:
            sys.settrace(before)
        self._settle()

    def gains(self) -> dict[tuple[str, int], float]:
        """Net gain of every line."""
        return self._gained

    def has_stack(self, place: tuple[str, int]) -> bool:
        """Whether the calls that led to a line are known."""
        return bool(self._stacks.get(place))

    def site(self, place: tuple[str, int], per_run: float) -> Site:
        """The stack that led to a line."""
        frames = tuple(
            frame for frame in self._stacks[place] if owner(frame.file or "") is not Owner.HARNESS
        )
        return Site(frames, size_bytes=per_run)


def rising(
    work: Callable[[], object], read: Callable[[], float], runs: int, per_run: float
) -> tuple[Site, ...]:
    """Lines whose net gain is a good part of what a run loses, nearest to it first."""
    tracer = LineTracer(read)
    tracer.run(work)  # first calls under the tracer fill caches
    before = dict(tracer.gains())
    for _ in range(runs):
        tracer.run(work)
    gained = {
        place: (value - before.get(place, 0.0)) / runs for place, value in tracer.gains().items()
    }
    fitting = []
    for place, value in gained.items():
        if value >= _FITTING_SHARE * per_run > 0 and tracer.has_stack(place):
            fitting.append((abs(value - per_run), place))
    fitting.sort(key=lambda entry: entry[0])
    return tuple(tracer.site(place, gained[place]) for _, place in fitting)


def losing(
    work: Callable[[], object],
    counter: int,
    reader: Reader,
    runs: int,
    per_run: float,
    seconds: float,
) -> tuple[Site, ...]:
    """Lines at which the counter rises.

    Takes up to a quarter of ``seconds`` more where none shows at first.

    Of freed chunks the allocator keeps some of each size, which it counts as used and hands out
    first.
    """
    spent = Spent()
    lines = rising(work, lambda: reader.vector()[counter], runs, per_run)
    if lines or counter != HEAP:
        return lines
    more = min(TIMES_AS_MANY * runs, int(runs * seconds / 4 / max(spent.seconds, 1e-6)))
    return rising(work, lambda: reader.vector()[counter], more, per_run) if more > runs else ()


def touching(
    work: Callable[[], object], counter: int, reader: Reader, runs: int, per_run: float
) -> tuple[Site, ...]:
    """Where a pool that is mapped once in many runs is used: its pages are touched one by one."""
    if counter not in (MAPPED, PRIVATE):
        return ()
    return rising(work, lambda: reader.vector()[PRIVATE], min(runs, 512), per_run)
