"""``report.html``: one file that needs nothing else, and no network.

Made with Jinja, every value escaped. A content security policy in the page allows one script, ours
by its hash, and no request, should a value ever get through unescaped. Without scripts the page is
whole: sorting, filtering and copying are all that is missing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from pytest_leakguard import __version__
from pytest_leakguard.core.checks import Outcome
from pytest_leakguard.core.leaks import Finding, Status
from pytest_leakguard.core.text import counted, indented, one_line, printable, shortened
from pytest_leakguard.reporters import (
    counts,
    growth_text,
    html_axes,
    html_causes,
    html_curves,
    html_flamegraph,
)
from pytest_leakguard.reporters.counts import headline
from pytest_leakguard.reporters.exports import weighed
from pytest_leakguard.reporters.history import Earlier, gone
from pytest_leakguard.reporters.provenance import KEYS
from pytest_leakguard.reporters.terminal import WORDS, Through, in_words, leaked
from pytest_leakguard.verdict import Judged, Run, Verdict, failing, root_causes

MOST_CAUSES = 200
"""Root causes in full, and inconclusive checks; a browser takes seconds for thousands of cards."""
MOST_CAUSE_ROWS = 1000
"""Root causes in the table; the others are named where they are to be found."""
OPENED = 3
"""Causes that are unfolded from the start, about a screen."""
MOST_CURVES = 60
"""Drawings on the page."""
MOST_ROWS = 250
"""Checks in the table, what fails first."""
MOST_LISTED = 50
"""Accepted leaks, and keys of the baseline, that are listed."""
MOST_TEXT = 8000
"""Characters of one value; more than any drawing needs."""
_OUTPUT_LINES = 10
"""Last lines of what a target wrote."""


def render(verdict: Verdict, run: Run, history: Sequence[Earlier] = ()) -> str:
    """The page; ``history`` is what earlier reports say of its causes."""
    return _template().render(_values(verdict, run, history))


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
def _own_file(name: str) -> str:
    return files("pytest_leakguard").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _script_hash() -> str:
    """As a policy names the one script that may run: all that is between its tags."""
    digest = hashlib.sha256(_own_file("report.js").encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _harmless(value: Any) -> Any:
    """Text without control characters and marks that turn its direction, and not endless."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return shortened(printable(value), MOST_TEXT)


def _values(verdict: Verdict, run: Run, history: Sequence[Earlier]) -> dict[str, Any]:
    unanswered = [judged for judged in verdict.checks if judged.outcome is Outcome.INCONCLUSIVE]
    drawings = _drawings(verdict)
    flames = html_flamegraph.tree(weighed(verdict, run), "all leaks that fail", run.root)
    return {
        "version": __version__,
        "style": Markup(_own_file("report.css")),  # our own files
        "script": Markup(_own_file("report.js")),
        "script_hash": _script_hash(),
        "title": in_words(verdict),
        "failed": verdict.has_failed,
        "problems": [one_line(problem) for problem in verdict.problems],
        "notes": [one_line(note) for note in verdict.notes],
        "provenance": list(_provenance(run)),
        "totals": list(_totals(verdict, run)),
        "sections": list(_sections(bool(unanswered), flames is not None, bool(drawings["curves"]))),
        **_causes(verdict, run, history),
        "unanswered": [_unanswered(judged) for judged in unanswered[:MOST_CAUSES]],
        "more_unanswered": max(0, len(unanswered) - MOST_CAUSES),
        "flame": flames,
        **drawings,
        **_checks(verdict, run),
        **_baseline(verdict),
        "environment": list(_environment(run)),
    }


def _causes(verdict: Verdict, run: Run, history: Sequence[Earlier]) -> dict[str, Any]:
    found = failing(verdict, run.policy)
    causes = root_causes(found)
    page = html_causes.Page.of(verdict, run, Through(found), history)
    rows = [
        html_causes.row(finding, number, page)
        for number, finding in enumerate(causes[:MOST_CAUSE_ROWS], start=1)
    ]
    cards = [
        html_causes.card(finding, number, page)
        for number, finding in enumerate(causes[:MOST_CAUSES], start=1)
    ]
    lost = gone(history, verdict.findings)
    return {
        "cause_rows": rows,
        "causes": cards,
        "opened": OPENED,
        "more_rows": max(0, len(causes) - MOST_CAUSE_ROWS),
        "more_causes": max(0, len(causes) - MOST_CAUSES),
        "has_history": bool(history),
        "history_title": _history_title(history),
        "gone": lost[:MOST_LISTED],
        "more_gone": max(0, len(lost) - MOST_LISTED),
    }


def _history_title(history: Sequence[Earlier]) -> str:
    if not history:
        return ""
    runs = counted(len(history), "earlier run")
    return f"Compared with {runs}, {history[0].when} to {history[-1].when}."


def _provenance(run: Run) -> Iterator[tuple[str, str]]:
    for key in KEYS:
        if run.environment.get(key):
            yield key, one_line(run.environment[key])


def _totals(verdict: Verdict, run: Run) -> Iterator[dict[str, Any]]:
    """Leaks by their status, then checks by their answer."""
    causes = root_causes(failing(verdict, run.policy))
    checks = counts.checks_of(verdict)
    for status in (Status.NEW, Status.GROWN, Status.EXPIRED):
        those = [finding for finding in causes if finding.status is status]
        if those:
            words = f"{status} leak{'' if len(those) == 1 else 's'}"
            yield {"words": words, "number": len(those), "more": counts.sum_of(those, checks)}
    for outcome, number in verdict.summary.items():
        words = f"check{'' if number == 1 else 's'} {WORDS[outcome]}"
        yield {"words": words, "number": number, "more": "", "outcome": outcome.value}


def _drawings(verdict: Verdict) -> dict[str, Any]:
    curves: list[html_curves.Curve] = []
    outlooks: list[html_curves.Outlook] = []
    for judged in _worst_first(verdict):
        curves.extend(html_curves.curves_of(judged.check))
        outlook = html_curves.outlook_of(judged.check)
        if outlook is not None:
            outlooks.append(outlook)
    return {
        "curves": curves[:MOST_CURVES],
        "more_curves": max(0, len(curves) - MOST_CURVES),
        "outlooks": outlooks[:MOST_CURVES],
        "axes": html_axes,
        "services": list(_services(verdict)),
    }


def _checks(verdict: Verdict, run: Run) -> dict[str, Any]:
    rows = [_row(judged, run) for judged in _worst_first(verdict)[:MOST_ROWS]]
    title = f"{counted(len(verdict.checks), 'check')}, failures first"
    if len(rows) < len(verdict.checks):
        title = f"{len(rows):,} of {title}; the others are in report.json and junit.xml"
    return {"rows": rows, "rows_title": title}


def _baseline(verdict: Verdict) -> dict[str, Any]:
    accepted = [finding for finding in verdict.findings if finding.status is Status.KNOWN]
    accepted_bytes = sum(finding.size_bytes for finding in accepted)
    return {
        "accepted": [_accepted(finding) for finding in accepted[:MOST_LISTED]],
        "accepted_title": f"{len(accepted)}, {accepted_bytes:,} bytes",
        "more_accepted": max(0, len(accepted) - MOST_LISTED),
        "fixed": verdict.fixed,
        "expired": verdict.expired,
        "not_checked": verdict.not_checked,
        "most": MOST_LISTED,
    }


def _sections(is_open: bool, has_flame: bool, has_curves: bool) -> Iterator[tuple[str, str]]:
    yield "causes", "Root causes"
    if is_open:
        yield "unanswered", "Inconclusive"
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
        if name not in KEYS:
            yield one_line(name), one_line(value)
    tools: dict[str, str] = {}
    for check in run.checks:
        name = check.tool or "sampling"
        unnamed = "of the program" if check.kind == "program" else "part of pytest-leakguard"
        tools[name] = check.tool_version or tools.get(name) or unnamed
    for tool, version in sorted(tools.items()):
        yield one_line(tool), one_line(version)
    yield "baseline", one_line(run.baseline_file) or "none"
    yield "accepted leaks", f"{len(run.baseline.leaks) + len(run.baseline.growth)}"
    yield "date", run.judged_on.isoformat()
