"""From an examination to a ``Check``: which counter leaks, why, by what name, and what could not be decided."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_leakguard.core import fingerprint
from pytest_leakguard.core.checks import Check, Growth
from pytest_leakguard.core.leaks import Finding, LeakKind
from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.counters.reader import BLOCKS, COUNTERS, HEAP, MAPPED, PRIVATE, Reader
from pytest_leakguard.screening.confirmation import Examination

if TYPE_CHECKING:
    from pytest_leakguard.explain.explainer import Cause


MOST_POINTS = 40
_GRAIN_BYTES = 16
"""Sizes are told in steps of the allocator, so that the accepted size of a leak does not flicker."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The answer of one examination, and what it takes to know the same cause again."""

    check: Check
    examination: Examination
    container: Any = None
    """What holds the leak and grows with it, when there is such a thing."""
    entries_per_run: float = 0.0
    names: tuple[str, ...] = ()
    """Where it is allocated, without lines."""


def check_of(
    blank: Check,
    examination: Examination,
    work: Callable[[], object],
    reader: Reader,
    budget_bytes: float,
    seconds: float,
) -> Confirmed:
    """``blank`` with growth, and with a finding when the unit leaks more than its budget per run."""
    check = replace(blank, growth=growth_of(examination), duration_s=examination.seconds)
    counter = examination.leaking
    if counter is None:
        return Confirmed(
            replace(check, notes=(*check.notes, *undecided_notes(examination))), examination
        )
    cause = _explained(work, counter, examination.evidence[counter].per_run, reader, seconds)
    if cause.bounded and not COUNTERS[counter].is_resource:
        note = f"{COUNTERS[counter].metric} still grows after {examination.runs} runs, but {cause.bounded}"
        return Confirmed(
            replace(check, growth=_as(check.growth, Shape.CACHE), notes=(*check.notes, note)),
            examination,
        )
    if examination.ran_out_of_time and cause.removal:
        return Confirmed(_out_of_time(check, examination, cause.removal), examination)
    finding = finding_of(counter, examination, cause, check.id)
    found = within_budget(check, finding, budget_bytes)
    return Confirmed(found, examination, cause.container, cause.entries_per_run, cause.site.names)


def _out_of_time(check: Check, examination: Examination, removal: str) -> Check:
    """Undecided: what has piled up so far is taken out again by somebody's code, maybe later."""
    problem = (
        f"undecided: it has grown in all {examination.runs:,} runs there was time for, but "
        f"{removal} takes entries out again. More runs tell whether that is enough: "
        "@pytest.mark.leakguard(confirm=SECONDS), or seconds= of a loop"
    )
    return replace(
        check, growth=_as(check.growth, Shape.UNDECIDED), problems=(*check.problems, problem)
    )


def _explained(
    work: Callable[[], object], counter: int, per_run: float, reader: Reader, seconds: float
) -> Cause:
    """The cause; a unit that fails when it is run once more for it leaks all the same."""
    from pytest_leakguard.explain.explainer import (  # most runs find nothing to explain
        Cause,
        explain,
    )

    try:
        return explain(work, counter, per_run, reader, seconds)
    except Exception as problem:
        gc.unfreeze()
        told = f"{type(problem).__name__}: {problem}"[:300]
        return Cause(
            details=(
                f"no explanation: it failed when it was run once more to find the line: {told}",
            )
        )


def within_budget(check: Check, finding: Finding, budget_bytes: float) -> Check:
    """``check`` with the finding, or with a note when it is memory within the budget per run."""
    is_memory = (
        finding.kind in (LeakKind.PYTHON_OBJECTS, LeakKind.GROWTH, LeakKind.MAPPINGS)
        and finding.size_bytes
    )
    if is_memory and finding.size_bytes <= budget_bytes:
        note = f"grows by {finding.size_bytes} bytes per run, within its budget of {budget_bytes:g}"
        return replace(check, notes=(*check.notes, note))
    return replace(check, findings=(finding,))


def finding_of(counter: int, examination: Examination, cause: Cause, check_id: str) -> Finding:
    """The leak by its name; its size is that of one run."""
    kind, evidence = COUNTERS[counter].kind, examination.evidence
    native = evidence[counter].per_run if counter in (HEAP, MAPPED, PRIVATE) else 0.0
    size = math.ceil(max(native, cause.size_bytes) / _GRAIN_BYTES) * _GRAIN_BYTES
    blocks = evidence[counter].per_run if counter != HEAP else evidence[BLOCKS].per_run
    own = cause.site.own
    is_known = bool(
        cause.site.calls or cause.holders
    )  # or else accepting one would accept all without a cause
    return Finding(
        fingerprint=fingerprint.of_names(kind.value, cause.names if is_known else (check_id,)),
        kind=kind,
        size_bytes=size,
        blocks=max(1, math.ceil(blocks - 0.05)) if counter not in (MAPPED, PRIVATE) else 1,
        stack=cause.site.reading_order,
        holders=cause.holders,
        checks=(check_id,),
        sites=(f"{own.file}:{own.line}",) if own else (),
        details=(pace(counter, examination), *cause.details),
    )


def pace(counter: int, examination: Examination) -> str:
    """``+4 blocks per run over 25,570 runs``."""
    evidence = examination.evidence[counter]
    return f"{evidence.per_run:+.3g} {COUNTERS[counter].unit} per run over {evidence.runs:,} runs"


def growth_of(examination: Examination) -> tuple[Growth, ...]:
    """One entry per counter that moved, and the two memory counters always, for what they could have seen."""
    return tuple(
        evidence.growth(counter.metric, _thinned(series), counter.unit)
        for index, (counter, evidence, series) in enumerate(
            zip(COUNTERS, examination.evidence, examination.samples, strict=True)
        )
        if index in (BLOCKS, HEAP) or evidence.shape not in _quiet(index)
    )


def _quiet(counter: int) -> tuple[Shape, ...]:
    """Shapes that say nothing: allocators use ever more of their pages for a while."""
    return (Shape.STABLE, Shape.CACHE, Shape.UNDECIDED) if counter == PRIVATE else (Shape.STABLE,)


def undecided_notes(examination: Examination) -> tuple[str, ...]:
    """What grew without proof, and the smallest leak that would have been seen."""
    notes = []
    for index in examination.undecided:
        counter, evidence = COUNTERS[index], examination.evidence[index]
        notes.append(
            f"undecided: {counter.metric} rose unevenly over {evidence.runs} runs; a leak of "
            f"{evidence.detectable_per_run:.3g} {counter.unit} per run would have been seen"
        )
    return tuple(notes)


def _thinned(series: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    step = max(1, math.ceil(len(series) / MOST_POINTS))
    return (*series[:-1:step], series[-1]) if series else ()


def _as(growth: tuple[Growth, ...], shape: Shape) -> tuple[Growth, ...]:
    return tuple(replace(one, shape=shape) if one.shape is Shape.LEAK else one for one in growth)
