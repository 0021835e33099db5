"""Puts the explanation of a confirmed leak together from what the runs have left: where it was made, who holds it."""

from __future__ import annotations

import gc
import math
import threading
import time
import tracemalloc
from collections import Counter as Tally
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any
from weakref import ReferenceType

from pytest_leakguard.core.clock import Spent
from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.core.text import place
from pytest_leakguard.counters import reader as counters
from pytest_leakguard.counters._cpython import frames_of_threads
from pytest_leakguard.counters.reader import (
    BLOCKS,
    CHILDREN,
    COUNTERS,
    DESCRIPTORS,
    FILES,
    HEAP,
    MAPPED,
    THREADS,
    Reader,
)
from pytest_leakguard.explain import interned_strings, limits, native_stacks
from pytest_leakguard.explain.allocations import FRAMES, own_frames
from pytest_leakguard.explain.call_sites import called_on, release_of
from pytest_leakguard.explain.code_owner import Site, frames_of, package_of, source_line
from pytest_leakguard.explain.growing_containers import Growing, growing, length, newest
from pytest_leakguard.explain.line_tracer import losing, rising
from pytest_leakguard.explain.references import (
    UNKNOWN,
    chain_to,
    is_ours,
    kind_of,
    path_to,
    root_of,
)
from pytest_leakguard.explain.removals import removal_of
from pytest_leakguard.tracker.objects import counted_blocks, objects_of
from pytest_leakguard.tracker.tracker import Domain, Tracker

EVENTS = 4
"""Losses that the runs of an explanation are to contain, of a leak that is not in every run."""
RUNS = 3
"""Runs of an explanation of what every run loses: one for what is made on first use, two to compare."""
MOST_RUNS = 4_000
"""Runs for a leak that is not in every run, however rare."""
TIME_SHARE = 0.05
"""Share of the time of a confirmation that one step of the explanation may take; tracing slows runs 20 times."""
MOST_INNER = 4
"""Calls below the user's line that are shown."""
MOST_TIED = 8
"""Containers of one pace whose chains are compared; each chain takes some passes over the heap."""
_MOST_TYPE_LINES = 4
"""Types of lost objects that are named: the others come with the first ones."""
NOWHERE = Site(())


@dataclass(frozen=True, slots=True)
class Cause:
    """The explanation of one leak."""

    site: Site = NOWHERE
    holders: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    """What piles up and what else a reader wants to know, one line each."""
    limit: int = 0
    """Entries that its holder will ever keep, where it says so; 0 where it does not."""
    bounded: str = ""
    """Why it will not grow for ever, in words."""
    removal: str = ""
    """Where somebody's code takes entries out of the container again, as ``shop.py:12``."""
    container: Any = None
    """The container that grows with it."""
    entries_per_run: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """What a fingerprint is made of."""
        is_running = bool(self.holders) and self.holders[0].endswith("still running")
        root = (root_of(self.holders),) if self.holders and not is_running else ()
        return (*self.site.names, *root)


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
    symbolize: native_stacks.Symbolize
    seconds: float
    """Computing time that all of it may take, about."""
    is_interned: bool = False
    """What is lost are strings that the interpreter has interned for good."""


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


class _Held:
    """What the search for a holder has found; an object of ours, so that it is never taken for a holder."""

    __slots__ = ("bounded", "chain", "container", "kinds", "limit", "removal")

    def __init__(self, chain: tuple[str, ...] = (), container: Growing | None = None) -> None:
        self.chain, self.container = chain, container
        self.kinds: Tally[type] = Tally()
        self.limit = 0
        self.bounded = ""
        self.removal = ""


def explain(probe: Probe, evidence: Evidence) -> Cause:
    """The cause of a confirmed leak. Runs the unit some more times; what it raises is the caller's."""
    counter = evidence.counter
    runs = runs_for(probe, evidence)
    held = holder_of(probe, evidence, runs)
    if held.bounded and not evidence.is_unbounded and not COUNTERS[counter].is_resource:
        return _cause(held)  # which may be no leak; tracing would take many times as long
    site = _site_of(probe, evidence, held, runs)
    details = _types_in_words(held.kinds, evidence.calls) if counter == BLOCKS else ()
    if counter == DESCRIPTORS:
        details = (*_opened(probe.work), *details)
    cause = _cause_of(counter, held)
    if counter in (BLOCKS, HEAP, MAPPED) and (not cause.holders or cause.holders[0] == UNKNOWN):
        site, cause = _in_compiled_code(probe, site, cause, counter)
        if probe.is_interned:
            cause = replace(cause, holders=(interned_strings.HOLDER, *cause.holders[1:]))
    details = (*details, *_place_details(site), *cause.details)
    return replace(cause, site=site, details=details)


def runs_for(probe: Probe, evidence: Evidence) -> int:
    """Enough runs for some events of a leak that is not in every run, few enough for the time."""
    wanted = RUNS if evidence.share >= 1 else math.ceil(EVENTS / max(evidence.share, 1e-4))
    if wanted <= RUNS:
        return RUNS
    probe.begin()
    began = time.perf_counter()
    probe.work()
    one_s = max(1e-6, time.perf_counter() - began)
    return max(RUNS, min(wanted, MOST_RUNS, int(TIME_SHARE * probe.seconds / one_s)))


# Who holds it.


def holder_of(probe: Probe, evidence: Evidence, runs: int) -> _Held:
    """The chain to what an old run has left, and the container on it that grows."""
    lost = _lost_objects(probe.tracker, evidence.old_run)
    root = _root_of(lost)
    if root is None:
        return _growing_held(probe, evidence, runs)
    kinds = Tally(map(type, lost))
    lost.clear()  # or the list would be taken for a holder
    path = path_to(root)
    if path.texts[0] == UNKNOWN:  # the collector does not follow what holds only plain values
        held = _growing_held(probe, evidence, runs)
        if held.container is not None:
            held.kinds = kinds
            return held
    container = _growing_of(path.steps[:-1], probe, runs)
    held = _Held(path.texts, container)
    if container is not None:
        held.chain = (*chain_to(container.container), f"item of type {kind_of(container.element)}")
        held.removal = removal_of(container.container)
    held.kinds = kinds
    _look_for_limit(held, path.steps)
    return held


def _lost_objects(tracker: Tracker, old_run: int | None) -> list[Any]:
    if old_run is None:
        return []
    return objects_of(tracker, counted_blocks(tracker, old_run))


def _root_of(lost: list[Any]) -> Any:
    """Of those that something outside refers to, the one on which most of the others hang."""
    if not lost:
        return None
    inside = {id(thing): thing for thing in lost}
    candidates = _referred_from_outside(lost, inside) or lost
    candidates = [thing for thing in candidates if type(thing) is not ReferenceType] or candidates
    return max(candidates, key=lambda thing: _weight_below(thing, inside))


def _referred_from_outside(lost: list[Any], inside: dict[int, Any]) -> list[Any]:
    found: dict[int, Any] = {}
    for holder in gc.get_referrers(*lost):
        if id(holder) in inside or holder is lost or holder is inside or is_ours(holder):
            continue
        if type(holder) is tuple and len(holder) == len(lost) and holder[0] is lost[0]:
            continue  # the arguments of the call that has just found it
        for part in gc.get_referents(holder):
            if id(part) in inside:
                found[id(part)] = part
    return list(found.values())


def _weight_below(thing: Any, inside: dict[int, Any]) -> int:
    """Bytes of what is lost and can be reached from one of it."""
    seen = {id(thing)}
    level = [thing]
    total = 0
    while level:
        following = []
        for part in level:
            total += _weight_bytes(part)
            for further in gc.get_referents(part):
                if id(further) in inside and id(further) not in seen:
                    seen.add(id(further))
                    following.append(further)
        level = following
    return total


def _weight_bytes(thing: Any) -> int:
    """Size with its buffers, of the interpreter's own types; asks nobody else's ``__sizeof__``."""
    if type(thing) in _SIZED:
        return _sized_bytes(thing)
    return object.__sizeof__(thing)


def _sized_bytes(thing: Any) -> int:
    measure: Any = type(thing).__sizeof__
    return int(measure(thing))


_SIZED = (bytearray, bytes, str, list, dict, set, tuple, int, float)


def _growing_of(steps: list[Any], probe: Probe, runs: int) -> Growing | None:
    """The outermost container among the holders that grows."""
    probe.begin()
    before = [length(holder) for holder in steps]
    for _ in range(runs):
        probe.work()
    probe.reader.forget_what_is_gone()
    for holder, count in zip(steps, before, strict=True):
        grown = length(holder) - count
        if grown > 0:
            return Growing(holder, grown / runs, newest(holder))
    return None


def _growing_held(probe: Probe, evidence: Evidence, runs: int) -> _Held:
    """The container that grows, found by comparing all there are: for what leaves no object of its own."""
    if evidence.counter == THREADS:
        return _Held()
    probe.begin()
    tidy = probe.reader.forget_what_is_gone
    containers = growing(probe.work, EVENTS, tidy)
    if not containers and runs > EVENTS:
        containers = growing(probe.work, runs, tidy)
    first = first_of(containers)
    if first is None or (
        evidence.counter in (HEAP, MAPPED) and evidence.per_run >= 1 and first.most
    ):
        return _Held()
    held = _Held((*chain_to(first.container), f"item of type {kind_of(first.element)}"), first)
    if first.most:
        held.limit = first.most
        held.bounded = f"it holds at most {first.most} items"
    return held


def _look_for_limit(held: _Held, steps: list[Any]) -> None:
    if limits.is_test_double(steps):
        held.bounded = "a test double (unittest.mock) records it, which is the test's own"
        return
    found = limits.limit_on(steps)
    if found is not None:
        held.limit = found[0]
        held.bounded = f"its holder says that it keeps at most {found[0]:,} ({found[1]})"


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


def _cause(held: _Held) -> Cause:
    container = held.container
    return Cause(
        holders=held.chain,
        limit=held.limit,
        bounded=held.bounded,
        removal=held.removal,
        container=container.container if container else None,
        entries_per_run=container.per_run if container else 0.0,
    )


def _cause_of(counter: int, held: _Held) -> Cause:
    if counter in (CHILDREN, FILES):
        return Cause()  # the system holds them
    if counter == THREADS:
        return Cause(holders=_thread_holders())
    return _cause(held)


# Where it was made.


def _site_of(probe: Probe, evidence: Evidence, held: _Held, runs: int) -> Site:
    """The line that loses it."""
    counter = evidence.counter
    if counter == BLOCKS:
        sites = traced_sites(probe, held.kinds, runs) if held.kinds or not held.container else ()
        site = _best(sites) or _line_of_insertion(probe, held, runs)
        return site or next(iter(sites), NOWHERE)
    if counter == HEAP and held.container is not None and evidence.old_run is None:
        return _line_of_insertion(probe, held, runs) or NOWHERE  # its buffer is what grows
    probe.begin()
    lines = losing(probe.work, counter, probe.reader, runs, evidence.per_run)
    return (
        _best(lines) or next(iter(lines), None) or _line_of_insertion(probe, held, runs) or NOWHERE
    )


def traced_sites(probe: Probe, kinds: Iterable[type], runs: int) -> tuple[Site, ...]:
    """Where what some more runs leave was allocated, most bytes first; objects of these types, or any without one."""
    was_tracing = tracemalloc.is_tracing()
    wanted = frozenset(kinds)
    weights: dict[tuple[Frame, ...], list[int]] = {}
    gc.collect()
    gc.freeze()  # only what is new is looked through, which tracing makes slow
    if not was_tracing:
        tracemalloc.start(FRAMES)
    try:
        spent = Spent()
        number = probe.begin()
        done = min(runs, RUNS)
        probe.repeat(done)
        while done < runs and spent.seconds < TIME_SHARE * probe.seconds:
            probe.repeat(RUNS)
            done += RUNS
        runs = done
        probe.begin()
        probe.work()  # has its own end what a run leaves until the next
        for thing in objects_of(probe.tracker, counted_blocks(probe.tracker, number)):
            if not wanted or type(thing) in wanted:
                _add_weight(weights, thing)
    finally:
        if not was_tracing and tracemalloc.is_tracing():
            tracemalloc.stop()
        gc.unfreeze()
    sites = []
    for stack, (blocks, size_bytes) in weights.items():
        sites.append(Site(stack, blocks / runs, size_bytes / runs))
    sites.sort(key=lambda site: (-site.size_bytes, -site.blocks, site.names))
    return tuple(sites)


def _add_weight(weights: dict[tuple[Frame, ...], list[int]], thing: Any) -> None:
    trace = tracemalloc.get_object_traceback(thing)
    stack = own_frames(trace) if trace else ()
    if stack:
        entry = weights.setdefault(stack, [0, 0])
        entry[0] += 1
        entry[1] += _weight_bytes(thing)


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


def _line_of_insertion(probe: Probe, held: _Held, runs: int) -> Site | None:
    """Where a container is made longer, for what allocates nothing of its own."""
    if held.container is None:
        return None
    container = held.container
    enough = math.ceil(RUNS / max(container.per_run, RUNS / max(RUNS, runs)))
    probe.begin()
    sites = rising(probe.work, lambda: length(container.container), enough, container.per_run)
    return next(iter(sites), None)


def _best(sites: tuple[Site, ...]) -> Site | None:
    """The place in the user's or a package's code that loses most.

    What only the interpreter's code shows is none.
    """
    return next((site for site in sites if site.own or site.library), None)


def _in_compiled_code(probe: Probe, site: Site, cause: Cause, counter: int) -> tuple[Site, Cause]:
    """What nothing that the collector knows holds: which compiled code lost it, and of which package that is."""
    at = next(iter(site.stack), None)
    domains = (Domain.PYTHON,) if counter == BLOCKS else (Domain.NATIVE, Domain.MAPPING)
    run = probe.begin()
    calls = native_stacks.leaking_stack(probe.work, probe.tracker, run, domains, probe.symbolize)
    site = replace(site, native=calls)
    called = called_on(probe.work, at) if at is not None else ()
    package = _first_package((*calls, *called, *((site.library,) if site.library else ())))
    told = tuple(f"calls {frame.function}" for frame in called[:3])
    release = (f"in the package {release_of(package)}",) if package else ()
    holder = f"{UNKNOWN} ({package})" if package else UNKNOWN
    return site, replace(cause, holders=(holder, *cause.holders[1:]), details=(*told, *release))


def _first_package(frames: Iterable[Frame]) -> str:
    for frame in frames:
        if package := package_of(frame.module or frame.file or ""):
            return package
    return ""


# Words.


_MODULE_OF: Any = type.__dict__["__module__"].__get__
_QUALNAME_OF: Any = type.__dict__["__qualname__"].__get__


def _types_in_words(kinds: Tally[type], calls: int) -> tuple[str, ...]:
    """``1 of type shop.Order per run``."""
    lines = []
    for kind, count in kinds.most_common():
        module, name = _MODULE_OF(kind), _QUALNAME_OF(kind)
        full = f"{name}" if module == "builtins" else f"{module}.{name}"
        lines.append(f"{count / calls:g} of type {full} per run")
    return tuple(lines[:_MOST_TYPE_LINES])


def _opened(work: Callable[[], object]) -> tuple[str, ...]:
    """What the descriptors of some more runs are."""
    before = counters.descriptors()
    for _ in range(RUNS):
        work()
    tally: Tally[str] = Tally()
    for number, target in counters.descriptors().items():
        if number not in before:
            tally[counters.describe(target)] += 1
    return tuple(f"{count} in {RUNS} runs: {what}" for what, count in tally.most_common(3))


def _place_details(site: Site) -> tuple[str, ...]:
    own: Frame | None = site.own
    text = source_line(own) if own else ""
    inside = ", called by ".join(map(place, site.inner[:MOST_INNER]))
    lines = []
    if text:
        lines.append(f"line: {text}")
    if inside:
        lines.append(f"allocated inside {inside}")
    return tuple(lines)


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
