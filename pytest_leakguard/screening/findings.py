"""From an examination to a ``Check``: what leaks, how much, why, and by what name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from pytest_leakguard.core import fingerprint
from pytest_leakguard.core.checks import Check, Growth
from pytest_leakguard.core.collector import Collector
from pytest_leakguard.core.leaks import Finding, LeakKind
from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.core.text import ordinal, singular
from pytest_leakguard.counters import originals
from pytest_leakguard.counters.reader import BLOCKS, COUNTERS, HEAP, MAPPED
from pytest_leakguard.screening import thresholds
from pytest_leakguard.screening.confirmation import Examination
from pytest_leakguard.screening.ledger import MEMORY, Ledger
from pytest_leakguard.screening.room import OutOfRoom
from pytest_leakguard.screening.statistics import Kept, PerRun, is_even, is_ever_more
from pytest_leakguard.tracker.tracker import Domain

if TYPE_CHECKING:
    from pytest_leakguard.explain.explainer import Cause
    from pytest_leakguard.explain.rhythm import Rhythm


class Work(Protocol):
    """Runs a unit under the tracker, as its own runs were."""

    def __call__(self, calls: int = 1) -> object:
        """So many times."""


MOST_POINTS = 40
"""Points of a curve in the report; more say nothing to a reader."""
_GRAIN_BYTES = 16
"""Step in bytes, the allocator's, of sizes that differ from run to run.

An accepted size does not flicker then.
"""
EVENT_SLACK = 0.05
"""Part of a block per run that is not rounded up: it comes with a list that is resized."""


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
    work: Work,
    ledger: Ledger,
    budget_bytes: float,
    seconds: float,
    further: Callable[[int], Examination] | None = None,
) -> Confirmed:
    """``blank`` with growth, and with a finding when the unit leaks more than its budget per run.

    ``further`` makes more runs, for a holder that says how much it will ever keep.
    """
    if examination.undecided:
        found = _held_for_good(blank, examination, work, ledger, budget_bytes, seconds)
        return found or _answer_of_holder(blank, examination, work, ledger, seconds)
    counter = examination.leaking
    if counter is None:
        return Confirmed(_with_growth(blank, examination), examination)
    cause = _explained(work, counter, examination, ledger, seconds)
    if (gone := _as_gone(blank, examination, ledger, further)) is not None:
        return gone
    if cause.bounded and not COUNTERS[counter].is_resource:
        if not cause.limit or further is None:
            return _as_cache(blank, examination, counter, cause.bounded)
        runs = runs_beyond(cause.limit, cause.entries_per_run)
        examination = further(runs)
        if examination.leaking is None or examination.runs < runs:
            return _as_cache(blank, examination, counter, cause.bounded)
        # And yet it keeps more.
        cause = _explained(work, counter, examination, ledger, seconds, is_unbounded=True)
    examination = _apart(examination, counter, cause)
    doubt = _doubt_about(cause, counter, examination)
    if doubt and further is not None:
        examination = further(thresholds.MOST_RUNS)
        least = thresholds.MOST_RUNS if cause.removal else thresholds.DOUBTFUL_RUNS
        is_proved = examination.runs >= least or examination.is_exhausting
        if examination.leaking is None or not is_proved:
            return _not_proved(blank, examination, doubt)
    finding = finding_of(counter, examination, cause, blank.id)
    check = within_budget(_with_growth(blank, examination), finding, budget_bytes)
    return Confirmed(check, examination, cause.container, cause.entries_per_run, cause.site.names)


def _as_gone(
    blank: Check,
    examination: Examination,
    ledger: Ledger,
    further: Callable[[int], Examination] | None,
) -> Confirmed | None:
    """Clean when the run that has kept its objects for so long has none any more since then.

    A list that is pruned now and then, such as that of a ``sqlite3.Connection``, has been.
    """
    number, _ = examination.old_run
    is_told = number is None or BLOCKS not in examination.per_run or examination.is_rare
    if further is None or number is None or is_told:
        return None
    if ledger.tracker.live(number, Domain.PYTHON).blocks > 0:
        return None
    now = further(examination.runs)
    return Confirmed(_with_growth(blank, now), now) if now.leaking is None else None


def _apart(examination: Examination, counter: int, cause: Cause) -> Examination:
    """Without what a cache beside the leak keeps of a run until it is full."""
    if cause.apart is None or counter not in examination.per_run:
        return examination
    (blocks, size_bytes), calls = cause.apart, examination.old_run[1]
    kept = PerRun(blocks / calls, size_bytes / calls, is_exact=calls == 1)
    return replace(examination, per_run={**examination.per_run, counter: kept})


def _undecided(blank: Check, examination: Examination) -> Confirmed:
    check = _with_growth(blank, examination)
    text = f"undecided: {examination.undecided}"
    if examination.is_rare:  # a cache or a pool as well: no reason to stop a build
        return Confirmed(replace(check, notes=(*check.notes, text)), examination)
    return Confirmed(replace(check, problems=(*check.problems, text)), examination)


def _doubt_about(cause: Cause, counter: int, examination: Examination) -> str:
    """Why what the runs have kept may yet go again, so that more of them have to tell.

    Empty when it will not.
    """
    is_told = examination.is_rare or examination.is_exhausting or COUNTERS[counter].is_resource
    if is_told or examination.runs >= thresholds.MOST_RUNS:
        return ""
    if cause.removal:
        return f"{cause.removal} takes entries out again"
    if not cause.has_growing_holder and _is_held_by_python(cause):
        return "nothing that holds it becomes longer"
    return ""


def _is_held_by_python(cause: Cause) -> bool:
    from pytest_leakguard.explain.roots import UNKNOWN

    return bool(cause.holders) and not cause.holders[0].startswith(UNKNOWN)


def _held_for_good(
    blank: Check,
    examination: Examination,
    work: Work,
    ledger: Ledger,
    budget_bytes: float,
    seconds: float,
) -> Confirmed | None:
    """The leak when too few runs have all kept the same in a container that stays.

    It has no limit, and nobody empties it.
    """
    decided = replace(examination, undecided="")
    counter = decided.leaking
    if counter is None:
        return None
    cause = _explained(work, counter, decided, ledger, seconds)
    if cause.container is None or cause.bounded or cause.removal:
        return None
    finding = finding_of(counter, decided, cause, blank.id)
    found = within_budget(_with_growth(blank, decided), finding, budget_bytes)
    return Confirmed(found, decided, cause.container, cause.entries_per_run, cause.site.names)


def _answer_of_holder(
    blank: Check, examination: Examination, work: Work, ledger: Ledger, seconds: float
) -> Confirmed:
    """Of too few runs: a cache, when what holds all of it says how much it keeps at most."""
    decided = replace(examination, undecided="", per_run=examination.open)
    counter = decided.leaking
    if counter not in MEMORY:
        return _undecided(blank, examination)
    cause = _explained(work, counter, decided, ledger, seconds)
    is_within = examination.runs < runs_beyond(cause.limit, cause.entries_per_run)
    if cause.bounded and (is_within or not cause.limit):
        return _as_cache(blank, examination, counter, cause.bounded)
    held = f"kept alive by {cause.held_by}; " if _is_held_by_python(cause) else ""
    return _undecided(blank, replace(examination, undecided=f"{held}{examination.undecided}"))


BEYOND = 2.5
"""How many times its limit a holder is filled before what it keeps is a leak all the same.

Only the later half of the runs is judged, and the limit may be one of several parts.
"""


def runs_beyond(limit: int, entries_per_run: float) -> int:
    """Runs that fill a holder well beyond what it says that it keeps at most."""
    return math.ceil(BEYOND * limit / max(entries_per_run, 0.01))


def _not_proved(blank: Check, examination: Examination, doubt: str) -> Confirmed:
    """Clean when it has gone by now, or else undecided: somebody's code takes entries out again."""
    check = _with_growth(blank, examination)
    if examination.leaking is None and not examination.undecided:
        return Confirmed(check, examination)
    text = (
        f"undecided: every one of {examination.runs:,} runs has kept something, but {doubt}; "
        f"{thresholds.MOST_RUNS:,} runs would decide: give it more time "
        "with @pytest.mark.leakguard(confirm=SECONDS)"
    )
    growth = tuple(_called_undecided(growth) for growth in check.growth)
    undecided = replace(check, growth=growth, problems=(*check.problems, text))
    return Confirmed(undecided, examination)


def _called_undecided(growth: Growth) -> Growth:
    return replace(growth, shape=Shape.UNDECIDED) if growth.shape is Shape.LEAK else growth


def _with_growth(blank: Check, examination: Examination) -> Check:
    return replace(blank, growth=growth_of(examination), duration_s=examination.seconds)


def _as_cache(blank: Check, examination: Examination, counter: int, why: str) -> Confirmed:
    """Clean, with a note when the holder is not full yet."""
    check = _with_growth(blank, examination)
    if examination.leaking is None and not examination.undecided:
        return Confirmed(check, examination)
    growth = tuple(_called_cache(growth) for growth in check.growth)
    name = COUNTERS[counter].metric
    note = f"{name} still grows after {examination.runs:,} runs, but {why}"
    return Confirmed(replace(check, growth=growth, notes=(*check.notes, note)), examination)


def _called_cache(growth: Growth) -> Growth:
    is_growing = growth.shape in (Shape.LEAK, Shape.UNDECIDED)
    return replace(growth, shape=Shape.CACHE) if is_growing else growth


def amount_per_run(counter: int, examination: Examination) -> float:
    """What one run keeps: bytes of native memory and mappings, blocks or things of all else."""
    kept = examination.per_run[counter]
    return kept.size_bytes if counter in (HEAP, MAPPED) else kept.blocks


def _explained(
    work: Work,
    counter: int,
    examination: Examination,
    ledger: Ledger,
    seconds: float,
    is_unbounded: bool = False,
) -> Cause:
    """The cause; a unit that fails when it is run once more for it leaks all the same."""
    # Most runs find nothing to explain.
    with originals.in_place():
        from pytest_leakguard.explain.explainer import Cause, explain
        from pytest_leakguard.explain.probe import Evidence, Probe
        from pytest_leakguard.programs.symbolize import named

    probe = Probe(
        work,
        work,
        ledger.begin_unjudged,
        ledger.tracker,
        ledger.reader,
        named,
        seconds,
        ledger.counts_interned,
        lambda: ledger.followed.containers,
    )
    old_run, calls = examination.old_run
    evidence = Evidence(
        counter,
        amount_per_run(counter, examination) or 1.0,
        old_run,
        calls,
        examination.share,
        is_unbounded,
        has_objects=counter != HEAP or BLOCKS in examination.series,
    )
    try:
        with ledger.uncollected():
            return explain(probe, evidence)
    except OutOfRoom as problem:
        Collector.unfreeze()
        return Cause(details=(f"no explanation, which takes more runs: {problem}",))
    except Exception as problem:
        Collector.unfreeze()
        told = f"{type(problem).__name__}: {problem}"[:300]
        detail = f"no explanation: it failed when it was run once more to find the line: {told}"
        return Cause(details=(detail,))


def within_budget(check: Check, finding: Finding, budget_bytes: float) -> Check:
    """``check`` with the finding, or with a note when it is memory within the budget per run."""
    is_memory = finding.kind in (LeakKind.PYTHON_OBJECTS, LeakKind.GROWTH, LeakKind.MAPPINGS)
    if is_memory and finding.size_bytes and finding.size_bytes <= budget_bytes:
        note = f"grows by {finding.size_bytes} bytes per run, within its budget of {budget_bytes:g}"
        return replace(check, notes=(*check.notes, note))
    return replace(check, findings=(finding,))


def finding_of(counter: int, examination: Examination, cause: Cause, check_id: str) -> Finding:
    """The leak by its name; its size is that of one run."""
    kind = COUNTERS[counter].kind
    own = cause.site.own
    return Finding(
        fingerprint=fingerprint.of_names(kind.value, _names(cause, check_id)),
        kind=kind,
        size_bytes=size_of(examination),
        blocks=blocks_of(counter, examination),
        stack=cause.site.reading_order,
        holders=cause.holders,
        held_by=cause.held_by,
        checks=(check_id,),
        sites=(f"{own.file}:{own.line}",) if own else (),
        details=(
            pace(counter, examination, cause.rhythm),
            *_behind(counter, examination),
            *_written_on(examination),
            *_ever_more(counter, examination),
            *cause.details,
        ),
    )


def _names(cause: Cause, check_id: str) -> tuple[str, ...]:
    """The name of the cause; of the test where neither line nor holder tells it from others.

    Accepting one leak would otherwise accept all that nobody can explain.
    """
    has_line = cause.site.own is not None or cause.site.library is not None
    return cause.names if has_line or cause.is_held else (check_id, *cause.names[1:])


def _behind(counter: int, examination: Examination) -> tuple[str, ...]:
    """How much of what the objects keep is not Python's own memory."""
    behind = sum(
        examination.per_run[at].size_bytes for at in (HEAP, MAPPED) if at in examination.per_run
    )
    if counter in (HEAP, MAPPED) or behind < 1:
        return ()
    return (f"{behind:,.0f} of the bytes per run are native memory that goes with it",)


def _written_on(examination: Examination) -> tuple[str, ...]:
    """That the size depends on how many runs follow, which is not counted."""
    text = "every later run makes it larger, which is not counted: the size is what one run adds"
    return (text,) if examination.is_written_on else ()


def _ever_more(counter: int, examination: Examination) -> tuple[str, ...]:
    """That one run's size is that of the first."""
    series = examination.series.get(counter, ())
    if examination.is_rare or not is_ever_more(series) or is_even(series):
        return ()
    first, last = examination.per_run[counter], series[-2]
    return (
        f"each run keeps more than those before: {first.blocks:,.0f} blocks in the first, "
        f"{last.blocks / last.calls:,.0f} after {examination.runs:,} runs; "
        "the size is that of the first",
    )


def size_of(examination: Examination) -> int:
    """Bytes that one run keeps, Python's, native and mapped together.

    Exact where all runs keep as much.
    """
    size = examination.size_bytes
    if all(examination.per_run[at].is_exact for at in examination.per_run if at in MEMORY):
        return math.ceil(size)
    return math.ceil(size / _GRAIN_BYTES) * _GRAIN_BYTES


def blocks_of(counter: int, examination: Examination) -> int:
    """Blocks, or things that are scarce, that one run keeps."""
    if COUNTERS[counter].is_resource:
        blocks = examination.per_run[counter].blocks
    else:
        blocks = sum(examination.per_run[at].blocks for at in MEMORY if at in examination.per_run)
    return max(1, math.ceil(blocks - EVENT_SLACK))


def pace(counter: int, examination: Examination, rhythm: Rhythm | None = None) -> str:
    """``+4 blocks per run over 25,570 runs``, ``+2 blocks (64 bytes) in every 40th run ...``."""
    unit = COUNTERS[counter].unit
    over = f"over {examination.runs:,} runs"
    if rhythm is not None and rhythm.every > 1:
        return f"{_one_loss(counter, unit, rhythm)} in every {ordinal(rhythm.every)} run {over}"
    amount = amount_per_run(counter, examination)
    number = f"{amount:+,.0f}" if amount == int(amount) else f"{amount:+,.3g}"
    return f"{number} {_as_counted(unit, amount)} per run {over}"


def _as_counted(unit: str, amount: float) -> str:
    """``block`` for one, ``blocks`` for any other number of them."""
    return singular(unit) if amount == 1 else unit


def _one_loss(counter: int, unit: str, rhythm: Rhythm) -> str:
    if counter in (HEAP, MAPPED):
        return f"{rhythm.size_bytes:+,} {_as_counted(unit, rhythm.size_bytes)}"
    size = f" ({rhythm.size_bytes:,} bytes)" if rhythm.size_bytes else ""
    return f"{rhythm.blocks:+,} {_as_counted(unit, rhythm.blocks)}{size}"


def growth_of(examination: Examination) -> tuple[Growth, ...]:
    """One entry for each counter that was suspected, and the two of memory always."""
    counters = sorted({BLOCKS, HEAP, *examination.series})
    return tuple(_growth(counter, examination) for counter in counters)


def _growth(counter: int, examination: Examination) -> Growth:
    samples = _samples(counter, examination.series.get(counter, ()))
    leaks = counter in examination.per_run
    rate = amount_per_run(counter, examination) if leaks else 0.0
    shape = Shape.LEAK if leaks else Shape.STABLE
    if examination.undecided and counter in examination.series:
        shape = Shape.UNDECIDED
    return Growth(
        COUNTERS[counter].metric,
        shape,
        rate,
        rate,
        rate,
        examination.runs,
        _thinned(samples),
        unit=COUNTERS[counter].unit,
        rise=samples[-1][1] if samples else 0.0,
        detectable_per_iteration=1.0,
    )


def _samples(counter: int, series: tuple[Kept, ...]) -> tuple[tuple[float, float], ...]:
    """What had piled up after how many runs."""
    calls, total = 0, 0.0
    samples = []
    for kept in series:
        calls += kept.calls
        is_bytes = counter in (HEAP, MAPPED)
        total += kept.size_bytes + kept.grown_bytes if is_bytes else kept.blocks
        samples.append((float(calls), total))
    return tuple(samples)


def _thinned(series: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    step = max(1, math.ceil(len(series) / MOST_POINTS))
    return (*series[:-1:step], series[-1]) if series else ()
