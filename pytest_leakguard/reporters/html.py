"""``report.html``: one file that needs nothing else, no script and no network.

Made with Jinja, every value escaped. A content security policy in the page forbids scripts and
requests, should a value ever get through unescaped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from pytest_leakguard import __version__
from pytest_leakguard.core.checks import Outcome
from pytest_leakguard.core.fingerprint import callers
from pytest_leakguard.core.leaks import Finding, Status
from pytest_leakguard.core.text import indented, one_line, place, printable, shortened, site
from pytest_leakguard.reporters import growth_text, html_curves, html_flamegraph
from pytest_leakguard.reporters.exports import weighed
from pytest_leakguard.reporters.terminal import (
    WORDS,
    Through,
    headline,
    in_words,
    leaked,
)
from pytest_leakguard.verdict import Judged, Run, Verdict, failing, root_causes

MOST_CAUSES = 60
"""Root causes, and inconclusive checks, on the page; a browser takes seconds for thousands."""
MOST_CURVES = 60
"""Drawings on the page."""
MOST_ROWS = 250
"""Checks in the table, what fails first."""
MOST_LISTED = 50
"""Accepted leaks, and keys of the baseline, that are listed."""
MOST_CALLS = 16
"""Calls of one stack; twice what a fingerprint takes."""
_MOST_CHECKS = 5
"""Checks named for one leak."""
MOST_TEXT = 8000
"""Characters of one value; more than any drawing needs."""
_OUTPUT_LINES = 10
"""Last lines of what a target wrote."""


def render(verdict: Verdict, run: Run) -> str:
    """The page."""
    return _template().render(_values(verdict, run))


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("pytest_leakguard", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_harmless,
    )
    return environment.get_template("report.html.j2")


@cache
def _style() -> str:
    return files("pytest_leakguard").joinpath("templates", "report.css").read_text(encoding="utf-8")


def _harmless(value: Any) -> Any:
    """Text without control characters and marks that turn its direction, and not endless."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return shortened(printable(value), MOST_TEXT)


def _values(verdict: Verdict, run: Run) -> dict[str, Any]:
    found = failing(verdict, run.policy)
    causes, through = root_causes(found), Through(found)
    drawn: list[html_curves.Curve] = []
    for judged in _worst_first(verdict):
        drawn.extend(html_curves.curves_of(judged.check))
    unanswered = [judged for judged in verdict.checks if judged.outcome is Outcome.INCONCLUSIVE]
    rows = _rows(verdict, run)
    accepted = [finding for finding in verdict.findings if finding.status is Status.KNOWN]
    accepted_bytes = sum(finding.size_bytes for finding in accepted)
    flames = html_flamegraph.tree(weighed(verdict, run), "all leaks that fail")
    return {
        "version": __version__,
        "style": Markup(_style()),  # our own file
        "title": in_words(verdict),
        "failed": verdict.has_failed,
        "problems": [one_line(problem) for problem in verdict.problems],
        "counts": [
            {"outcome": outcome.value, "words": WORDS[outcome], "number": number}
            for outcome, number in verdict.summary.items()
        ],
        "sections": list(_sections(bool(unanswered), flames is not None, bool(drawn))),
        "causes": [_cause(finding, through, run) for finding in causes[:MOST_CAUSES]],
        "more_causes": max(0, len(causes) - MOST_CAUSES),
        "unanswered": [_unanswered(judged) for judged in unanswered[:MOST_CAUSES]],
        "more_unanswered": max(0, len(unanswered) - MOST_CAUSES),
        "flame": flames,
        "curves": drawn[:MOST_CURVES],
        "more_curves": max(0, len(drawn) - MOST_CURVES),
        "width": html_curves.WIDTH,
        "height": html_curves.HEIGHT,
        "services": list(_services(verdict)),
        "rows": rows,
        "rows_title": f"{len(rows)} of {len(verdict.checks)} checks, what fails first",
        "accepted": [_accepted(finding) for finding in accepted[:MOST_LISTED]],
        "accepted_title": f"{len(accepted)}, {accepted_bytes:,} bytes",
        "fixed": verdict.fixed,
        "expired": verdict.expired,
        "not_checked": verdict.not_checked,
        "most": MOST_LISTED,
        "environment": list(_environment(run)),
    }


def _sections(is_open: bool, has_flame: bool, has_curves: bool) -> Iterator[tuple[str, str]]:
    yield "causes", "Root causes"
    if is_open:
        yield "unanswered", "Without an answer"
    if has_flame:
        yield "flame", "Where the bytes leaked"
    if has_curves:
        yield "growth", "Growth"
    yield from (("checks", "Checks"), ("baseline", "Baseline"), ("environment", "Environment"))


def _worst_first(verdict: Verdict) -> list[Judged]:
    order = (
        Outcome.LEAK,
        Outcome.INCONCLUSIVE,
        Outcome.NOT_REPEATABLE,
        Outcome.SKIPPED,
        Outcome.CLEAN,
    )
    return sorted(
        verdict.checks,
        key=lambda judged: (
            order.index(judged.outcome),
            judged.check.kind == "test",
            judged.check.id,
        ),
    )


def _cause(finding: Finding, through: Through, run: Run) -> dict[str, Any]:
    calls = []
    if finding.stack:
        frames = callers(finding.stack)[:MOST_CALLS]
        calls = [site(finding, run.root), *(place(frame, run.root) for frame in frames)]
    accept = f"pytest-leakguard baseline accept {finding.fingerprint}"
    return {
        "fingerprint": finding.fingerprint,
        "status": finding.status.value,
        "headline": headline(finding),
        "site": calls[0] if calls else "",
        "reason": one_line(finding.reason) if finding.status is not Status.NEW else "",
        "owner": one_line(finding.owner),
        "calls": calls,
        "details": [one_line(detail) for detail in (*finding.details, *_forecast(finding, run))],
        "held_by": one_line(finding.way),
        "through": list(through.of(finding)),
        "checks": [one_line(check) for check in finding.checks[:_MOST_CHECKS]],
        "more_checks": max(0, len(finding.checks) - _MOST_CHECKS),
        "reproduce": _reproduce(finding, run),
        "accept": f'{accept} --reason "why it may stay" --owner @team',
    }


def _reproduce(finding: Finding, run: Run) -> str:
    for check in run.checks:
        if check.id in finding.checks and check.reproduce:
            return one_line(check.reproduce)
    return ""


def _forecast(finding: Finding, run: Run) -> Iterator[str]:
    """When the memory limit is reached, for growth."""
    for check in run.checks:
        if finding.rate is not None and check.id in finding.checks and check.diagnosis:
            yield from growth_text.forecast(check.diagnosis)


def _unanswered(judged: Judged) -> dict[str, Any]:
    check = judged.check
    output = check.output.strip().splitlines()[-_OUTPUT_LINES:]
    return {
        "id": one_line(check.id),
        "tool": one_line(check.tool),
        "reasons": [one_line(reason) for reason in judged.reasons],
        "output": "\n".join(printable(line) for line in output),
        "reproduce": one_line(check.reproduce),
    }


@dataclass(frozen=True, slots=True)
class _Service:
    check: str
    text: str


def _services(verdict: Verdict) -> Iterator[_Service]:
    """What speaks for and against each explanation, and the forecast, as in the terminal."""
    for judged in _worst_first(verdict):
        diagnosis = judged.check.diagnosis
        if diagnosis is not None:
            lines = (
                growth_text.head(diagnosis, judged.check.growth),
                *growth_text.lines(diagnosis, judged.check.growth),
            )
            yield _Service(one_line(judged.check.id), "\n".join(indented(text) for text in lines))


def _rows(verdict: Verdict, run: Run) -> list[dict[str, Any]]:
    """What fails, then the rest as far as there is room."""
    return [_row(judged, run) for judged in _worst_first(verdict)[:MOST_ROWS]]


def _row(judged: Judged, run: Run) -> dict[str, Any]:
    check = judged.check
    return {
        "id": one_line(check.id),
        "outcome": judged.outcome.value,
        "words": WORDS[judged.outcome],
        "tool": one_line(f"{check.tool or 'sampling'} {check.tool_version}"),
        "leaked": leaked(check, run.policy),
        "seconds": f"{check.duration_s:,.2f}",
        "notes": [one_line(text) for text in (*judged.reasons, *check.notes)],
    }


def _accepted(finding: Finding) -> dict[str, str]:
    return {
        "fingerprint": finding.fingerprint,
        "headline": headline(finding),
        "reason": one_line(finding.reason),
        "owner": one_line(finding.owner),
    }


def _environment(run: Run) -> Iterator[tuple[str, str]]:
    for name, value in run.environment.items():
        yield one_line(name), one_line(value)
    tools: dict[str, str] = {}
    for check in run.checks:
        tools[check.tool] = check.tool_version or tools.get(check.tool, "")
    for tool, version in sorted(tools.items()):
        yield one_line(tool), one_line(version) or "part of pytest-leakguard or of the target"
    yield "baseline", one_line(run.baseline_file) or "none"
    yield "accepted leaks", f"{len(run.baseline.leaks) + len(run.baseline.growth)}"
    yield "judged on", run.judged_on.isoformat()
