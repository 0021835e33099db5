"""Puts the explanation of a confirmed leak together: its origin, what piles up, who holds it."""

from __future__ import annotations

import gc
import math
import threading
import time
import tracemalloc
from collections import Counter as Tally
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.core.text import place
from pytest_leakguard.counters import reader as counters
from pytest_leakguard.counters._cpython import frames_of_threads
from pytest_leakguard.counters.malloc import PAGE_BYTES
from pytest_leakguard.counters.reader import (
    BLOCKS,
    CHILDREN,
    DESCRIPTORS,
    FILES,
    HEAP,
    MAPPED,
    PRIVATE,
    THREADS,
    Reader,
)
from pytest_leakguard.explain import interned_strings, native_stacks
from pytest_leakguard.explain.allocations import FRAMES, own_frames, surviving
from pytest_leakguard.explain.call_sites import called_on, release_of
from pytest_leakguard.explain.code_owner import Site, frames_of, package_of, source_line
from pytest_leakguard.explain.growing_containers import Growing, growing, length, newest
from pytest_leakguard.explain.line_tracer import losing, rising, touching
from pytest_leakguard.explain.references import UNKNOWN, chain_to, kind_of, root_of
from pytest_leakguard.explain.removals import removal_of

ENOUGH_EVENTS = 8
"""How many losses the runs of an explanation are to contain: enough to tell them from chance."""
MOST_INNER = 4
MOST_TIED = 8
"""Containers of one pace whose chains are compared; each chain takes some passes over the heap."""
_SHARE = 0.2
"""A place belongs to the leak when it loses at least this share of what the worst place does."""
_PILING_SHARE = 0.7
"""A type piles up when at least this share of the runs leaves an object of it."""
_FEWEST_OBJECTS = 3.0
"""Where a leak is not in every run, fewer objects of a type than this are chance."""
_MOST_TYPES = 8
"""How many types are looked at, the most frequent ones first."""
_MOST_TYPE_LINES = 4
"""How many of them are named: the others come with the first ones."""
_MEMORY = (HEAP, MAPPED, PRIVATE)
"""Counters of bytes in which the interpreter's own blocks are not."""


NOWHERE = Site(())


@dataclass(frozen=True, slots=True)
class Cause:
    """The explanation of one leak."""

    site: Site = NOWHERE
    holders: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    """What piles up and what else a reader wants to know, one line each."""
    size_bytes: float = 0.0
    """Bytes of Python's own blocks that one run leaves."""
    bounded: str = ""
    """Why it will not grow for ever, where the holder says so."""
    removal: str = ""
    """Where somebody's code takes entries out of the container again, as ``shop.py:12``."""
    container: Any = None
    """The container that grows with it."""
    entries_per_run: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """What a fingerprint is made of."""
        if not self.holders or self.holders[0].endswith("still running"):
            return self.site.names  # a call or a thread that happens to run is no root cause
        return (*self.site.names, root_of(self.holders))


def explain(
    work: Callable[[], object], counter: int, per_run: float, reader: Reader, seconds: float
) -> Cause:
    """The cause of a confirmed leak. Runs the unit some more times.

    What it raises ends only the explanation.
    """
    runs = runs_for(work, counter, per_run, seconds)
    # An object mostly takes several blocks; of what is scarce each is counted.
    objects = per_run if counters.COUNTERS[counter].is_resource else per_run / 4
    held, details = _holders(
        work, runs, min(1.0, objects), per_run >= 1, reader.forget_what_is_gone
    )
    is_resource = counters.COUNTERS[counter].is_resource
    if held.container is not None and held.container.most and not is_resource:
        return _cause(held)  # which is no leak; tracing would take many times as long
    if counter in _MEMORY:  # what else there is new of objects is not what was lost
        held, details = _Held(held.container, None), ()
    sites = surviving(work, runs, reader.forget_what_is_gone, seconds)
    site = _site_of_element(work, held, runs) or _best(sites)
    site = site or _line_of_insertion(work, held, runs) or next(iter(sites), None)
    if counter != BLOCKS and (counter != HEAP or site is None or site.size_bytes < 0.5 * per_run):
        exact = losing(work, counter, reader, min(runs, 64), per_run, seconds)
        site = _best_line(exact or touching(work, counter, reader, runs, per_run)) or site
    if counter == DESCRIPTORS:
        details = (*_opened(work), *details)
    site = site or NOWHERE
    if counter in (CHILDREN, FILES):
        cause = Cause()  # the system holds them
    elif counter == THREADS:
        cause = Cause(holders=_thread_holders())
    else:
        cause = _cause(held)
    if counter in (BLOCKS, *_MEMORY) and (not cause.holders or cause.holders[0] == UNKNOWN):
        site, cause = _in_compiled_code(work, site, cause, counter, runs, per_run)
        if reader.counts_interned:
            cause = replace(cause, holders=(interned_strings.HOLDER, *cause.holders[1:]))
    return replace(
        cause,
        site=site,
        size_bytes=_lost_bytes(sites),
        details=(*details, *_place_details(site), *cause.details),
    )


def _lost_bytes(sites: tuple[Site, ...]) -> float:
    """Bytes per run, without places where a block or two stayed by chance."""
    most_blocks = max((site.blocks for site in sites), default=0.0)
    most_bytes = max((site.size_bytes for site in sites), default=0.0)
    size_bytes = 0.0
    for site in sites:
        has_many_blocks = site.blocks >= _SHARE * most_blocks > 0
        if has_many_blocks or site.size_bytes >= _SHARE * most_bytes:
            size_bytes += site.size_bytes
    return size_bytes


def _in_compiled_code(
    work: Callable[[], object], site: Site, cause: Cause, counter: int, runs: int, per_run: float
) -> tuple[Site, Cause]:
    """Which compiled code lost what nothing that the collector knows holds, and whose that is."""
    at = next(iter(site.stack), None)
    stack = native_stacks.leaking_stack(work, runs, per_run, at, of_objects=counter == BLOCKS)
    calls = native_stacks.inside(stack)
    site = replace(site, native=calls) if site.stack else Site(stack[len(calls) :], native=calls)
    called = called_on(work, at) if at is not None else ()
    # Nothing that only memray tells, since a name is made of it; without a line all that is left.
    suspects = list(called)
    if site.library:
        suspects.append(site.library)
    if at is None:
        suspects.extend(calls)
    package = _first_package(suspects)
    called_names = tuple(f"calls {frame.function}" for frame in called[:3])
    release = (f"in the package {release_of(package)}",) if package else ()
    holder = f"{UNKNOWN} ({package})" if package else UNKNOWN
    return site, replace(
        cause, holders=(holder, *cause.holders[1:]), details=(*called_names, *release)
    )


def _first_package(frames: list[Frame]) -> str:
    for frame in frames:
        if package := package_of(frame.module or frame.file or ""):
            return package
    return ""


def runs_for(work: Callable[[], object], counter: int, per_run: float, seconds: float) -> int:
    """Enough runs for some events of a leak that is not in every run, few enough for the time."""
    one_s = min(
        _duration_s(work) for _ in range(3)
    )  # others may have had the processor in one of them
    if counter in (MAPPED, PRIVATE):  # pages are touched one by one
        return max(
            4, min(512, math.ceil(ENOUGH_EVENTS * PAGE_BYTES / per_run), int(seconds / 20 / one_s))
        )
    per_event = max(1.0, min(1.0, per_run) and 1.0 / min(1.0, max(per_run, 1e-4)))
    most = 24 if counters.COUNTERS[counter].is_resource and per_run >= 0.5 else 4000
    wanted = min(
        most, math.ceil(ENOUGH_EVENTS * per_event) if counter != HEAP or per_run < 1 else 48
    )
    return max(4, min(wanted, int(seconds / 20 / one_s)))  # slowed down up to twenty times


def _duration_s(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return max(1e-6, time.perf_counter() - began)


class _Held:
    """What the search for a holder starts from.

    An object of ours, so that it is never taken for a holder.
    """

    __slots__ = ("container", "sample")

    def __init__(self, container: Growing | None, sample: Any) -> None:
        self.container, self.sample = container, sample


def _holders(
    work: Callable[[], object],
    runs: int,
    per_run: float,
    is_in_every_run: bool,
    tidy: Callable[[], object],
) -> tuple[_Held, tuple[str, ...]]:
    gc.unfreeze()
    containers = growing(work, runs, tidy)
    Tally(map(type, ()))  # the first one fills caches of abstract classes
    gc.collect()
    gc.freeze()
    # What there is after any number of runs, such as the harness's of the last run, is not what
    # piles up.
    always = Tally(map(type, _new_objects(work, max(2, runs // 2), tidy)))
    new = _new_objects(work, runs, tidy)
    gc.unfreeze()
    tally = Tally(map(type, new)) - always
    enough = _PILING_SHARE * runs
    if not is_in_every_run:
        enough = max(_FEWEST_OBJECTS, enough * per_run)
    often: list[tuple[type, float]] = []
    for kind, count in tally.most_common(_MOST_TYPES):
        if count >= enough:
            often.append((kind, count / runs))
    sample = _sample([kind for kind, _ in often], new)
    del new
    return _Held(first_of(containers), sample), tuple(_counts_in_words(often))


def _sample(kinds: list[type], new: list[Any]) -> Any:
    """One of the later objects of the most frequent type, since the first may be there for good."""
    later = new[len(new) // 2 :]
    for kind in kinds:
        for candidate in later:
            if type(candidate) is kind:
                return candidate
    return None


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}".replace("builtins.", "")


def _counts_in_words(often: list[tuple[type, float]]) -> list[str]:
    lines = []
    for kind, per_run in often:
        if kind is not FrameType:  # which hangs on what is lost, and says nothing
            lines.append(f"{per_run:g} of type {_full_name(kind)} per run")
    return lines[:_MOST_TYPE_LINES]


def first_of(containers: tuple[Growing, ...]) -> Growing | None:
    """The one that grows fastest.

    Of several at one pace the one nearest to a root, so that each run names the same.
    """
    as_fast = [candidate for candidate in containers if candidate.is_like(containers[0])]
    if len(as_fast) < 2:
        return next(iter(as_fast), None)

    def nearest(candidate: Growing) -> tuple[bool, int, tuple[str, ...]]:
        chain = chain_to(candidate.container)
        return chain[0] == UNKNOWN, len(chain), chain

    return min(as_fast[:MOST_TIED], key=nearest)


def _new_objects(work: Callable[[], object], runs: int, tidy: Callable[[], object]) -> list[Any]:
    for _ in range(runs):
        work()
    tidy()
    gc.collect()
    objects = gc.get_objects()  # before there is a list of ours among them
    new = []
    for candidate in objects:
        if not type(candidate).__module__.startswith("pytest_leakguard"):
            new.append(candidate)
    return new


def _cause(held: _Held) -> Cause:
    first = held.container
    if first is not None:
        chain = chain_to(first.container)
        element = (f"item of type {kind_of(first.element)}",)
        most = first.most
        bounded = f"it holds at most {most} items" if most else ""
        return Cause(
            holders=(*chain, *element),
            bounded=bounded,
            removal=removal_of(first.container),
            container=first.container,
            entries_per_run=first.per_run,
        )
    if held.sample is not None:
        return Cause(holders=chain_to(held.sample))
    return Cause()


def _site_of_element(work: Callable[[], object], held: _Held, runs: int) -> Site | None:
    if held.container is None:
        return None
    enough = math.ceil(2 / held.container.per_run)
    return site_of_newest(work, held.container.container, min(runs, enough))


def site_of_newest(work: Callable[[], object], container: Any, runs: int) -> Site | None:
    """Where the newest thing in a growing container was made.

    The rest of what leaks hangs on it.
    """
    if tracemalloc.is_tracing():
        return None
    tracemalloc.start(FRAMES)
    try:
        for _ in range(runs):
            work()
        trace = tracemalloc.get_object_traceback(newest(container))
    finally:
        tracemalloc.stop()
    stack = own_frames(trace) if trace else ()
    return Site(stack) if stack and (Site(stack).own or Site(stack).library) else None


def _line_of_insertion(work: Callable[[], object], held: _Held, runs: int) -> Site | None:
    """Where a container is made longer, for what allocates nothing of its own."""
    if held.container is None:
        return None
    container = held.container
    sites = rising(work, lambda: length(container.container), min(runs, 64), container.per_run)
    return next(iter(sites), None)


def _best(sites: tuple[Site, ...]) -> Site | None:
    """The place in the user's or a package's code that loses most.

    What only the interpreter's code shows is none.
    """
    return next((site for site in sites if site.own or site.library), None)


def _best_line(sites: tuple[Site, ...]) -> Site | None:
    return next((site for site in sites if site.own or site.library), next(iter(sites), None))


def _opened(work: Callable[[], object]) -> tuple[str, ...]:
    """What the descriptors of some more runs are."""
    before = counters.descriptors()
    for _ in range(10):
        work()
    after = counters.descriptors()
    tally = Tally(
        counters.describe(target) for number, target in after.items() if number not in before
    )
    return tuple(f"{count} in 10 runs: {what}" for what, count in tally.most_common(3))


def _place_details(site: Site) -> tuple[str, ...]:
    own: Frame | None = site.own
    text = source_line(own) if own else ""
    inside = ", called by ".join(map(place, site.inner[:MOST_INNER]))
    return tuple(
        line
        for line in (f"line: {text}" if text else "", inside and f"allocated inside {inside}")
        if line
    )


def _thread_holders() -> tuple[str, ...]:
    """Where the newest thread is."""
    threads = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if not threads:
        return ("a thread that Python does not know",)
    last = threads[-1]
    frames = frames_of(frames_of_threads().get(last.ident or 0))
    kind = "daemon thread" if last.daemon else "thread"
    return (
        f"{kind} {last.name}, still running",
        *(f"call of {place(frame)}" for frame in frames[:3]),
    )
