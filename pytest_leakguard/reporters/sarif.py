"""``report.sarif``: SARIF 2.1.0 with what fails the build or has expired, for code scanning and editors.

GitHub reads little of it: the first location, the code flow, no accepted results. So accepted leaks are left out, the
first location is the innermost call in the repository, and the stack stands in ``codeFlows`` (shown there), in
``stacks`` (where the standard wants it) and its lines in ``relatedLocations``. A run without an answer has
``executionSuccessful`` false and says why in its notifications. One run per file.
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
from pytest_leakguard.reporters.locations import Location, of_check, of_finding, of_frame
from pytest_leakguard.reporters.rules import RULES, Rule
from pytest_leakguard.reporters.terminal import headline
from pytest_leakguard.verdict import Run, Verdict, failing

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
MOST_RESULTS = 5000
"""That GitHub shows of a run."""
MOST_CALLS = 100
FINGERPRINT = "leakguardStack/v1"
_ROOT = "SRCROOT"
_KINDS = tuple(LeakKind)


def render(verdict: Verdict, run: Run) -> str:
    """The SARIF log as JSON text."""
    return json.dumps(as_dict(verdict, run), indent=2, ensure_ascii=True) + "\n"


def reported(verdict: Verdict, run: Run) -> tuple[Finding, ...]:
    """What a reader must act on: all that fails, then what is no longer accepted."""
    failed = failing(verdict, run.policy)
    names = {finding.fingerprint for finding in failed}
    expired = (
        one
        for one in verdict.findings
        if one.status is Status.EXPIRED and one.fingerprint not in names
    )
    return (*failed, *expired)


def as_dict(verdict: Verdict, run: Run) -> dict[str, Any]:
    """The SARIF log as plain values."""
    results = reported(verdict, run)
    failed = {finding.fingerprint for finding in failing(verdict, run.policy)}
    told = [
        _result(finding, finding.fingerprint in failed, run) for finding in results[:MOST_RESULTS]
    ]
    notifications = list(_notifications(verdict, run, len(results)))
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
                        "executionSuccessful": not _is_open(verdict),
                        "exitCode": verdict.exit_status,
                        "toolExecutionNotifications": notifications,
                    }
                ],
                "results": told,
            }
        ],
    }


def _is_open(verdict: Verdict) -> bool:
    return bool(
        verdict.summary[Outcome.INCONCLUSIVE] or verdict.unanswered or not verdict.was_measured
    )


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
                    "A tool was missing, crashed or left a damaged report; this is never clean."
                ),
                "help": _text(
                    "Run `pytest-leakguard doctor` where the check ran: it says which tool works there."
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
    told: dict[str, Any] = {
        "ruleId": RULES[finding.kind].id,
        "ruleIndex": kind,
        "level": "error" if is_failing else "warning",
        "message": _text(_message(finding, run)),
        "locations": [
            {"physicalLocation": _physical(of_finding(finding, run) or _somewhere(finding, run))}
        ],
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
        told["stacks"] = [
            {"message": _text("Allocated at"), "frames": [_stack_frame(one, run) for one in stack]}
        ]
        inside = [(frame, location) for frame in stack if (location := of_frame(frame, run))]
        if inside:
            told["codeFlows"] = [{"threadFlows": [{"locations": _flow(inside)}]}]
            told["relatedLocations"] = _related(inside)
    return told


def _message(finding: Finding, run: Run) -> str:
    """What leaks, and what else stands in no other field that is shown."""
    held = f" Held by {one_line(' > '.join(finding.holders))}." if finding.holders else ""
    status = (
        "" if finding.status is Status.NEW else f" ({finding.status}: {one_line(finding.reason)})"
    )
    seen = ", ".join(one_line(check) for check in finding.checks[:3])
    more = f" and {len(finding.checks) - 3} more" if len(finding.checks) > 3 else ""
    commands = (
        check.reproduce for check in run.checks if check.id in finding.checks and check.reproduce
    )
    again = next((f" Reproduce: {one_line(command)}" for command in commands), "")
    return f"{headline(finding)}{status}.{held} Seen in {seen}{more}.{again}"


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


def _somewhere(finding: Finding, run: Run) -> Location:
    """A leak without any line, as of a program without debug information: the file where it would be accepted."""
    return Location(run.baseline_file or "leakguard-baseline.toml", 1)


def _flow(inside: Sequence[tuple[Frame, Location]]) -> list[dict[str, Any]]:
    """From the outermost call to the allocation, as it happened."""
    return [
        {"location": {"physicalLocation": _physical(location), "message": _text(place(frame))}}
        for frame, location in reversed(inside)
    ]


def _related(inside: Sequence[tuple[Frame, Location]]) -> list[dict[str, Any]]:
    return [
        {"id": number, "physicalLocation": _physical(location), "message": _text(place(frame))}
        for number, (frame, location) in enumerate(inside, 1)
    ]


def _stack_frame(frame: Frame, run: Run) -> dict[str, Any]:
    location: dict[str, Any] = {"message": _text(place(frame))}
    if inside := of_frame(frame, run):
        location["physicalLocation"] = _physical(inside)
    if frame.function:
        location["logicalLocations"] = [
            {"fullyQualifiedName": one_line(frame.function), "kind": "function"}
        ]
    told: dict[str, Any] = {"location": location}
    if frame.module:
        told["module"] = one_line(frame.module.rpartition("/")[2])
    return told


def _notifications(verdict: Verdict, run: Run, results: int) -> Iterator[dict[str, Any]]:
    for judged in verdict.checks:
        if judged.outcome is Outcome.INCONCLUSIVE:
            location = of_check(judged.check, run)
            told = f"{one_line(judged.check.id)}: {one_line('; '.join(judged.reasons))}"
            yield _notification(told) | (
                {"locations": [{"physicalLocation": _physical(location)}]} if location else {}
            )
    yield from (_notification(one_line(problem)) for problem in verdict.problems)
    if not verdict.was_measured and not verdict.summary[Outcome.INCONCLUSIVE]:
        yield _notification("nothing was measured")
    if results > MOST_RESULTS:
        yield _notification(f"{results - MOST_RESULTS} more leaks are in report.json")


def _notification(text: str) -> dict[str, Any]:
    return {"descriptor": {"id": "LG900", "index": 0}, "level": "error", "message": _text(text)}
