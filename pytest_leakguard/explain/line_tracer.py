"""At which line of Python something is made that stays.

Blocks are told by their tags, scarce things one by one.

What a line makes and a later one takes away again is not laid to the first: the tracker tells which
blocks are alive in the end, and descriptors, threads, processes and files are told apart.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

from pytest_leakguard.core.clock import Spent
from pytest_leakguard.core.collector import Collector
from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.explain.code_owner import Owner, Site, frames_of, owner
from pytest_leakguard.tracker.objects import compiled_code
from pytest_leakguard.tracker.tracker import Domain, Tracker

_Place = tuple[str, int]
"""File and line."""
_FITTING_SHARE = 0.5
"""The least part of what a run loses that a line must gain to be taken for its place."""


class Measure(Protocol):
    """What is told of the lines; an object of ours."""

    def enter(self, place: _Place) -> None:
        """A line begins."""

    def leave(self) -> None:
        """The tracer's own code follows."""


class LineTracer:
    """Follows the code of the user and of packages, line by line."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._stacks: dict[_Place, tuple[Frame, ...]] = {}
        self._thread = threading.get_ident()

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        """For ``sys.settrace``."""
        whose = owner(frame.f_code.co_filename)
        if whose in (Owner.HARNESS, Owner.INTERPRETER) or threading.get_ident() != self._thread:
            return None
        self._measure.leave()
        if event == "return" and frame.f_back is not None:
            frame = frame.f_back  # what the caller's line does next is the caller's
        place = (frame.f_code.co_filename, frame.f_lineno)
        if place not in self._stacks:
            self._stacks[place] = frames_of(frame)
        self._measure.enter(place)
        return self.trace

    def run(self, work: Callable[[], object]) -> None:
        """One traced run; a debugger's or coverage's own trace function is put back after it."""
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            work()
        finally:
            sys.settrace(before)
            self._measure.leave()

    def sites(self, amounts: dict[_Place, float], per_run: float) -> tuple[Site, ...]:
        """The stacks that led to the lines.

        Those first whose amount is nearest to what a run loses.
        """
        found = []
        for place, amount in amounts.items():
            frames = []
            for frame in self._stacks.get(place, ()):
                if owner(frame.file or "") is not Owner.HARNESS:
                    frames.append(frame)
            if frames and amount >= _FITTING_SHARE * per_run > 0:
                found.append((abs(amount - per_run), place, Site(tuple(frames), size_bytes=amount)))
        return tuple(site for _, _, site in sorted(found, key=lambda entry: entry[:2]))


class _Rising:
    """Adds up what one reading rises by while each line runs."""

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self._last = 0.0
        self._place: _Place | None = None
        self.gained: dict[_Place, float] = {}

    def enter(self, place: _Place) -> None:
        self._place = place
        self._last = self._read()

    def leave(self) -> None:
        if self._place is not None:
            gain = self._read() - self._last
            if gain:
                self.gained[self._place] = self.gained.get(self._place, 0.0) + gain
        self._place = None


class _Things:
    """Which line each thing came with that is there in the end."""

    def __init__(self, read: Callable[[], frozenset[Any]]) -> None:
        self._read = read
        self._known: frozenset[Any] = read()
        self._place: _Place | None = None
        self._places: dict[Any, _Place] = {}

    def enter(self, place: _Place) -> None:
        self._place = place

    def leave(self) -> None:
        now = self._read()
        if now != self._known:
            for gone in self._known - now:
                self._places.pop(gone, None)
            if self._place is not None:
                self._places.update(dict.fromkeys(now - self._known, self._place))
            self._known = now
        self._place = None

    def counts(self) -> dict[_Place, float]:
        counts: dict[_Place, float] = {}
        for place in self._places.values():
            counts[place] = counts.get(place, 0.0) + 1
        return counts


class _Blocks:
    """Tags blocks with the line that makes them: each line is a run of its own to the tracker."""

    def __init__(self, tracker: Tracker, begin: Callable[[], int]) -> None:
        self._tracker, self._begin = tracker, begin
        self._arm, self._disarm = tracker.arm, tracker.disarm
        self._numbers: dict[_Place, int] = {}
        self._is_armed = False
        """Whether the unit's own code is running, as those see it who arm the tracker."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Meanwhile it is known whether the tracker is armed."""
        self._tracker.arm, self._tracker.disarm = self._note_arm, self._note_disarm
        try:
            yield
        finally:
            self._tracker.arm, self._tracker.disarm = self._arm, self._disarm

    def _note_arm(self, number: int) -> int:
        self._is_armed = True
        return self._arm(number)

    def _note_disarm(self) -> None:
        self._is_armed = False
        self._disarm()

    def enter(self, place: _Place) -> None:
        if not self._is_armed:
            return
        if place not in self._numbers:
            self._numbers[place] = self._begin()
        Collector.empty_free_lists()  # or the line would take what the tracer has put into them
        self._arm(self._numbers[place])

    def leave(self) -> None:
        if self._is_armed:
            self._disarm()
            Collector.empty_free_lists()

    def forget(self) -> None:
        """What has been made until now is nobody's."""
        self._numbers.clear()

    def numbers(self) -> dict[_Place, int]:
        """Under which number each line makes its blocks."""
        return dict(self._numbers)

    def alive_bytes(
        self, domains: tuple[Domain, ...], numbers: dict[_Place, int] | None = None
    ) -> dict[_Place, float]:
        """What each line has made that is alive, growth of older blocks included."""
        found = {}
        for place, number in (self._numbers if numbers is None else numbers).items():
            size = 0
            for domain in domains:
                amount = self._tracker.live(number, domain)
                size += amount.size_bytes + amount.grown_bytes
            if size > 0 and Domain.PYTHON in domains:
                size -= sum(block.size_bytes for block in compiled_code(self._tracker, number))
            if size > 0:
                found[place] = float(size)
        return found


def rising(
    work: Callable[[], object], read: Callable[[], float], runs: int, per_run: float
) -> tuple[Site, ...]:
    """Lines at which a reading rises, such as the length of a container."""
    measure = _Rising(read)
    tracer = LineTracer(measure)
    tracer.run(work)  # first calls under the tracer fill caches
    before = dict(measure.gained)
    for _ in range(runs):
        tracer.run(work)
    gained = {}
    for place, value in measure.gained.items():
        gained[place] = (value - before.get(place, 0.0)) / runs
    return tracer.sites(gained, per_run)


def keeping(
    work: Callable[[], object], read: Callable[[], frozenset[Any]], events: int, most_s: float
) -> tuple[Site, ...]:
    """Lines that make scarce things which stay; until there are so many, or the time is over."""
    measure = _Things(read)
    tracer = LineTracer(measure)
    spent = Spent()
    runs = 0
    while sum(measure.counts().values()) < events and (runs < events or spent.seconds < most_s):
        tracer.run(work)
        runs += 1
    counts = measure.counts()
    return tracer.sites(counts, max(counts.values(), default=0.0))


def losing(
    work: Callable[[], object],
    tracker: Tracker,
    begin: Callable[[], int],
    domains: tuple[Domain, ...],
    events: int,
    most_s: float,
    is_replaced: bool = False,
) -> tuple[Site, ...]:
    """Lines that make blocks which stay; until so many runs have, or the time is over.

    ``is_replaced``: what the last run has left is meant, which the next one will replace.
    """
    measure = _Blocks(tracker, begin)
    tracer = LineTracer(measure)
    spent = Spent()
    with measure.watched():
        begin()
        tracer.run(work)  # first calls under the tracer fill caches
        measure.forget()
        happened, runs, last = 0, 0, 0.0
        while happened < events and (runs < events or spent.seconds < most_s):
            tracer.run(work)
            runs += 1
            now = sum(measure.alive_bytes(domains).values())
            happened, last = happened + (now > last), now
        traced = measure.numbers()
        measure.forget()
        begin()
        if not is_replaced:
            work()  # has its own end what a run leaves until the next
    alive = measure.alive_bytes(domains, traced)
    return tracer.sites(alive, max(alive.values(), default=0.0))
