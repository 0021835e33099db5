"""GitHub Actions: the verdict as workflow commands, within what GitHub shows of them.

GitHub keeps 10 errors and 10 warnings of a step; a command counts only at the start of a line. Values are escaped as
GitHub's own toolkit does it. Between ``stopped`` and ``resumed`` GitHub obeys nothing, whatever a target writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_leakguard.core.checks import Outcome
from pytest_leakguard.core.leaks import Finding
from pytest_leakguard.core.text import one_line, printable
from pytest_leakguard.reporters.locations import Location, of_check, of_finding
from pytest_leakguard.reporters.terminal import finding_lines, headline, root_causes
from pytest_leakguard.verdict import Judged, Run, Verdict, failing

MOST_ANNOTATIONS = 10
"""Of one level that GitHub shows per step."""
MOST_MESSAGE = 4000
"""Characters; GitHub cuts longer messages without a word."""


def workflow_commands(verdict: Verdict, run: Run) -> list[str]:
    """One workflow command per line: root causes, then checks without an answer, then the run; then warnings."""
    errors = list(_errors(verdict, run))
    warnings = list(_warnings(verdict, run))
    return [*_limited("error", errors), *_limited("warning", warnings)]


def problem_commands(verdict: Verdict) -> list[str]:
    """Workflow commands for what is wrong with the run as a whole, and for nothing else."""
    commands = []
    for problem in verdict.problems:
        commands.append(command("error", "leakguard", one_line(problem)))
    return commands


def stopped(token: str) -> str:
    """After this line GitHub obeys no command until ``resumed`` with the same ``token``."""
    return f"::stop-commands::{token}"


def resumed(token: str) -> str:
    """Ends what ``stopped`` began."""
    return f"::{token}::"


def command(level: str, title: str, message: str, location: Location | None = None) -> str:
    """One annotation. Without a location GitHub shows it at the job alone."""
    properties = {"title": one_line(title)[:200]}
    if location:
        properties = {"file": printable(location.file), "line": str(location.line), **properties}
    told = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{level} {told}::{_data(message[:MOST_MESSAGE])}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


_Told = tuple[str, str, Location | None]
"""Title, message, place."""


def _limited(level: str, told: Sequence[_Told]) -> Iterator[str]:
    """All of them, or one less than GitHub shows and how many more there are."""
    shown = told if len(told) <= MOST_ANNOTATIONS else told[: MOST_ANNOTATIONS - 1]
    yield from (command(level, *one) for one in shown)
    if len(shown) < len(told):
        more = len(told) - len(shown)
        yield command(
            level,
            "leakguard",
            f"and {more} more; all of them are in the job summary and the report",
        )


def _errors(verdict: Verdict, run: Run) -> Iterator[_Told]:
    found = failing(verdict, run.policy)
    for finding in root_causes(found):
        yield _leak(finding, found, verdict, run)
    for judged in verdict.checks:
        if judged.outcome is Outcome.INCONCLUSIVE:
            yield _inconclusive(judged, run)
    for problem in verdict.problems:
        yield "leakguard", one_line(problem), None
    if not verdict.was_measured and not verdict.summary[Outcome.INCONCLUSIVE]:
        yield "leakguard", "nothing was measured, so nothing is known to be clean", None


def _leak(finding: Finding, found: Sequence[Finding], verdict: Verdict, run: Run) -> _Told:
    lines = [
        line.text.removeprefix("      ")
        for line in finding_lines(finding, list(found), verdict, run.root)
    ]
    accept = (
        f'accept: pytest-leakguard baseline accept {finding.fingerprint} --reason "why it may stay"'
    )
    message = "\n".join(
        [f"{headline(finding)} [{finding.status}] {finding.fingerprint}", *lines[1:], accept]
    )
    return f"Leak: {headline(finding)}", message, of_finding(finding, run)


def _inconclusive(judged: Judged, run: Run) -> _Told:
    check = judged.check
    again = [f"reproduce: {one_line(check.reproduce)}"] if check.reproduce else []
    message = "\n".join(
        [one_line(check.id), *(one_line(reason) for reason in judged.reasons), *again]
    )
    return f"Inconclusive: {check.tool}", printable(message), of_check(check, run)


def _warnings(verdict: Verdict, run: Run) -> Iterator[_Told]:
    baseline = Location(run.baseline_file, 1) if run.baseline_file else None
    failed = {finding.fingerprint for finding in failing(verdict, run.policy)}
    for key in verdict.expired:
        if key not in failed:
            yield "Accepted leak has expired", one_line(key), baseline
    if verdict.fixed:
        names = ", ".join(one_line(key) for key in verdict.fixed)
        message = f"{names}: remove with pytest --leakguard --leakguard-prune"
        yield f"{len(verdict.fixed)} accepted leak(s) are fixed", message, baseline
