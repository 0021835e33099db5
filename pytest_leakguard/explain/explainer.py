"""Puts the explanation of a confirmed leak together: where it was made, who holds it."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.core.text import place
from pytest_leakguard.counters import reader as counters
from pytest_leakguard.counters.reader import (
    BLOCKS,
    CHILDREN,
    COUNTERS,
    DESCRIPTORS,
    FILES,
    HEAP,
    MAPPED,
    TASKS,
    THREADS,
)
from pytest_leakguard.explain import interned_strings
from pytest_leakguard.explain.call_sites import release_of
from pytest_leakguard.explain.code_owner import Site, source_line
from pytest_leakguard.explain.holders import Held, holder_of
from pytest_leakguard.explain.kinds import IsNew, type_in_words
from pytest_leakguard.explain.places import NOWHERE, in_compiled_code, site_of
from pytest_leakguard.explain.probe import RUNS, Evidence, Probe, runs_for
from pytest_leakguard.explain.references import root_of
from pytest_leakguard.explain.rhythm import Rhythm, rhythm_of
from pytest_leakguard.explain.roots import UNKNOWN
from pytest_leakguard.explain.survivors import made_since
from pytest_leakguard.explain.threads import STILL_RUNNING, thread_holders

MOST_INNER = 4
"""Calls below the user's line that are shown."""
_MOST_TYPE_LINES = 4
"""Types of lost objects that are named: the others come with the first ones."""


@dataclass(frozen=True, slots=True)
class Cause:
    """The explanation of one leak."""

    site: Site = NOWHERE
    holders: tuple[str, ...] = ()
    held_by: str = ""
    """The holders as one line that a person reads."""
    details: tuple[str, ...] = ()
    """What piles up and what else a reader wants to know, one line each."""
    limit: int = 0
    """Entries that its holder will ever keep, where it says so; 0 where it does not."""
    bounded: str = ""
    """Why it will not grow for ever, in words."""
    apart: tuple[int, int] | None = None
    """Blocks and bytes of the old run that a holder without a limit keeps, beside one with."""
    removal: str = ""
    """Where somebody's code takes entries out of the container again, as ``shop.py:12``."""
    container: Any = None
    """The container that grows with it."""
    entries_per_run: float = 0.0
    has_growing_holder: bool = False
    """A container or buffer that becomes longer with it is known."""
    is_held: bool = False
    """Something of Python's holds it, which is known."""
    rhythm: Rhythm | None = None
    """Of a leak that is not in every run."""

    @property
    def names(self) -> tuple[str, ...]:
        """What a fingerprint is made of."""
        is_running = bool(self.holders) and self.holders[0].endswith(STILL_RUNNING)
        root = (root_of(self.holders),) if self.holders and not is_running else ()
        return (*self.site.names, *root)


def explain(probe: Probe, evidence: Evidence) -> Cause:
    """The cause of a confirmed leak.

    Runs the unit some more times; what it raises is the caller's.
    """
    counter = evidence.counter
    rhythm = None if evidence.share >= 1 else rhythm_of(probe, counter)
    if rhythm is not None:
        run = evidence.old_run if rhythm.run is None else rhythm.run
        evidence = replace(evidence, share=1 / rhythm.every, old_run=run, calls=rhythm.every)
    cause = _explained(probe, evidence)
    return replace(cause, rhythm=rhythm)


def _explained(probe: Probe, evidence: Evidence) -> Cause:
    counter = evidence.counter
    runs = runs_for(probe, evidence)
    held = holder_of(probe, evidence, runs)
    if held.bounded and not evidence.is_unbounded and not COUNTERS[counter].is_resource:
        return _cause(held)  # which may be no leak; tracing would take many times as long
    site = site_of(probe, evidence, held, runs)
    cause = replace(_cause_of(counter, held), site=site)
    details = _told_of(probe, evidence, held)
    if counter in (BLOCKS, HEAP, MAPPED) and not held.is_known:
        cause = _with_compiled_code(probe, cause, counter, held)
    details = (*details, *_place_details(cause.site), *cause.details)
    return replace(cause, details=details)


def _told_of(probe: Probe, evidence: Evidence, held: Held) -> tuple[str, ...]:
    if evidence.counter in (BLOCKS, TASKS):
        is_new = made_since(probe.tracker, evidence.old_run)
        return _types_in_words(held.types, evidence, is_new)
    return _opened(probe.work) if evidence.counter == DESCRIPTORS else ()


def _cause(held: Held) -> Cause:
    container = held.container
    return Cause(
        holders=held.chain,
        held_by=held.read,
        limit=held.limit,
        bounded=held.bounded,
        apart=held.apart,
        removal=held.removal,
        container=container.container if container else None,
        entries_per_run=container.per_run if container else 0.0,
        is_held=held.is_known,
        has_growing_holder=container is not None or held.buffer is not None,
    )


def _cause_of(counter: int, held: Held) -> Cause:
    if counter in (CHILDREN, FILES):
        return Cause()  # the system holds them
    if counter == THREADS:
        holders = thread_holders()
        return Cause(holders=holders, held_by=", in ".join(holders), is_held=True)
    return _cause(held)


def _with_compiled_code(probe: Probe, cause: Cause, counter: int, held: Held) -> Cause:
    """What nothing of Python holds: which compiled code lost it, and of which package that is."""
    found = in_compiled_code(probe, cause.site, counter, held.types)
    told = tuple(f"calls {frame.function}" for frame in found.called[:3])
    package = found.package
    release = (f"in the package {release_of(package)}",) if package else ()
    before = cause.holders[0] if cause.holders else UNKNOWN
    first = f"{before} ({package})" if package else before
    if probe.is_interned:
        first = interned_strings.HOLDER
    holders = (first, *cause.holders[1:])
    site = replace(cause.site, native=found.calls)
    held_by = " -> ".join(holders)
    return replace(cause, site=site, holders=holders, held_by=held_by, details=(*told, *release))


# Words.


def _types_in_words(
    types: list[tuple[type, int]], evidence: Evidence, is_new: IsNew
) -> tuple[str, ...]:
    """``1 of type shop.Order per run``; of what is not in every run, per loss."""
    losses = max(1, round(evidence.calls * evidence.share))
    each = "run" if evidence.share >= 1 else "loss"
    lines: dict[str, int] = {}
    for kind, count in types:
        name = type_in_words(kind, is_new)
        lines[name] = lines.get(name, 0) + count
    told = [f"{count / losses:.3g} of type {name} per {each}" for name, count in lines.items()]
    return tuple(told[:_MOST_TYPE_LINES])


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
