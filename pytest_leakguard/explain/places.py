"""Where what is lost was made: the line, the calls below it, and the package of compiled code."""

from __future__ import annotations

import math
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType, ModuleType
from typing import Any

from pytest_leakguard.core.clock import Spent
from pytest_leakguard.core.collector import Collector
from pytest_leakguard.core.foreign import is_a, module_of, namespace_of_module
from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.counters._cpython import allocation_of, is_task_type
from pytest_leakguard.counters.reader import BLOCKS, HEAP, MAPPED, TASKS
from pytest_leakguard.explain import native_stacks
from pytest_leakguard.explain.allocations import Places, frames_at, own_frames, places, tracing
from pytest_leakguard.explain.call_sites import called_on
from pytest_leakguard.explain.code_owner import HARNESS, Owner, Site, owner, package_of
from pytest_leakguard.explain.growing_containers import length, newest
from pytest_leakguard.explain.holders import Held
from pytest_leakguard.explain.line_tracer import keeping, losing, rising
from pytest_leakguard.explain.probe import RUNS, Evidence, Probe
from pytest_leakguard.explain.survivors import survivors_of, weight_bytes
from pytest_leakguard.tracker.tracker import Domain

NOWHERE = Site(())


def site_of(probe: Probe, evidence: Evidence, held: Held, runs: int) -> Site:
    """The line that loses it."""
    counter = evidence.counter
    if counter == BLOCKS:
        kinds = _telling([kind for kind, _ in held.types])
        traced = traced_site(probe, kinds, evidence) if kinds or not held.container else None
        site = _best(() if traced is None else (traced,))
        site = site or _line_of_insertion(probe, held, runs) or _best(_tagged(probe, evidence))
        return site or traced or NOWHERE
    if held.is_replaced:
        sites = _tagged(probe, evidence, is_replaced=True)
        sites = sites or _tagged(probe, evidence, is_replaced=True)  # it came from a free list
        return _best(sites) or next(iter(sites), NOWHERE)
    if held.buffer is not None:
        buffer = held.buffer
        probe.begin()
        grown = rising(probe.work, buffer.size_bytes, RUNS, buffer.bytes_per_run)
        return next(iter(grown), NOWHERE)
    if counter == HEAP and held.container is not None and evidence.old_run is None:
        return _line_of_insertion(probe, held, runs) or NOWHERE  # its buffer is what grows
    if counter == TASKS and (site := _site_of_task(probe, evidence, held)):
        return site
    lines = _lines(probe, evidence)
    return (
        _best(lines) or next(iter(lines), None) or _line_of_insertion(probe, held, runs) or NOWHERE
    )


def _telling(kinds: list[type]) -> list[type]:
    """The types whose place of allocation is asked for.

    Of a task and what comes with it, that is the task; of an exception with the calls that it has
    passed, the exception, since their variables may be made anywhere.
    """
    tasks = [kind for kind in kinds if is_task_type(kind)]
    if FrameType in kinds and not tasks:
        return [kind for kind in kinds if issubclass(kind, BaseException)] or kinds
    return tasks or kinds


def _site_of_task(probe: Probe, evidence: Evidence, held: Held) -> Site | None:
    """Where tasks that stay are made, in whatever thread their loop runs."""
    tasks = [kind for kind, _ in held.types if is_task_type(kind)]
    traced = traced_site(probe, tasks, evidence) if tasks else None
    return None if traced is None else _best((traced,))


def _lines(probe: Probe, evidence: Evidence) -> tuple[Site, ...]:
    counter = evidence.counter
    probe.begin()
    if counter in (HEAP, MAPPED):
        return _tagged(probe, evidence)
    things = _Things(probe, counter)
    return keeping(probe.work, things, evidence.events, probe.step_s)


@dataclass(frozen=True, slots=True)
class _Things:
    """Reads what there is of something scarce."""

    probe: Probe
    counter: int

    def __call__(self) -> frozenset[Any]:
        return self.probe.reader.things(self.counter)


def _tagged(probe: Probe, evidence: Evidence, is_replaced: bool = False) -> tuple[Site, ...]:
    """Lines whose blocks stay, of all that the tracker sees, or stay until the next run."""
    if evidence.counter == MAPPED:
        domains: tuple[Domain, ...] = (Domain.MAPPING,)
    elif evidence.counter == HEAP:
        domains = (Domain.NATIVE, Domain.PYTHON)
    else:
        domains = (Domain.PYTHON,)
    unit = (probe.work, probe.tracker, probe.begin)
    return losing(*unit, domains, evidence.events, probe.step_s, is_replaced)


def traced_site(probe: Probe, kinds: Iterable[type], evidence: Evidence) -> Site | None:
    """Where most bytes of what some more runs leave were allocated.

    Of objects of these types, or of any without one. Goes on until a rare loss has happened often
    enough. A place in the user's or a package's code comes before those in the interpreter's.
    """
    wanted = frozenset(map(id, kinds))
    Collector.collect()
    Collector.freeze()  # only what is new is looked through, which tracing makes slow
    try:
        with tracing():
            number, runs = _run_traced(probe, evidence)
            probe.begin()
            probe.work()  # has its own end what a run leaves until the next
            weights = _weights(probe, number, wanted)
    finally:
        Collector.unfreeze()
    best = min(weights.values(), key=_Weight.order, default=None)
    if best is None:
        return None
    return Site(frames_at(best.stack), best.blocks / runs, best.size_bytes / runs)


@dataclass(slots=True)
class _Weight:
    """What was allocated by one stack of calls."""

    stack: Places
    blocks: int = 0
    size_bytes: int = 0

    def order(self) -> tuple[bool, int, int, Places]:
        """The interpreter's own last, then by size, then always the same."""
        is_interpreters = all(owner(file) > Owner.LIBRARY for file, _ in self.stack)
        return is_interpreters, -self.size_bytes, -self.blocks, self.stack


def _run_traced(probe: Probe, evidence: Evidence) -> tuple[int, int]:
    """The number under which the traced runs were made, and how many there were."""
    spent = Spent()
    number, runs, happened, last = probe.begin(), 0, 0, 0
    chunk = max(1, round(1 / max(evidence.share, 1e-4))) if evidence.share < 1 else RUNS
    while happened < evidence.events and (spent.seconds < probe.step_s or not runs):
        probe.repeat(min(chunk, RUNS) if not runs else chunk)
        runs += min(chunk, RUNS) if not runs else chunk
        now = probe.tracker.live(number, Domain.PYTHON).blocks
        happened += (RUNS if evidence.share >= 1 else 1) * (now > last)
        last = now
    return number, runs


def _weights(probe: Probe, number: int, wanted: frozenset[int]) -> dict[Places, _Weight]:
    weights: dict[Places, _Weight] = {}
    for thing in survivors_of(probe.tracker, number):
        if wanted and id(type(thing)) not in wanted:
            continue
        trace = allocation_of(thing)
        stack = places(trace) if trace else ()
        if stack:
            weight = weights.setdefault(stack, _Weight(stack))
            weight.blocks += 1
            weight.size_bytes += weight_bytes(thing)
    return weights


@contextmanager
def _traced_newest(container: Any, found: list[tracemalloc.Traceback]) -> Iterator[None]:
    """Finds where what has come into the container meanwhile was made."""
    before = length(container)
    with tracing():
        yield
        trace = allocation_of(newest(container)) if length(container) > before else None
    if trace is not None:
        found.append(trace)


RunAround = Callable[[AbstractContextManager[object]], object]
"""Makes one run of a test, with this around its own function."""


def site_of_newest(run: RunAround, container: Any) -> Site | None:
    """Where the newest thing in a growing container was made.

    The rest of what leaks hangs on it. Only where nothing comes into it by the end of the test's
    function is another run traced, which is traced whole.
    """
    if tracemalloc.is_tracing():
        return None
    found: list[tracemalloc.Traceback] = []
    run(_traced_newest(container, found))
    if not found:
        with _traced_newest(container, found):
            run(nullcontext())
    stack = own_frames(found[0]) if found else ()
    return Site(stack) if stack and (Site(stack).own or Site(stack).library) else None


def _line_of_insertion(probe: Probe, held: Held, runs: int) -> Site | None:
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


@dataclass(frozen=True, slots=True)
class Compiled:
    """Which compiled code lost something that nothing of Python holds."""

    calls: tuple[Frame, ...] = ()
    """Innermost first."""
    called: tuple[Frame, ...] = ()
    """What of installed packages the line calls."""
    package: str = ""


def in_compiled_code(
    probe: Probe, site: Site, counter: int, types: list[tuple[type, int]]
) -> Compiled:
    """The calls of compiled code that lost it, and of which package that is."""
    at = site.own or next(iter(site.stack), None)
    domains = (Domain.PYTHON,) if counter == BLOCKS else (Domain.NATIVE, Domain.MAPPING)
    run = probe.begin()
    calls = native_stacks.leaking_stack(probe.work, probe.tracker, run, domains, probe.symbolize)
    called = called_on(probe.work, at) if at is not None else ()
    inner = tuple(frame for frame in site.stack if owner(frame.file or "") is Owner.LIBRARY)
    package = _package_of_types(types, called)
    package = package or _first_package((*calls, *(inner[:1] if site.library else ()), *called))
    return Compiled(calls, called, package)


def _package_of_types(types: list[tuple[type, int]], called: Iterable[Frame]) -> str:
    """The package that is called, where what is lost are objects of its own Python classes.

    Such a cycle leads through an object of compiled code, such as an array, that the collector does
    not look into; the compiled code has lost nothing.
    """
    called = tuple(called)
    for kind, _ in types:
        module = sys.modules.get(module_of(kind))
        file = namespace_of_module(module).get("__file__") if is_a(module, ModuleType) else None
        if type(file) is not str or not file.endswith(".py"):
            continue
        package = package_of(file)
        if package and any(package_of(frame.module or "") == package for frame in called):
            return package
    return ""


def _first_package(frames: Iterable[Frame]) -> str:
    for frame in frames:
        package = package_of(frame.module or frame.file or "")
        if package and package not in HARNESS:  # which only leads to who loses it
            return package
    return ""
