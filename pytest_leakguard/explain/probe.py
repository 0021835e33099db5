"""What an explanation is given: a unit to run again, and what was found of its leak."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_leakguard.counters.reader import Reader
from pytest_leakguard.explain.native_stacks import Symbolize
from pytest_leakguard.tracker.tracker import Tracker

EVENTS = 4
"""Losses that the runs of an explanation are to contain, of a leak that is not in every run."""
RUNS = 3
"""Runs of an explanation of what every run loses.

One is for what is made on first use, two are to compare.
"""
MOST_RUNS = 4_000
"""Runs for a leak that is not in every run, however rare."""
TIME_SHARE = 0.05
"""Share of the time of a confirmation that one step may take; tracing slows runs 20 times."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A leaking unit that can be run again, under the instruments that have found its leak."""

    work: Callable[[], object]
    """Runs the unit once, with its blocks tracked under the number that ``begin`` gave last."""
    repeat: Callable[[int], object]
    """Runs it so many times, as cheaply as it can be."""
    begin: Callable[[], int]
    tracker: Tracker
    reader: Reader
    symbolize: Symbolize
    seconds: float
    """Computing time that all of it may take, about."""
    is_interned: bool = False
    """What is lost are strings that the interpreter has interned for good."""
    followed: Callable[[], list[Any]] = list
    """The older containers that each run has made longer, where that is what is lost."""

    @property
    def step_s(self) -> float:
        """Seconds for one step of the explanation."""
        return TIME_SHARE * self.seconds


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found of the leak."""

    counter: int
    """The one that names it."""
    per_run: float
    """Bytes for native memory and mappings, blocks or things for all else."""
    old_run: int | None
    """Number of a run that is over for long: what is left of it is what is lost."""
    calls: int = 1
    """Calls under that number."""
    share: float = 1.0
    """Of the runs, so many lose something."""
    is_unbounded: bool = False
    """It was run beyond what its holder says that it keeps at most."""
    has_objects: bool = True
    """Objects that a run has left are lost as well, and not those of a cache beside the leak."""

    @property
    def events(self) -> int:
        """Losses that are to be traced."""
        return RUNS if self.share >= 1 else EVENTS


def runs_for(probe: Probe, evidence: Evidence) -> int:
    """Enough runs for some events of a leak that is not in every run, few enough for the time."""
    wanted = RUNS if evidence.share >= 1 else math.ceil(EVENTS / max(evidence.share, 1e-4))
    if wanted <= RUNS:
        return RUNS
    probe.begin()
    began = time.perf_counter()
    probe.work()
    one_s = max(1e-6, time.perf_counter() - began)
    return max(RUNS, min(wanted, MOST_RUNS, int(probe.step_s / one_s)))
