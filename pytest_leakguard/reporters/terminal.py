"""The verdict as lines for a terminal.

Root causes come first, then what could not be answered, then what to type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_leakguard.core.checks import (
    MEMORY_ERROR,
    SMALL_SUITE_TESTS,
    Check,
    Diagnosis,
    Growth,
    Outcome,
)
from pytest_leakguard.core.leaks import Finding, LeakKind, Status
from pytest_leakguard.core.patterns import IGNORED
from pytest_leakguard.core.runtimes import keeps_interior_pointers
from pytest_leakguard.core.text import (
    counted,
    indented,
    kind,
    one_line,
    printable,
)
from pytest_leakguard.reporters import growth_text
from pytest_leakguard.reporters.counts import amount_of, checks_of, sum_of
from pytest_leakguard.reporters.counts import in_words as in_words  # which others take from here
from pytest_leakguard.reporters.leak_text import (
    COLUMNS,
    UNBROKEN,
    Page,
    below,
    explained,
    in_one_line,
    title,
)
from pytest_leakguard.verdict import (
    Judged,
    Policy,
    Verdict,
    failing,
    fails,
    hanging,
    root_causes,
)

MOST_CALLS = 8
"""Calls shown of a stack; a fingerprint takes no more either."""
MOST_IN_FULL = 10
"""Leaks shown with their calls, about two screens; the largest come first."""
MOST_LEAKS = 50
"""Leaks shown at all, the others in a line each; the report has every one."""
MOST_OF_A_TEST = 5
"""Leaks named by one failing test; few have more than one."""
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


Told = Callable[[Diagnosis, Sequence[Growth]], Iterator[str]]
"""Says how something grew, in short or in full."""


@dataclass(frozen=True, slots=True)
class Door:
    """How the commands are spelled where this run was started."""

    accept: str = "pytest --leakguard --leakguard-accept"
    prune: str = "pytest --leakguard --leakguard-prune"
    all_leaks: str = "--leakguard-report=DIR (report.html, report.json)"
    """Where those are that the section has no room for."""


PYTEST = Door()


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
    door: Door = PYTEST,
    columns: int = COLUMNS,
    spent_s: float = 0.0,
) -> Iterator[Line]:
    """The section at the end of a run.

    With ``verbosity`` below 0 it has a line for each leak and each check without an answer, and the
    last line; from 1 on every leak in full and every check; from 2 on every call of a stack.
    ``spent_s`` is what screening has cost besides what the checks themselves tell.
    """
    causes = root_causes(failing(verdict, policy))
    page = Page.of(verdict, causes, root, columns, verbosity)
    yield from _leaks(causes, page, door)
    for judged in verdict.checks:
        if judged.outcome is Outcome.INCONCLUSIVE:
            yield from _inconclusive(judged, verbosity)
        elif judged.outcome is Outcome.LEAK and judged.reasons:
            reasons = one_line("; ".join(judged.reasons))
            yield Line(f"note: {one_line(judged.check.id)}: {reasons}", "yellow")
    if verbosity >= 0:
        yield from _remainder(verdict)
        yield from _baseline(verdict, door)
        yield from _services(verdict)
        yield from _skipped(verdict)
        yield from _out_of_reach(verdict)
        if verbosity > 0:
            yield from _all_checks(verdict, verbosity)
    for note in verdict.notes:
        yield Line(f"note: {one_line(note)}", "yellow")
    if page.command and verbosity >= 0:
        yield Line(f"To reproduce: {page.command}")
    if causes and verbosity >= 0:
        yield Line(f"To accept: {_how_to_accept(verdict, door)}")
    yield last_line(verdict, spent_s)


def _leaks(causes: list[Finding], page: Page, door: Door) -> Iterator[Line]:
    """What fails, the largest in full; all of it only where that was asked for."""
    in_full = len(causes) if page.verbosity > 0 else MOST_IN_FULL if page.verbosity == 0 else 0
    most = MOST_LEAKS if page.verbosity < 1 else len(causes)
    for number, finding in enumerate(causes[:most], start=1):
        if number > in_full:
            yield Line(f"{number}. {title(finding, page)}", "red")
            continue
        first, *others = explained(number, finding, page)
        yield Line(first, "red")
        yield from map(Line, others)
    rest = causes[most:]
    if rest:
        size_text = sum_of(rest, dict(page.checks))
        yield Line(f"and {counted(len(rest), 'more leak')} ({size_text})", "red")
    if len(causes) > in_full and page.verbosity >= 0:
        which = (
            f"leaks {in_full + 1:,} to {len(causes):,}" if in_full + 1 < len(causes) else "the last"
        )
        yield Line(f"For the calls and holders of {which}: -v, or {door.all_leaks}")


def _how_to_accept(verdict: Verdict, door: Door) -> str:
    """A command to copy; that of the console script has the program's own arguments."""
    if door.accept.startswith("pytest "):
        return f'{door.accept} "reason"'
    commands = {judged.check.reproduce for judged in verdict.checks if judged.check.reproduce}
    if len(commands) == 1:
        name, _, rest = one_line(commands.pop()).partition(" ")
        command, _, rest = rest.partition(" ")
        if name == "pytest-leakguard" and rest:
            return f'{name} {command} {door.accept} "reason" {rest}'
    return f'the same command with {door.accept} "reason"'


class Through:
    """What was lost because something else was."""

    def __init__(self, found: Sequence[Finding]) -> None:
        self._by_root = hanging(found)

    def of(self, finding: Finding) -> Iterator[str]:
        """A line for each finding that was lost through this one."""
        if finding.kind is LeakKind.DEFINITELY_LOST:
            for other in self._by_root.get(finding.fingerprint, ()):
                yield f"and through it {amount_of(other, '')} ({other.fingerprint})"


def last_line(verdict: Verdict, spent_s: float = 0.0) -> Line:
    """The verdict in one line, with its cost and what is wrong with the run as a whole."""
    also = _cost(verdict, spent_s)
    also += "".join(f"; {one_line(problem)}" for problem in verdict.problems)
    colour = "red" if verdict.has_failed else "green"
    if verdict.is_mostly_unrepeatable:
        also += "; most tests could not be repeated, so they were not checked: -v says why"
        colour = "red" if verdict.has_failed else "yellow"
    return Line(f"{in_words(verdict)}{also}", colour)


def _cost(verdict: Verdict, spent_s: float) -> str:
    """``; +2.1 s`` for what the checks of tests have added; the time that programs took."""
    tests_s = others_s = 0.0
    for judged in verdict.checks:
        if judged.check.kind == "test":
            tests_s += judged.check.duration_s
        else:
            others_s += judged.check.duration_s
    tests_s = max(tests_s, spent_s)
    texts = []
    if tests_s:
        texts.append(f"; +{max(tests_s, 0.1):.1f} s")
    if others_s:
        where = " in programs and services" if tests_s else ""
        texts.append(f"; {max(others_s, 0.1):.1f} s{where}")
    return "".join(texts)


def leaked(check: Check, policy: Policy) -> str:
    """What of this check fails, all sizes together; empty when nothing does."""
    return sum_of(_failing_in(check, policy), {check.id: check})


def _diagnosis(check: Check, told: Told = growth_text.lines) -> Iterator[str]:
    if check.diagnosis is not None:
        yield one_line(growth_text.head(check.diagnosis, check.growth))
        for text in told(check.diagnosis, check.growth):
            yield f"    {text}"


def _inconclusive(judged: Judged, verbosity: int) -> Iterator[Line]:
    check = judged.check
    name = f"INCONCLUSIVE  {one_line(check.id)} ({one_line(check.tool)})"
    if verbosity < 0:
        yield Line(f"{name}: {one_line('; '.join(judged.reasons))}", "red")
        return
    yield Line(name, "red")
    for reason in judged.reasons:
        yield Line(f"     {one_line(reason)}")
    for text in _diagnosis(check, growth_text.lines if verbosity > 0 else growth_text.in_short):
        yield Line(f"     {indented(text)}")
    if check.findings:
        count = counted(len(check.findings), "leak")
        yield Line(f"     seen until then: {count}, listed with the others")
    for text in check.output.strip().splitlines()[-_MOST_OUTPUT_LINES:]:
        yield Line(f"     | {printable(text)}")
    if check.reproduce:
        yield Line(f"     {'reproduce':<14} {one_line(check.reproduce)}")


def _remainder(verdict: Verdict) -> Iterator[Line]:
    failed = {finding.fingerprint for finding in verdict.failing}
    accepted: list[Finding] = []
    ignored: list[Finding] = []
    others: list[Finding] = []
    for finding in verdict.findings:
        if finding.status is Status.KNOWN:
            accepted.append(finding)
        elif finding.status is Status.NEW and finding.fingerprint not in failed:
            (ignored if finding.reason.startswith(IGNORED) else others).append(finding)
    checks = checks_of(verdict)
    if accepted:
        known = counted(len(accepted), "known leak")
        yield Line(f"accepted: {known} ({sum_of(accepted, checks)})")
    yield from _ignored(ignored, checks)
    for judged in verdict.checks:
        for note in judged.check.notes:
            if note.startswith(MEMORY_ERROR):
                yield Line(f"not failing: {one_line(note)}", "yellow")
    yield from _not_failing(others, checks)


def _out_of_reach(verdict: Verdict) -> Iterator[Line]:
    """What is not looked for in a large suite."""
    tests = sum(judged.check.kind == "test" for judged in verdict.checks)
    if tests > SMALL_SUITE_TESTS:
        yield Line(
            f"note: in suites of more than {SMALL_SUITE_TESTS} tests, leaks that are not in every "
            "run are found only in tests with @pytest.mark.leakguard(iterations=500)"
        )


def _ignored(findings: list[Finding], checks: dict[str, Check]) -> Iterator[Line]:
    """By the pattern that they are ignored by."""
    by_reason: dict[str, list[Finding]] = {}
    for finding in findings:
        by_reason.setdefault(one_line(finding.reason), []).append(finding)
    for reason, those in list(by_reason.items())[:_MOST_KEYS]:
        yield Line(f"{reason} ({counted(len(those), 'leak')}, {sum_of(those, checks)})")
    if len(by_reason) > _MOST_KEYS:
        yield Line(f"and by {counted(len(by_reason) - _MOST_KEYS, 'more pattern')}")


def _not_failing(findings: list[Finding], checks: dict[str, Check]) -> Iterator[Line]:
    by_kind: dict[LeakKind, list[Finding]] = {}
    for finding in findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    for leak_kind, those in by_kind.items():
        at = f"at {counted(len(those), 'place')}"
        yield Line(f"not failing: {sum_of(those, checks)} {kind(leak_kind)} {at}")
        if leak_kind is LeakKind.POSSIBLY_LOST and any(map(_is_of_interior, those)):
            yield Line(f"     {_INTERIOR}")


def _is_of_interior(finding: Finding) -> bool:
    return keeps_interior_pointers(finding.stack)


def _baseline(verdict: Verdict, door: Door) -> Iterator[Line]:
    if verdict.fixed:
        keys = ", ".join(one_line(key) for key in verdict.fixed[:_MOST_KEYS])
        if len(verdict.fixed) > _MOST_KEYS:
            keys += ", …"
        count = counted(len(verdict.fixed), "accepted leak")
        yield Line(f"fixed: {count} ({keys}); to remove from the baseline: {door.prune}", "yellow")
    if verdict.expired:
        keys = ", ".join(one_line(key) for key in verdict.expired[:_MOST_KEYS])
        yield Line(f"expired: {keys}", "yellow")
    if verdict.not_checked:
        count = counted(len(verdict.not_checked), "accepted leak")
        yield Line(f"not checked: {count} of targets that did not run to the end")


def _services(verdict: Verdict) -> Iterator[Line]:
    """What was seen of services that pass: how they grow, and what would have shown."""
    for judged in verdict.checks:
        diagnosis = judged.check.diagnosis
        if diagnosis and judged.outcome is Outcome.CLEAN:
            head = one_line(growth_text.head(diagnosis, judged.check.growth))
            yield Line(f"service {one_line(judged.check.id)}: {head}")
            for text in growth_text.sensitivity(diagnosis, judged.check.growth):
                yield Line(f"     {one_line(text)}")


def _skipped(verdict: Verdict) -> Iterator[Line]:
    reasons: dict[str, None] = {}
    for judged in verdict.checks:
        if judged.outcome is Outcome.SKIPPED:
            reasons.update(dict.fromkeys(judged.reasons))
    for reason in reasons:
        yield Line(f"skipped: {one_line(reason)}", "yellow")


def _all_checks(verdict: Verdict, verbosity: int) -> Iterator[Line]:
    """What has more to say than that it is clean; with -vv every check."""
    for judged in verdict.checks:
        check = judged.check
        is_plain = judged.outcome is Outcome.CLEAN and check.kind == "test" and not check.notes
        if is_plain and verbosity < 2:
            continue
        notes = f" ({one_line('; '.join(check.notes))})" if check.notes else ""
        yield Line(f"{judged.outcome:<14} {one_line(check.id)} [{one_line(check.tool)}]{notes}")
        if judged.outcome is Outcome.NOT_REPEATABLE:
            yield Line(f"               {one_line(check.not_repeatable)}", "yellow")


def _failing_in(check: Check, policy: Policy) -> list[Finding]:
    """With the check that they are of, by which it is known what was lost through what."""
    return [replace(one, checks=(check.id,)) for one in check.findings if fails(one, policy)]


def failure_in_short(judged: Judged, policy: Policy, root: Path | None = None) -> str:
    """What a failing test of pytest says: a line for each leak, or why there is no answer.

    The section at the end of the run explains all of it, once.
    """
    causes = root_causes(_failing_in(judged.check, policy))
    lines = [in_one_line(finding, judged.check, root) for finding in causes[:MOST_OF_A_TEST]]
    if rest := causes[MOST_OF_A_TEST:]:
        lines.append(f"and {counted(len(rest), 'more leak')}; see the leakguard section")
    label = "inconclusive" if judged.outcome is Outcome.INCONCLUSIVE else "note"
    lines.extend(f"{label}: {one_line(reason)}" for reason in judged.reasons)
    return "\n".join(lines)


def failure_text(judged: Judged, policy: Policy, root: Path | None = None) -> str:
    """What a failing test says: its leaks and why there may be more.

    Where no section at the end of the run explains them: an assertion, JUnit XML.
    """
    check = judged.check
    found = _failing_in(check, policy)
    causes = root_causes(found)
    page = Page(root, UNBROKEN, 1, {check.id: check}, hanging(found), check.reproduce)
    lines: list[str] = []
    for finding in causes[:MOST_IN_FULL]:
        lines.extend((title(finding, page), *below(finding, page)))
    if rest := causes[MOST_IN_FULL:]:
        size_text = sum_of(rest, page.checks)
        lines.append(f"and {counted(len(rest), 'more leak')}, {size_text}; the report has them all")
    if all(finding.rate is None for finding in causes):
        lines.extend(indented(line) for line in _diagnosis(check))
    lines.extend(_why_inconclusive(judged))
    if check.reproduce:
        lines.append(f"reproduce: {one_line(check.reproduce)}")
    return "\n".join(lines)


def _why_inconclusive(judged: Judged) -> Iterator[str]:
    """The reasons, and what the target has said last."""
    is_inconclusive = judged.outcome is Outcome.INCONCLUSIVE
    if judged.reasons:
        yield "inconclusive:" if is_inconclusive else "note:"
        yield from (f"    {one_line(reason)}" for reason in judged.reasons)
    output = judged.check.output.strip()
    if is_inconclusive and output:
        yield "last output on standard error:"
        for text in output.splitlines()[-_MOST_OUTPUT_LINES_OF_A_TEST:]:
            yield f"    | {printable(text)}"
