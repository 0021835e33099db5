"""GitHub Actions: the verdict as workflow commands, within what GitHub shows of them.

GitHub keeps 10 errors and 10 warnings of a step; a command counts only at the start of a line.
Values are escaped as GitHub's own toolkit does it. Between ``stopped`` and ``resumed`` GitHub obeys
nothing, whatever a target writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_leakguard.core.checks import Outcome
from pytest_leakguard.core.leaks import Finding
from pytest_leakguard.core.text import counted, one_line, printable
from pytest_leakguard.reporters.leak_text import Page, below, beside, sentence, title
from pytest_leakguard.reporters.locations import Location, of_check, of_finding
from pytest_leakguard.verdict import Judged, Run, Verdict, failing, root_causes

MOST_ANNOTATIONS = 10
"""Of one level that GitHub shows per step."""
MOST_MESSAGE = 4000
"""Characters; GitHub cuts longer messages without a word."""


def workflow_commands(verdict: Verdict, run: Run) -> list[str]:
    """One workflow command per line.

    Root causes come first, then inconclusive checks, then the run as a whole, then warnings.
    """
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
    pairs = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{level} {pairs}::{_data(message[:MOST_MESSAGE])}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


_Annotation = tuple[str, str, Location | None]
"""Title, message, place."""


def _limited(level: str, annotations: Sequence[_Annotation]) -> Iterator[str]:
    """All of them, or one less than GitHub shows and how many more there are."""
    shown = annotations
    if len(annotations) > MOST_ANNOTATIONS:
        shown = annotations[: MOST_ANNOTATIONS - 1]
    for annotation in shown:
        yield command(level, *annotation)
    if len(shown) < len(annotations):
        more = len(annotations) - len(shown)
        rest = f"and {more} more; all of them are in the job summary and the report"
        yield command(level, "leakguard", rest)


def _errors(verdict: Verdict, run: Run) -> Iterator[_Annotation]:
    causes = root_causes(failing(verdict, run.policy))
    page = beside(verdict, causes, run.root)
    for finding in causes:
        yield _leak(finding, page, run)
    for judged in verdict.checks:
        if judged.outcome is Outcome.INCONCLUSIVE:
            yield _inconclusive(judged, run)
    for problem in verdict.problems:
        yield "leakguard", one_line(problem), None
    if not verdict.was_measured and not verdict.summary[Outcome.INCONCLUSIVE]:
        yield "leakguard", "nothing was measured, so nothing is known to be clean", None


def _leak(finding: Finding, page: Page, run: Run) -> _Annotation:
    lines = [title(finding, page)]
    lines.extend(text.strip() for text in below(finding, page))
    accept = f"pytest-leakguard baseline accept {finding.fingerprint}"
    lines.append(f'{"accept":<14} {accept} --reason "why it may stay"')
    head = sentence(finding, page.checks, run.root)
    return head, "\n".join(lines), of_finding(finding, run)


def _inconclusive(judged: Judged, run: Run) -> _Annotation:
    check = judged.check
    lines = [one_line(check.id), *map(one_line, judged.reasons)]
    if check.reproduce:
        lines.append(f"reproduce: {one_line(check.reproduce)}")
    return f"Inconclusive: {check.tool}", printable("\n".join(lines)), of_check(check, run)


def _warnings(verdict: Verdict, run: Run) -> Iterator[_Annotation]:
    baseline = Location(run.baseline_file, 1) if run.baseline_file else None
    failed = {finding.fingerprint for finding in failing(verdict, run.policy)}
    for key in verdict.expired:
        if key not in failed:
            yield "Accepted leak has expired", one_line(key), baseline
    if verdict.fixed:
        names = ", ".join(one_line(key) for key in verdict.fixed)
        message = f"{names}: remove with pytest --leakguard --leakguard-prune"
        yield f"{counted(len(verdict.fixed), 'accepted leak')} no longer found", message, baseline
