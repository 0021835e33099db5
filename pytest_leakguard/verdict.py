"""The only place that decides. Exit status, terminal and every report read what it returns."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_leakguard.baseline.compare import Baseline, Comparison, compare
from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.fingerprint import is_nameless, own_names
from pytest_leakguard.core.leaks import Finding, LeakKind, Status
from pytest_leakguard.core.text import counted

CLEAN, LEAKS, USAGE, INCONCLUSIVE = 0, 1, 2, 3
"""Exit statuses of the console script."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What fails a run besides a new leak."""

    is_strict: bool = False
    """Stale and expired entries and tests that cannot be repeated fail too."""
    is_accepting: bool = False
    """This run writes its leaks into the baseline, so they do not fail it."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One check with its answer."""

    check: Check
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    """Everything a reader needs to know beside the leaks."""

    @property
    def has_failed(self) -> bool:
        """Whether the test or program behind it must fail."""
        return self.outcome in (Outcome.LEAK, Outcome.INCONCLUSIVE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of a whole run."""

    checks: tuple[Judged, ...]
    findings: tuple[Finding, ...]
    """One per fingerprint over all checks, what fails first; sizes are the largest of any check."""
    summary: Mapping[Outcome, int]
    failing: tuple[Finding, ...] = ()
    """Those of ``findings`` that fail the build."""
    fixed: tuple[str, ...] = ()
    expired: tuple[str, ...] = ()
    prunable: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """Why the run as a whole fails although no single check does."""
    unanswered: tuple[str, ...] = ()
    """Those of ``problems`` that leave a question open.

    Such as a worker that crashed, a shard that is missing, or a report that could not be written.
    """
    notes: tuple[str, ...] = ()
    """What a reader of any answer of this run has to know, such as what was not looked for."""

    @property
    def exit_status(self) -> int:
        """Exit status of the console script: a proved leak outranks a question left open."""
        if self.summary[Outcome.LEAK]:
            return LEAKS
        if not self.is_conclusive:
            return INCONCLUSIVE
        return LEAKS if self.problems else CLEAN

    @property
    def is_conclusive(self) -> bool:
        """Whether every question of the run was answered, be the answer good or bad."""
        is_open = self.summary[Outcome.INCONCLUSIVE] or self.unanswered
        return self.was_measured and not is_open

    @property
    def was_measured(self) -> bool:
        """Whether any check gave any answer at all; a run that measured nothing is never green.

        A test that could not be repeated has given none.
        """
        return bool(self.summary[Outcome.CLEAN] or self.summary[Outcome.LEAK])

    @property
    def has_failed(self) -> bool:
        """Whether the build must fail."""
        return self.exit_status != CLEAN

    @property
    def is_mostly_unrepeatable(self) -> bool:
        """Whether most tests have no answer, since they do not pass twice."""
        unrepeatable = self.summary[Outcome.NOT_REPEATABLE]
        return unrepeatable > self.summary[Outcome.CLEAN] + self.summary[Outcome.LEAK]

    def with_unanswered(self, problems: tuple[str, ...]) -> Verdict:
        """The same verdict with more problems of the run as a whole, none of which is a leak."""
        return replace(
            self,
            problems=(*self.problems, *problems),
            unanswered=(*self.unanswered, *problems),
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which tests this run was to measure, as far as pytest knows; ids of tests."""

    ran_unchecked: tuple[str, ...] = ()
    """Ran, and no check was made in them."""
    never_ran: tuple[str, ...] = ()
    """Selected, and the run ended before their turn."""
    elsewhere: tuple[str, ...] = ()
    """Left to other shards by pytest-split."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a verdict follows from: all that a report may say and that ``report.json`` keeps."""

    checks: tuple[Check, ...]
    baseline: Baseline = field(default_factory=Baseline)
    judged_on: dt.date = dt.date.min
    """Decides which accepted leaks have expired."""
    policy: Policy = Policy()
    problems: tuple[str, ...] = ()
    """What the run as a whole could not answer, such as a worker that crashed."""
    notes: tuple[str, ...] = ()
    """What was left out on purpose."""
    selection: Selection = Selection()
    environment: Mapping[str, str] = field(default_factory=dict)
    """Python, platform and the like, for people."""
    root: Path | None = None
    """Directory that tests, sources and baseline are named relative to."""
    repository: Path | None = None
    """Root of the repository; the same as ``root`` unless the project is a part of it."""
    baseline_file: str = ""
    """Relative to the repository; empty when there is none."""
    compared: Comparison | None = None
    """What somebody else compared, where the baseline itself was not handed on."""

    def judge(self) -> Verdict:
        """The verdict of this run, the same wherever and whenever it is asked."""
        comparison = self.compared or compare(self.checks, self.baseline, self.judged_on)
        return replace(judge(comparison, self.policy, self.problems), notes=self.notes)


def judge(comparison: Comparison, policy: Policy, problems: tuple[str, ...] = ()) -> Verdict:
    """The verdict over all checks of a run.

    ``problems`` are what the run as a whole could not answer.
    """
    checks = tuple(judge_check(check, policy) for check in comparison.checks)
    counts = Counter(judged.outcome for judged in checks)
    strict_problems = _strict_problems(comparison, checks) if policy.is_strict else ()
    findings = _over_all(judged.check for judged in checks)
    return Verdict(
        checks=checks,
        findings=findings,
        failing=tuple(finding for finding in findings if fails(finding, policy)),
        summary={outcome: counts[outcome] for outcome in Outcome},
        fixed=comparison.fixed,
        expired=comparison.expired,
        prunable=comparison.prunable,
        not_checked=comparison.not_checked,
        problems=(*problems, *strict_problems),
        unanswered=problems,
    )


def judge_check(check: Check, policy: Policy) -> Judged:
    """The answer of one check whose findings carry their status."""
    if check.skipped:
        return Judged(check, Outcome.SKIPPED, (check.skipped,))
    if check.not_repeatable:
        return Judged(check, Outcome.NOT_REPEATABLE, (check.not_repeatable, *check.notes))
    failure = check.failure
    reasons = (*check.problems, *check.faults)
    if failure:
        reasons = (*reasons, failure)
    if check.problems:
        return Judged(check, Outcome.INCONCLUSIVE, reasons)
    if any(fails(finding, policy) for finding in check.findings):
        return Judged(check, Outcome.LEAK, reasons)
    if check.faults:
        return Judged(check, Outcome.INCONCLUSIVE, reasons)
    if failure:  # what a program did before it failed says nothing about what it does when it works
        return Judged(check, Outcome.INCONCLUSIVE, reasons)
    return Judged(check, Outcome.CLEAN, ())


def fails(finding: Finding, policy: Policy) -> bool:
    """Whether this finding alone fails the build."""
    match finding.status:
        case Status.KNOWN:
            return False
        case Status.EXPIRED:
            return policy.is_strict and not policy.is_accepting
        case Status.GROWN:  # an entry in the baseline asks to be held to, whatever the kind
            return not policy.is_accepting
        case Status.NEW:
            can_be_accepted = policy.is_accepting and not is_nameless(finding.fingerprint)
            return finding.is_gating and not can_be_accepted


def failing(verdict: Verdict, policy: Policy) -> tuple[Finding, ...]:
    """The findings that fail the build, in the order of the verdict."""
    return tuple(finding for finding in verdict.findings if fails(finding, policy))


def actionable(verdict: Verdict, policy: Policy) -> tuple[Finding, ...]:
    """What a reader must act on: all that fails, then what is no longer accepted."""
    findings = list(failing(verdict, policy))
    fingerprints = {finding.fingerprint for finding in findings}
    for finding in verdict.findings:
        if finding.status is Status.EXPIRED and finding.fingerprint not in fingerprints:
            findings.append(finding)
    return tuple(findings)


def root_causes(failing: Sequence[Finding]) -> list[Finding]:
    """Without the blocks that were lost through another one.

    A report lists those with the block that leads to them.
    """
    hung = {finding.fingerprint for found in hanging(failing).values() for finding in found}
    return [finding for finding in failing if finding.fingerprint not in hung]


def hanging(failing: Sequence[Finding]) -> dict[str, list[Finding]]:
    """By the fingerprint of a lost block what was lost through it, as far as that can be told.

    That is what has the same stack, as in a linked list, and what was seen only where that block is
    the only one that is definitely lost.
    """
    by_names: dict[tuple[str, ...], Finding] = {}
    by_check: dict[str, list[Finding]] = {}
    for finding in failing:
        if finding.kind is LeakKind.DEFINITELY_LOST:
            by_names.setdefault(own_names(finding.stack), finding)
            for check in finding.checks:
                by_check.setdefault(check, []).append(finding)
    hung: dict[str, list[Finding]] = {}
    for finding in failing:
        if finding.kind is LeakKind.INDIRECTLY_LOST:
            root = by_names.get(own_names(finding.stack)) or _only_root(finding, by_check)
            if root is not None:
                hung.setdefault(root.fingerprint, []).append(finding)
    return hung


def _only_root(finding: Finding, by_check: Mapping[str, list[Finding]]) -> Finding | None:
    roots = {root.fingerprint: root for check in finding.checks for root in by_check.get(check, ())}
    is_everywhere = all(len(by_check.get(check, ())) == 1 for check in finding.checks)
    return next(iter(roots.values())) if len(roots) == 1 and is_everywhere else None


def _over_all(checks: Iterable[Check]) -> tuple[Finding, ...]:
    found: dict[str, Finding] = {}
    for check in checks:
        for finding in check.findings:
            here = replace(finding, checks=(check.id,))
            before = found.get(finding.fingerprint)
            found[finding.fingerprint] = _joined(before, here) if before else here
    return tuple(sorted(found.values(), key=_importance))


def _importance(finding: Finding) -> tuple[bool, int, int, str]:
    """Sorts what may fail first, large before small; the name decides between equals."""
    order = {Status.GROWN: 0, Status.NEW: 0, Status.EXPIRED: 1, Status.KNOWN: 2}
    return (
        not finding.is_gating,
        order[finding.status],
        -finding.size_bytes,
        finding.fingerprint,
    )


def _joined(first: Finding, second: Finding) -> Finding:
    """The same leak seen in two checks: the worse status, the larger size, all checks behind it."""
    rank = [Status.KNOWN, Status.EXPIRED, Status.NEW, Status.GROWN]
    worse = max(
        (first, second),
        key=lambda finding: (rank.index(finding.status), finding.size_bytes),
    )
    return replace(
        worse,
        size_bytes=max(first.size_bytes, second.size_bytes),
        blocks=max(first.blocks, second.blocks),
        is_gating=first.is_gating or second.is_gating,
        checks=tuple(dict.fromkeys((*first.checks, *second.checks))),
        sites=tuple(sorted({*first.sites, *second.sites})),
    )


def _strict_problems(comparison: Comparison, checks: tuple[Judged, ...]) -> tuple[str, ...]:
    fixed, expired = len(comparison.fixed), len(comparison.expired)
    unrepeatable = 0
    for judged in checks:
        if judged.outcome is Outcome.NOT_REPEATABLE:
            unrepeatable += 1
    problems = []
    if fixed:
        are = "is" if fixed == 1 else "are"
        problems.append(f"{counted(fixed, 'accepted leak')} {are} fixed: prune the baseline")
    if expired:
        have = "has" if expired == 1 else "have"
        problems.append(f"{counted(expired, 'accepted leak')} {have} expired")
    if unrepeatable:
        problems.append(f"{counted(unrepeatable, 'test')} could not be repeated")
    return tuple(problems)
