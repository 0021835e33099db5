"""One measured test, program or service, and what the growth in it means."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pytest_leakguard.core.leaks import Finding, LeakKind, Totals
from pytest_leakguard.core.programs import SUCCESS, ExitStatus, Process, signal_name
from pytest_leakguard.core.shapes import Shape

MEMORY_ERROR = "memory error: "
"""How a problem, or a note, about a fault that is no leak begins."""


class Outcome(StrEnum):
    """The answer of one check. ``INCONCLUSIVE`` is never treated as ``CLEAN``."""

    CLEAN = "clean"
    LEAK = "leak"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"
    NOT_REPEATABLE = "not_repeatable"


SMALL_SUITE_TESTS = 100
"""Tests in a suite that is small enough to look in each for leaks that are not in every run."""


@dataclass(frozen=True, slots=True)
class Growth:
    """One judged series of a check."""

    metric: str
    shape: Shape
    per_iteration: float
    low: float
    high: float
    iterations: int
    samples: tuple[tuple[float, float], ...] = ()
    unit: str = "bytes"
    rise: float = 0.0
    """What was gained and kept, warm-up of the first twentieth left out."""
    detectable_per_iteration: float | None = None
    """The smallest leak that would have shown; ``None`` where none would have."""
    reason: str = ""
    """Why it is undecided, and what it would take."""
    evidence: tuple[str, ...] = ()
    """Which rule said what."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One of four explanations of growing memory, and what the run says about it."""

    letter: str
    """``A`` leak, ``B`` cache, ``C`` application logic (a burst), ``D`` fragmentation."""
    name: str
    speaks_for: tuple[str, ...] = ()
    speaks_against: tuple[str, ...] = ()
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """When a share of the memory limit is reached if the same traffic continues.

    ``None`` is never.
    """

    share: float
    requests: float | None
    rate_per_s: float
    """Production rate that the times are for; 0 when none was given."""
    seconds: float | None
    soonest_s: float | None
    latest_s: float | None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the growth of one run means as a whole."""

    shape: Shape
    metric: str
    """The series that decided."""
    per: str
    """What the x axis counts, in the singular: ``request``, ``second``, ``sample``."""
    iterations: int
    hypotheses: tuple[Hypothesis, ...] = ()
    settled_at: int | None = None
    """Iteration at which warm-up or filling had ended: nine tenths of what was kept were there."""
    marks: tuple[Mark, ...] = ()
    limit_bytes: int = 0
    current_bytes: int = 0
    stopped: str = ""
    """Why the run ended where it did."""
    facts: tuple[str, ...] = ()
    """Worth saying besides: which live heap was read, what cannot be seen."""


@dataclass(frozen=True, slots=True)
class Check:
    """One measured test, program or service, before any comparison with the baseline."""

    id: str
    kind: str
    """``test``, ``program`` or ``service``."""
    tool: str
    findings: tuple[Finding, ...] = ()
    problems: tuple[str, ...] = ()
    """Why it is inconclusive; empty when the evidence is whole."""
    faults: tuple[str, ...] = ()
    """Memory errors: they fail, whatever leaks were found beside them."""
    notes: tuple[str, ...] = ()
    exit: ExitStatus = SUCCESS
    expected_exit: int | None = 0
    """Exit status the target must end with; ``None`` when any will do."""
    duration_s: float = 0.0
    growth: tuple[Growth, ...] = ()
    diagnosis: Diagnosis | None = None
    """What ``growth`` means as a whole; only where a run of requests was judged."""
    skipped: str = ""
    not_repeatable: str = ""
    command: tuple[str, ...] = ()
    reproduce: str = ""
    """The one command that shows it again."""
    tool_version: str = ""
    totals: tuple[tuple[LeakKind, Totals], ...] = ()
    """Per kind, over all processes, blocks inherited by forked children counted once."""
    output: str = ""
    """Tail of what the target wrote to standard error."""
    location: tuple[str, int] | None = None
    """Test file and line, where annotations go when no frame is in the repository."""
    processes: tuple[Process, ...] = field(default=())

    @property
    def failure(self) -> str:
        """Why the target itself has failed, in words; empty when it ended as expected."""
        end, expected = self.exit, self.expected_exit
        if end.timed_out:
            return "the program did not end in time and was stopped"
        if expected is None:
            return ""
        if end.signal is not None:
            killed = f"the program was killed by signal {end.signal} ({signal_name(end.signal)})"
            return "" if expected == -end.signal else killed
        if end.code is not None and end.code != expected:
            return f"the program ended with exit status {end.code}, expected was {expected}"
        return ""

    @property
    def is_whole(self) -> bool:
        """Whether it ran to its end, so that what was not seen is not there."""
        is_open = self.problems or self.faults or self.failure
        return not (is_open or self.skipped or self.not_repeatable)
