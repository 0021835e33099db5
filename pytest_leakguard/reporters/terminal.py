"""The verdict as lines for a terminal.

Root causes come first, then what could not be answered, then what to type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pytest_leakguard.core.checks import MEMORY_ERROR, Check, Outcome
from pytest_leakguard.core.fingerprint import callers
from pytest_leakguard.core.leaks import Finding, Frame, LeakKind, Status
from pytest_leakguard.core.patterns import IGNORED
from pytest_leakguard.core.runtimes import keeps_interior_pointers
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
from pytest_leakguard.verdict import Judged, Policy, Verdict, fails, hanging, root_causes

MOST_CALLS = 8
"""Calls shown of a stack; a fingerprint takes no more either."""
MOST_IN_FULL = 20
"""Leaks shown with their calls, about two screens; the largest come first."""
MOST_LEAKS = 100
"""Leaks shown at all, the others in a line each; the report has every one."""
MOST_CHECKS = 5
"""Checks listed for one leak; the report has all of them."""
_MOST_KEYS = 5
"""Keys of the baseline listed in one line."""
_MOST_OUTPUT_LINES = 3
"""Lines of a target's own output in the section at the end of a run."""
_MOST_OUTPUT_LINES_OF_A_TEST = 10
"""The same in the text of one failing test, which nobody has to share a screen with."""
_INTERIOR = (
    "Python and Rust keep pointers into the middle of blocks, which tools call possibly lost; "
    "name possibly_lost among the kinds to fail for them"
)
WORDS = {
    Outcome.CLEAN: "clean",
    Outcome.LEAK: "leaking",
    Outcome.INCONCLUSIVE: "inconclusive",
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
    """The section at the end of a run.

    With ``verbosity`` below 0 it is only what fails and the last line.
    """
    failing = [finding for finding in verdict.findings if fails(finding, policy)]
    yield from _leaks(failing, verdict, root, verbosity)
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
    for note in verdict.notes:
        yield Line(f"note: {one_line(note)}", "yellow")
    if failing:
        yield Line(f'next: fix it, or accept it with  {how_to_accept}="why it may stay"')
    yield last_line(verdict)


def _leaks(
    failing: list[Finding], verdict: Verdict, root: Path | None, verbosity: int
) -> Iterator[Line]:
    """What fails, the largest in full; all of it only where that was asked for."""
    causes, through = root_causes(failing), Through(failing)
    in_full = len(causes) if verbosity > 0 else MOST_IN_FULL
    for finding in causes[:in_full]:
        yield from finding_lines(finding, through, verdict, root)
    for finding in causes[in_full:MOST_LEAKS]:
        where = f" at {site(finding, root)}" if finding.rate is None else ""
        name = f"[{finding.status}] {finding.fingerprint}"
        yield Line(f"LEAK  {headline(finding)}{where}  {name}", "red")
    if rest := causes[max(in_full, MOST_LEAKS) :]:
        yield Line(
            f"LEAK  and {len(rest):,} more, {_total(rest)}; -v shows them, --report=DIR keeps them",
            "red",
        )


class Through:
    """What was lost because something else was."""

    def __init__(self, failing: Sequence[Finding]) -> None:
        self._by_root = hanging(failing)

    def of(self, finding: Finding) -> Iterator[str]:
        """A line for each finding that was lost through this one."""
        if finding.kind is LeakKind.DEFINITELY_LOST:
            for other in self._by_root.get(finding.fingerprint, ()):
                what = amount(other.size_bytes, other.blocks)
                yield f"and through it {what} ({other.fingerprint})"


def last_line(verdict: Verdict) -> Line:
    """The verdict in one line, with what is wrong with the run as a whole."""
    also = "".join(f"; {one_line(problem)}" for problem in verdict.problems)
    colour = "red" if verdict.has_failed else "green"
    if verdict.is_mostly_unrepeatable:
        also += "; most tests could not be repeated, so they were not checked: -v says why"
        colour = "red" if verdict.has_failed else "yellow"
    return Line(f"{in_words(verdict)}{also}", colour)


def in_words(verdict: Verdict) -> str:
    """``FAIL leakguard: 1 clean, 2 leaking``; no text of a target in it."""
    counts = ", ".join(
        f"{count} {WORDS[outcome]}" for outcome, count in verdict.summary.items() if count
    )
    if not verdict.was_measured and not verdict.summary[Outcome.INCONCLUSIVE]:
        return f"FAIL leakguard: nothing was measured{f' ({counts})' if counts else ''}"
    return f"{'FAIL' if verdict.has_failed else 'ok'} leakguard: {counts}"


def finding_lines(
    finding: Finding, through: Through, verdict: Verdict, root: Path | None
) -> Iterator[Line]:
    """One leak with its calls, its holders, where it was seen and how to see it again.

    The headline comes first.
    """
    yield Line(f"LEAK  {headline(finding)}  [{finding.status}] {finding.fingerprint}", "red")
    if finding.rate is None:
        yield Line(f"      at {site(finding, root)}")
    for frame in _calls(finding):
        yield Line(f"         from {place(frame, root)}")
    for detail in finding.details:
        yield Line(f"      {one_line(detail)}")
    if finding.rate is not None:
        for text in _forecast(finding, verdict):
            yield Line(f"      {indented(text)}")
    if finding.way:
        yield Line(f"      held by {one_line(finding.way)}")
    for text in through.of(finding):
        yield Line(f"      {text}")
    if finding.status is not Status.NEW and finding.reason:
        yield Line(f"      {finding.status}: {one_line(finding.reason)}{_owner(finding)}")
    yield from _checks(finding, verdict)


def headline(finding: Finding) -> str:
    """What leaks and how much, in one line."""
    if finding.kind is LeakKind.FILE_DESCRIPTORS and not finding.size_bytes and not finding.rate:
        return f"{kind(finding.kind)}: {finding.blocks:,} left open"
    if finding.rate is None:
        return f"{kind(finding.kind)}: {amount(finding.size_bytes, finding.blocks)}"
    rate = finding.rate
    low, high = quantity(rate.low, rate.unit), quantity(rate.high, rate.unit)
    pace = quantity(rate.per_iteration, rate.unit)
    return one_line(f"{kind(finding.kind)}: {rate.metric} {pace} per request [{low}, {high}]")


def leaked(check: Check, policy: Policy) -> str:
    """What of this check fails, all sizes together; empty when nothing does."""
    sized: list[Finding] = []
    growing: list[Finding] = []
    for finding in check.findings:
        if fails(finding, policy):
            (sized if finding.rate is None else growing).append(finding)
    texts = [headline(finding) for finding in growing]
    if sized:
        texts.insert(0, _total(sized))
    return "; ".join(texts)


def _total(findings: Sequence[Finding]) -> str:
    size_bytes = sum(finding.size_bytes for finding in findings)
    return amount(size_bytes, sum(finding.blocks for finding in findings))


def _forecast(finding: Finding, verdict: Verdict) -> Iterator[str]:
    for judged in verdict.checks:
        if judged.check.id in finding.checks and judged.check.diagnosis:
            yield from growth_text.forecast(judged.check.diagnosis)


def _diagnosis(check: Check) -> Iterator[str]:
    if check.diagnosis is not None:
        yield one_line(growth_text.head(check.diagnosis, check.growth))
        for text in growth_text.lines(check.diagnosis, check.growth):
            yield f"    {text}"


def _calls(finding: Finding) -> tuple[Frame, ...]:
    return callers(finding.stack)[:MOST_CALLS]


def _owner(finding: Finding) -> str:
    return f" (owner {one_line(finding.owner)})" if finding.owner else ""


def _checks(finding: Finding, verdict: Verdict) -> Iterator[Line]:
    for check_id in finding.checks[:MOST_CHECKS]:
        yield Line(f"      in {one_line(check_id)}")
    if len(finding.checks) > MOST_CHECKS:
        yield Line(f"      and in {len(finding.checks) - MOST_CHECKS} more")
    for judged in verdict.checks:
        if judged.check.id == finding.checks[0]:
            if judged.check.reproduce:
                yield Line(f"      reproduce: {one_line(judged.check.reproduce)}")
            return


def _inconclusive(judged: Judged) -> Iterator[Line]:
    yield Line(f"INCONCLUSIVE  {one_line(judged.check.id)} ({one_line(judged.check.tool)})", "red")
    for reason in judged.reasons:
        yield Line(f"      {one_line(reason)}")
    if judged.check.findings:
        count = len(judged.check.findings)
        yield Line(f"      seen until then: {count} leak(s), listed with the others")
    for text in judged.check.output.strip().splitlines()[-_MOST_OUTPUT_LINES:]:
        yield Line(f"      | {printable(text)}")


def _remainder(verdict: Verdict, failing: list[Finding]) -> Iterator[Line]:
    failed = {finding.fingerprint for finding in failing}
    accepted: list[Finding] = []
    ignored: list[Finding] = []
    others: list[Finding] = []
    for finding in verdict.findings:
        if finding.status is Status.KNOWN:
            accepted.append(finding)
        elif finding.status is Status.NEW and finding.fingerprint not in failed:
            (ignored if finding.reason.startswith(IGNORED) else others).append(finding)
    if accepted:
        size_bytes = sum(finding.size_bytes for finding in accepted)
        yield Line(f"accepted: {len(accepted)} known leak(s), {size_bytes:,} bytes")
    yield from _ignored(ignored)
    for judged in verdict.checks:
        for note in judged.check.notes:
            if note.startswith(MEMORY_ERROR):
                yield Line(f"not failing: {one_line(note)}", "yellow")
    yield from _not_failing(others)


def _ignored(findings: list[Finding]) -> Iterator[Line]:
    """By the pattern that they are ignored by."""
    by_reason: dict[str, list[Finding]] = {}
    for finding in findings:
        by_reason.setdefault(one_line(finding.reason), []).append(finding)
    for reason, those in list(by_reason.items())[:_MOST_KEYS]:
        yield Line(f"{reason} ({len(those)} leak(s), {_total(those)})")
    if len(by_reason) > _MOST_KEYS:
        yield Line(f"and by {len(by_reason) - _MOST_KEYS} more pattern(s)")


def _not_failing(findings: list[Finding]) -> Iterator[Line]:
    by_kind: dict[LeakKind, list[Finding]] = {}
    for finding in findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    for leak_kind, those in by_kind.items():
        place_count = f"{len(those)} place(s)"
        yield Line(f"not failing: {kind(leak_kind)} {_total(those)} at {place_count}")
        if leak_kind is LeakKind.POSSIBLY_LOST and any(map(_is_of_interior, those)):
            yield Line(f"      {_INTERIOR}")


def _is_of_interior(finding: Finding) -> bool:
    return keeps_interior_pointers(finding.stack)


def _baseline(verdict: Verdict) -> Iterator[Line]:
    if verdict.fixed:
        keys = ", ".join(verdict.fixed[:_MOST_KEYS])
        if len(verdict.fixed) > _MOST_KEYS:
            keys += " ..."
        prune = "pytest --leakguard --leakguard-prune"
        yield Line(f"fixed: {keys} no longer leak(s); remove with  {prune}", "yellow")
    if verdict.expired:
        keys = ", ".join(one_line(key) for key in verdict.expired[:_MOST_KEYS])
        yield Line(f"expired: {keys}", "yellow")
    if verdict.not_checked:
        count = len(verdict.not_checked)
        yield Line(f"not checked: {count} accepted leak(s) of targets that did not run whole")


def _services(verdict: Verdict) -> Iterator[Line]:
    """What was seen of services that pass: how they grow, and what would have shown."""
    for judged in verdict.checks:
        diagnosis = judged.check.diagnosis
        if diagnosis and judged.outcome is Outcome.CLEAN:
            head = one_line(growth_text.head(diagnosis, judged.check.growth))
            yield Line(f"service {one_line(judged.check.id)}: {head}")
            for text in growth_text.sensitivity(diagnosis, judged.check.growth):
                yield Line(f"      {one_line(text)}")


def _skipped(verdict: Verdict) -> Iterator[Line]:
    reasons: dict[str, None] = {}
    for judged in verdict.checks:
        if judged.outcome is Outcome.SKIPPED:
            reasons.update(dict.fromkeys(judged.reasons))
    for reason in reasons:
        yield Line(f"skipped: {one_line(reason)}", "yellow")


def _all_checks(verdict: Verdict) -> Iterator[Line]:
    for judged in verdict.checks:
        check = judged.check
        notes = f" ({one_line('; '.join(check.notes))})" if check.notes else ""
        yield Line(f"{judged.outcome:<14} {one_line(check.id)} [{one_line(check.tool)}]{notes}")
        if judged.outcome is Outcome.NOT_REPEATABLE:
            yield Line(f"               {one_line(check.not_repeatable)}", "yellow")


def failure_text(
    judged: Judged,
    policy: Policy,
    root: Path | None = None,
    reported: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """What a failing test says: its leaks and why there may be more.

    ``reported`` are the tests that have said all about a leak, by its fingerprint: once is enough
    for a thousand tests.
    """
    failing = [finding for finding in judged.check.findings if fails(finding, policy)]
    lines: list[str] = []
    causes, through = root_causes(failing), Through(failing)
    for finding in causes[:MOST_IN_FULL]:
        where = f" at {site(finding, root)}" if finding.rate is None else ""
        lines.append(f"{headline(finding)}{where}")
        if finding.fingerprint in reported:
            first = one_line(reported[finding.fingerprint])
            lines.append(f"    {finding.fingerprint}, as in {first}")
            continue
        lines.extend(f"    from {place(frame, root)}" for frame in _calls(finding))
        lines.extend(f"    {one_line(detail)}" for detail in finding.details)
        if finding.way:
            lines.append(f"    held by {one_line(finding.way)}")
        lines.extend(f"    {text}" for text in through.of(finding))
        if finding.status is not Status.NEW:
            lines.append(f"    {finding.status}: {one_line(finding.reason)}{_owner(finding)}")
    if rest := causes[MOST_IN_FULL:]:
        lines.append(f"and {len(rest):,} more, {_total(rest)}; the report has them all")
    lines.extend(indented(line) for line in _diagnosis(judged.check))
    if judged.reasons:
        lines.append("inconclusive:" if judged.outcome is Outcome.INCONCLUSIVE else "besides:")
        lines.extend(f"    {one_line(reason)}" for reason in judged.reasons)
    output = judged.check.output.strip()
    if judged.outcome is Outcome.INCONCLUSIVE and output:
        lines.append("last output on standard error:")
        for text in output.splitlines()[-_MOST_OUTPUT_LINES_OF_A_TEST:]:
            lines.append(f"    | {printable(text)}")
    if judged.check.reproduce:
        lines.append(f"reproduce: {one_line(judged.check.reproduce)}")
    return "\n".join(lines)
