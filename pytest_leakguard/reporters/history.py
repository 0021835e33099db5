"""What earlier reports say of a cause: since when it is there, and how it has grown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_leakguard.core.leaks import Finding
from pytest_leakguard.core.text import counted, one_line, quantity, size
from pytest_leakguard.verdict import Run

MOST_RUNS = 30
"""Earlier runs that are looked at, the latest; bars of more could not be told apart."""
_COMMIT_LETTERS = 10
"""Of a commit; as git itself shortens it in a repository of some size."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One leak in one run."""

    amount: float
    """Bytes, or what it grew by per request."""
    text: str


@dataclass(frozen=True, slots=True)
class Earlier:
    """One report from before."""

    when: str
    commit: str
    leaks: Mapping[str, Seen]
    """By fingerprint."""

    @classmethod
    def of(cls, run: Run) -> Earlier:
        """With every finding of the run, whether it failed or was accepted."""
        started = run.environment.get("started") or run.judged_on.isoformat()
        commit = run.environment.get("commit", "")[:_COMMIT_LETTERS]
        leaks = {finding.fingerprint: _seen(finding) for finding in run.judge().findings}
        return cls(one_line(started), one_line(commit), leaks)


def in_order(runs: Iterable[Run]) -> tuple[Earlier, ...]:
    """Oldest first, and only the latest where there are many."""
    earlier = sorted((Earlier.of(run) for run in runs), key=lambda one: one.when)
    return tuple(earlier[-MOST_RUNS:])


@dataclass(frozen=True, slots=True)
class Past:
    """One cause over the runs before this one."""

    summary: str
    points: tuple[tuple[Earlier, Seen | None], ...]
    now: Seen

    @property
    def first(self) -> str:
        """The first run that had it; empty where it is new."""
        for earlier, seen in self.points:
            if seen is not None:
                return earlier.when
        return ""

    def heights(self) -> tuple[float, ...]:
        """Of one bar per run, this one last, as shares of the largest."""
        amounts = [seen.amount if seen else 0.0 for _, seen in self.points]
        amounts.append(self.now.amount)
        largest = max(amounts) or 1.0
        return tuple(round(max(0.0, amount) / largest, 3) for amount in amounts)


def past_of(finding: Finding, history: Sequence[Earlier]) -> Past | None:
    """``None`` where no earlier report was given."""
    if not history:
        return None
    points = tuple((earlier, _found(finding, earlier)) for earlier in history)
    now = _seen(finding)
    having = [(earlier, seen) for earlier, seen in points if seen is not None]
    runs = counted(len(points), "earlier run")
    if not having:
        return Past(f"new: not in the {runs} given", points, now)
    first, before = having[0], having[-1][1]
    commit = f" ({first[0].commit})" if first[0].commit else ""
    change = "the same size as last" if before.text == now.text else f"last {before.text}"
    since = f"since {first[0].when}{commit}, in {len(having)} of {runs}"
    return Past(f"{since}; {change}, now {now.text}", points, now)


def gone(history: Sequence[Earlier], findings: Sequence[Finding]) -> tuple[str, ...]:
    """Fingerprints that the latest earlier run has and this one has not."""
    if not history:
        return ()
    here: set[str] = set()
    for finding in findings:
        here.update((finding.fingerprint, *finding.former))
    return tuple(sorted(set(history[-1].leaks) - here))


def _found(finding: Finding, earlier: Earlier) -> Seen | None:
    for name in (finding.fingerprint, *finding.former):
        if name in earlier.leaks:
            return earlier.leaks[name]
    return None


def _seen(finding: Finding) -> Seen:
    rate = finding.rate
    if rate is not None:
        pace = quantity(rate.per_iteration, rate.unit)
        return Seen(rate.per_iteration, one_line(f"{pace} per {rate.per}"))
    if finding.size_bytes:
        return Seen(float(finding.size_bytes), size(finding.size_bytes))
    return Seen(float(finding.blocks), counted(finding.blocks, "piece"))
