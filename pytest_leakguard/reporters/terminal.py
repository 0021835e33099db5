"""The verdict as lines for a terminal: root causes first, then what could not be answered, then what to type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.fingerprint import callers, names
from pytest_leakguard.core.leaks import Finding, Frame, LeakKind, Status
from pytest_leakguard.core.text import (
    amount,
    indented,
    kind,
    one_line,
    place,
    printable,
    quantity,
    site,
)
from pytest_leakguard.reporters import growth_text
from pytest_leakguard.verdict import Judged, Policy, Verdict, fails

MOST_CALLS = 8
MOST_CHECKS = 5
WORDS = {
    Outcome.CLEAN: "clean",
    Outcome.LEAK: "leaking",
    Outcome.INCONCLUSIVE: "without an answer",
    Outcome.SKIPPED: "skipped",
    Outcome.NOT_REPEATABLE: "not repeatable",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line and its colour: ``red``, ``yellow``, ``green`` or none."""

    text: str = ""
    colour: str = ""


def render(
    verdict: Verdict,
    policy: Policy,
    root: Path | None = None,
    verbosity: int = 0,
    how_to_accept: str = "pytest --leakguard --leakguard-accept",
) -> Iterator[Line]:
    """The section at the end of a run; with ``verbosity`` below 0 only what fails and the last line."""
    failing = [finding for finding in verdict.findings if fails(finding, policy)]
    for finding in root_causes(failing):
        yield from finding_lines(finding, failing, verdict, root)
    for judged in verdict.checks:
        if judged.outcome is Outcome.INCONCLUSIVE:
            yield from _inconclusive(judged)
        elif judged.outcome is Outcome.LEAK and judged.reasons:
            yield Line(
                f"ALSO  {one_line(judged.check.id)}: {one_line('; '.join(judged.reasons))}",
                "yellow",
            )
    if verbosity >= 0:
        yield from _remainder(verdict, failing)
        yield from _baseline(verdict)
        yield from _services(verdict)
        yield from _skipped(verdict)
        if verbosity > 0:
            yield from _all_checks(verdict)
    if failing:
        yield Line(f'next: fix it, or accept it with  {how_to_accept}="why it may stay"')
    yield last_line(verdict)


def last_line(verdict: Verdict) -> Line:
    """The verdict in one line, with what is wrong with the run as a whole."""
    also = "".join(f"; {one_line(problem)}" for problem in verdict.problems)
    return Line(f"{in_words(verdict)}{also}", "red" if verdict.has_failed else "green")


def in_words(verdict: Verdict) -> str:
    """``FAIL leakguard: 1 clean, 2 leaking``; no text of a target in it."""
    counts = ", ".join(
        f"{count} {WORDS[outcome]}" for outcome, count in verdict.summary.items() if count
    )
    if not verdict.was_measured and not verdict.summary[Outcome.INCONCLUSIVE]:
        return f"FAIL leakguard: nothing was measured{f' ({counts})' if counts else ''}"
    return f"{'FAIL' if verdict.has_failed else 'ok'} leakguard: {counts}"


def root_causes(failing: Sequence[Finding]) -> list[Finding]:
    """Without the blocks that were lost through another one of the same stack: those are told with it."""
    lost = {names(finding.stack) for finding in failing if finding.kind is LeakKind.DEFINITELY_LOST}
    return [
        f for f in failing if f.kind is not LeakKind.INDIRECTLY_LOST or names(f.stack) not in lost
    ]


def finding_lines(
    finding: Finding, failing: list[Finding], verdict: Verdict, root: Path | None
) -> Iterator[Line]:
    """One leak with its calls, what holds it, where it was seen and how to see it again; the headline first."""
    yield Line(f"LEAK  {headline(finding)}  [{finding.status}] {finding.fingerprint}", "red")
    if finding.rate is None:
        yield Line(f"      at {site(finding, root)}")
    for frame in _calls(finding):
        yield Line(f"         from {place(frame, root)}")
    yield from (Line(f"      {one_line(detail)}") for detail in finding.details)
    if finding.rate is not None:
        yield from (Line(f"      {indented(told)}") for told in _forecast(finding, verdict))
    for holder in finding.holders:
        yield Line(f"      held by {one_line(holder)}")
    yield from (Line(f"      {text}") for text in finding_through(finding, failing))
    if finding.status is not Status.NEW and finding.reason:
        yield Line(f"      {finding.status}: {one_line(finding.reason)}{_owner(finding)}")
    yield from _checks(finding, verdict)


def headline(finding: Finding) -> str:
    """What leaks and how much, in one line."""
    if finding.rate is None:
        return f"{kind(finding.kind)}: {amount(finding.size_bytes, finding.blocks)}"
    rate = finding.rate
    low, high = (
        quantity(rate.low, rate.unit),
        quantity(rate.high, rate.unit),
    )
    pace = quantity(rate.per_iteration, rate.unit)
    return one_line(f"{kind(finding.kind)}: {rate.metric} {pace} per request [{low}, {high}]")


def leaked(check: Check, policy: Policy) -> str:
    """What of this check fails, all sizes together; empty when nothing does."""
    failing = [finding for finding in check.findings if fails(finding, policy)]
    sized = [finding for finding in failing if finding.rate is None]
    total = (
        [amount(sum(one.size_bytes for one in sized), sum(one.blocks for one in sized))]
        if sized
        else []
    )
    return "; ".join(
        [*total, *(headline(finding) for finding in failing if finding.rate is not None)]
    )


def _forecast(finding: Finding, verdict: Verdict) -> Iterator[str]:
    for judged in verdict.checks:
        if judged.check.id in finding.checks and judged.check.diagnosis:
            yield from growth_text.forecast(judged.check.diagnosis)


def _diagnosis(check: Check) -> Iterator[str]:
    if check.diagnosis is not None:
        yield one_line(growth_text.head(check.diagnosis, check.growth))
        yield from (f"    {told}" for told in growth_text.lines(check.diagnosis, check.growth))


def _calls(finding: Finding) -> tuple[Frame, ...]:
    return callers(finding.stack)[:MOST_CALLS]


def finding_through(finding: Finding, failing: Sequence[Finding]) -> Iterator[str]:
    """What was lost because ``finding`` was."""
    if finding.kind is not LeakKind.DEFINITELY_LOST:
        return
    for other in failing:
        if other.kind is LeakKind.INDIRECTLY_LOST and names(other.stack) == names(finding.stack):
            yield f"and through it {amount(other.size_bytes, other.blocks)} ({other.fingerprint})"


def _owner(finding: Finding) -> str:
    return f" (owner {one_line(finding.owner)})" if finding.owner else ""


def _checks(finding: Finding, verdict: Verdict) -> Iterator[Line]:
    for check_id in finding.checks[:MOST_CHECKS]:
        yield Line(f"      in {one_line(check_id)}")
    if len(finding.checks) > MOST_CHECKS:
        yield Line(f"      and in {len(finding.checks) - MOST_CHECKS} more")
    commands = [
        judged.check.reproduce for judged in verdict.checks if judged.check.id == finding.checks[0]
    ]
    if commands and commands[0]:
        yield Line(f"      reproduce: {one_line(commands[0])}")


def _inconclusive(judged: Judged) -> Iterator[Line]:
    yield Line(f"INCONCLUSIVE  {one_line(judged.check.id)} ({one_line(judged.check.tool)})", "red")
    for reason in judged.reasons:
        yield Line(f"      {one_line(reason)}")
    if judged.check.findings:
        yield Line(
            f"      seen until then: {len(judged.check.findings)} leak(s), listed with the others"
        )
    if judged.check.output.strip():
        yield from (
            Line(f"      | {printable(text)}")
            for text in judged.check.output.strip().splitlines()[-3:]
        )


def _remainder(verdict: Verdict, failing: list[Finding]) -> Iterator[Line]:
    failed = {finding.fingerprint for finding in failing}
    known = [f for f in verdict.findings if f.status is Status.KNOWN]
    if known:
        yield Line(
            f"accepted: {len(known)} known leak(s), {sum(f.size_bytes for f in known):,} bytes"
        )
    others = [f for f in verdict.findings if f.fingerprint not in failed and f.status is Status.NEW]
    for value in dict.fromkeys(f.kind for f in others):
        of_kind = [f for f in others if f.kind is value]
        total = amount(sum(f.size_bytes for f in of_kind), sum(f.blocks for f in of_kind))
        yield Line(f"not failing: {kind(value)} {total} at {len(of_kind)} place(s)")


def _baseline(verdict: Verdict) -> Iterator[Line]:
    if verdict.fixed:
        yield Line(
            f"fixed: {', '.join(verdict.fixed[:5])}{' ...' if len(verdict.fixed) > 5 else ''} "
            "no longer leak(s); remove with  pytest --leakguard --leakguard-prune",
            "yellow",
        )
    if verdict.expired:
        yield Line(f"expired: {', '.join(one_line(key) for key in verdict.expired[:5])}", "yellow")
    if verdict.not_checked:
        yield Line(
            f"not checked: {len(verdict.not_checked)} accepted leak(s) of targets that did not run whole"
        )


def _services(verdict: Verdict) -> Iterator[Line]:
    """What was seen of services that pass: how they grow, and what would have shown."""
    for judged in verdict.checks:
        diagnosis = judged.check.diagnosis
        if diagnosis and judged.outcome is Outcome.CLEAN:
            head = one_line(growth_text.head(diagnosis, judged.check.growth))
            yield Line(f"service {one_line(judged.check.id)}: {head}")
            yield from (
                Line(f"      {one_line(told)}")
                for told in growth_text.sensitivity(diagnosis, judged.check.growth)
            )


def _skipped(verdict: Verdict) -> Iterator[Line]:
    reasons = dict.fromkeys(
        reason for one in verdict.checks if one.outcome is Outcome.SKIPPED for reason in one.reasons
    )
    yield from (Line(f"skipped: {one_line(reason)}", "yellow") for reason in reasons)


def _all_checks(verdict: Verdict) -> Iterator[Line]:
    for judged in verdict.checks:
        notes = f" ({one_line('; '.join(judged.check.notes))})" if judged.check.notes else ""
        yield Line(
            f"{judged.outcome:<14} {one_line(judged.check.id)} [{one_line(judged.check.tool)}]{notes}"
        )


def failure_text(
    judged: Judged,
    policy: Policy,
    root: Path | None = None,
    told: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """What a failing test says: its leaks and why there may be more.

    ``told`` are the tests that have said all about a leak, by its fingerprint: once is enough for a thousand tests.
    """
    failing = [finding for finding in judged.check.findings if fails(finding, policy)]
    lines: list[str] = []
    for finding in root_causes(failing):
        where = f" at {site(finding, root)}" if finding.rate is None else ""
        lines.append(f"{headline(finding)}{where}")
        if finding.fingerprint in told:
            lines.append(f"    {finding.fingerprint}, as in {one_line(told[finding.fingerprint])}")
            continue
        lines.extend(f"    from {place(frame, root)}" for frame in _calls(finding))
        lines.extend(f"    {one_line(detail)}" for detail in finding.details)
        lines.extend(f"    held by {one_line(holder)}" for holder in finding.holders)
        lines.extend(f"    {text}" for text in finding_through(finding, failing))
        if finding.status is not Status.NEW:
            lines.append(f"    {finding.status}: {one_line(finding.reason)}{_owner(finding)}")
    lines.extend(indented(line) for line in _diagnosis(judged.check))
    if judged.reasons:
        lines.append("inconclusive:" if judged.outcome is Outcome.INCONCLUSIVE else "besides:")
        lines.extend(f"    {one_line(reason)}" for reason in judged.reasons)
    if judged.outcome is Outcome.INCONCLUSIVE and judged.check.output.strip():
        lines.append("last output on standard error:")
        lines.extend(
            f"    | {printable(text)}" for text in judged.check.output.strip().splitlines()[-10:]
        )
    if judged.check.reproduce:
        lines.append(f"reproduce: {one_line(judged.check.reproduce)}")
    return "\n".join(lines)
