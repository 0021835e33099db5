"""``report.sarif``: SARIF 2.1.0 with what fails the build or has expired.

GitHub reads little of it: the first location, the code flow, no accepted results. So accepted leaks
are left out, the first location is the innermost call in the repository, and the stack stands in
``codeFlows`` (shown there), in ``stacks`` (where the standard wants it) and its lines in
``relatedLocations``. An inconclusive run has ``executionSuccessful`` false and says why in its
notifications. One run per file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from pytest_leakguard import __version__
from pytest_leakguard.core.checks import Outcome
from pytest_leakguard.core.fingerprint import calls
from pytest_leakguard.core.leaks import Finding, Frame, LeakKind, Status
from pytest_leakguard.core.text import one_line, place
from pytest_leakguard.reporters.leak_text import sentence
from pytest_leakguard.reporters.locations import (
    Location,
    of_baseline,
    of_check,
    of_finding,
    of_frame,
)
from pytest_leakguard.reporters.rules import RULES, Rule
from pytest_leakguard.verdict import Run, Verdict, actionable, failing

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
MOST_RESULTS = 5000
"""GitHub shows no more results of a run."""
MOST_CALLS = 100
"""Calls of one stack; deeper ones are recursion, and make the file large for nothing."""
_MOST_CHECKS = 3
"""Checks named in the message of one leak; its properties have all of them."""
FINGERPRINT = "leakguardStack/v1"
_ROOT = "SRCROOT"
_KINDS = tuple(LeakKind)


def render(verdict: Verdict, run: Run) -> str:
    """The SARIF log as JSON text."""
    return json.dumps(as_dict(verdict, run), indent=2, ensure_ascii=True) + "\n"


def as_dict(verdict: Verdict, run: Run) -> dict[str, Any]:
    """The SARIF log as plain values."""
    findings = actionable(verdict, run.policy)
    failed = {finding.fingerprint for finding in failing(verdict, run.policy)}
    results = []
    for finding in findings[:MOST_RESULTS]:
        results.append(_result(finding, finding.fingerprint in failed, run))
    notifications = list(_notifications(verdict, run, len(findings)))
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": _driver()},
                "automationDetails": {"id": "leakguard/"},
                "columnKind": "utf16CodeUnits",
                "originalUriBaseIds": {
                    _ROOT: {"description": _text("The root of the repository.")}
                },
                "invocations": [
                    {
                        "executionSuccessful": verdict.is_conclusive,
                        "exitCode": verdict.exit_status,
                        "toolExecutionNotifications": notifications,
                    }
                ],
                "results": results,
            }
        ],
    }


def _driver() -> dict[str, Any]:
    return {
        "name": "pytest-leakguard",
        "fullName": f"pytest-leakguard {__version__}",
        "semanticVersion": __version__,
        "rules": [_rule(RULES[kind]) for kind in _KINDS],
        "notifications": [
            {
                "id": "LG900",
                "name": "NoAnswer",
                "shortDescription": _text("A check is inconclusive."),
                "fullDescription": _text(
                    "A tool was missing, crashed or left a damaged report; "
                    "an inconclusive check never passes."
                ),
                "help": _text(
                    "Run `pytest-leakguard doctor` where the check ran: "
                    "it says which tool works there."
                ),
            }
        ],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": _text(rule.short),
        "fullDescription": _text(rule.full),
        "help": {"text": rule.help, "markdown": rule.help},
        "defaultConfiguration": {"level": "error"},
        "properties": {
            "precision": "very-high",
            "problem.severity": "error",
            "tags": list(rule.tags),
        },
    }


def _result(finding: Finding, is_failing: bool, run: Run) -> dict[str, Any]:
    kind = _KINDS.index(finding.kind)
    place_of_it = of_finding(finding, run) or of_baseline(run)
    result: dict[str, Any] = {
        "ruleId": RULES[finding.kind].id,
        "ruleIndex": kind,
        "level": "error" if is_failing else "warning",
        "message": _text(_message(finding, run)),
        "locations": [{"physicalLocation": _physical(place_of_it)}],
        "partialFingerprints": {FINGERPRINT: finding.fingerprint},
        "properties": {
            "leakguard": {
                "fingerprint": finding.fingerprint,
                "kind": finding.kind.value,
                "status": finding.status.value,
                "sizeBytes": finding.size_bytes,
                "blocks": finding.blocks,
                "checks": [one_line(check) for check in finding.checks],
                "holders": [one_line(holder) for holder in finding.holders],
            }
        },
    }
    stack = calls(finding.stack)[:MOST_CALLS]
    if stack:
        frames = [_stack_frame(frame, run) for frame in stack]
        result["stacks"] = [{"message": _text("Allocated at"), "frames": frames}]
    inside = []
    for frame in stack:
        if location := of_frame(frame, run):
            inside.append((frame, location))
    if inside:
        result["codeFlows"] = [{"threadFlows": [{"locations": _flow(inside)}]}]
        result["relatedLocations"] = _related(inside)
    return result


def _message(finding: Finding, run: Run) -> str:
    """What leaks, and what else stands in no other field that is shown."""
    text = sentence(finding, {check.id: check for check in run.checks}, run.root)
    if finding.status is not Status.NEW and finding.reason:
        text += f" ({one_line(finding.reason)})"
    text += "."
    if finding.way:
        text += f" Kept alive by {one_line(finding.way)}."
    text += f" Seen in {', '.join(one_line(check) for check in finding.checks[:_MOST_CHECKS])}"
    if len(finding.checks) > _MOST_CHECKS:
        text += f" and {len(finding.checks) - _MOST_CHECKS} more"
    text += "."
    for check in run.checks:
        if check.id in finding.checks and check.reproduce:
            return f"{text} Reproduce: {one_line(check.reproduce)}"
    return text


def _text(text: str) -> dict[str, str]:
    """A plain message; brackets would make links of what a target wrote."""
    return {"text": text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")}


def _physical(location: Location) -> dict[str, Any]:
    return {
        "artifactLocation": {
            "uri": quote(location.file, errors="backslashreplace"),
            "uriBaseId": _ROOT,
        },
        "region": {
            "startLine": location.line,
            "startColumn": 1,
            "endLine": location.line + 1,
            "endColumn": 1,
        },
    }


def _flow(inside: Sequence[tuple[Frame, Location]]) -> list[dict[str, Any]]:
    """From the outermost call to the allocation, as it happened."""
    flow = []
    for frame, location in reversed(inside):
        where = {"physicalLocation": _physical(location), "message": _text(place(frame))}
        flow.append({"location": where})
    return flow


def _related(inside: Sequence[tuple[Frame, Location]]) -> list[dict[str, Any]]:
    related = []
    for number, (frame, location) in enumerate(inside, 1):
        where = {"physicalLocation": _physical(location), "message": _text(place(frame))}
        related.append({"id": number, **where})
    return related


def _stack_frame(frame: Frame, run: Run) -> dict[str, Any]:
    location: dict[str, Any] = {"message": _text(place(frame))}
    if inside := of_frame(frame, run):
        location["physicalLocation"] = _physical(inside)
    if frame.function:
        location["logicalLocations"] = [
            {"fullyQualifiedName": one_line(frame.function), "kind": "function"}
        ]
    stack_frame: dict[str, Any] = {"location": location}
    if frame.module:
        stack_frame["module"] = one_line(frame.module.rpartition("/")[2])
    return stack_frame


def _notifications(verdict: Verdict, run: Run, results: int) -> Iterator[dict[str, Any]]:
    for judged in verdict.checks:
        if judged.outcome is Outcome.INCONCLUSIVE:
            reasons = one_line("; ".join(judged.reasons))
            notification = _notification(f"{one_line(judged.check.id)}: {reasons}")
            if location := of_check(judged.check, run):
                notification["locations"] = [{"physicalLocation": _physical(location)}]
            yield notification
    for problem in verdict.problems:
        yield _notification(one_line(problem))
    if not verdict.was_measured and not verdict.summary[Outcome.INCONCLUSIVE]:
        yield _notification("nothing was measured")
    if results > MOST_RESULTS:
        yield _notification(f"{results - MOST_RESULTS} more leaks are in report.json")


def _notification(text: str) -> dict[str, Any]:
    return {"descriptor": {"id": "LG900", "index": 0}, "level": "error", "message": _text(text)}
