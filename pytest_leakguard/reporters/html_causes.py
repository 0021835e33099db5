"""Root causes as the page shows them: a row of the table, and a card that unfolds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.leaks import Finding, Status
from pytest_leakguard.core.text import kind, one_line
from pytest_leakguard.reporters import calls_text, counts, growth_text
from pytest_leakguard.reporters.history import Earlier, Past, past_of
from pytest_leakguard.reporters.leak_text import in_prose
from pytest_leakguard.reporters.terminal import Through
from pytest_leakguard.verdict import Run, Verdict

MOST_CALLS = 40
"""Calls of one stack; an asynchronous framework has thirty between a request and its handler."""
MOST_CHECKS = 20
"""Checks named for one leak."""
SOURCE_LINES = 4
"""Before the leaking line, and after it."""


@dataclass(frozen=True, slots=True)
class Page:
    """What all causes share."""

    run: Run
    through: Through
    history: Sequence[Earlier] = ()
    checks: dict[str, Check] = field(default_factory=dict)

    @classmethod
    def of(cls, verdict: Verdict, run: Run, through: Through, history: Sequence[Earlier]) -> Page:
        """With the checks by their names."""
        return cls(run, through, history, counts.checks_of(verdict))

    def check_of(self, finding: Finding) -> Check | None:
        """The first check that a leak was seen in."""
        return self.checks.get(finding.checks[0]) if finding.checks else None

    def amount(self, finding: Finding) -> str:
        """How much of what, as the terminal says it."""
        return counts.amount_of(finding, counts.per(finding, self.check_of(finding)))


def row(finding: Finding, number: int, page: Page) -> dict[str, Any]:
    """One line of the table, with the values that it is sorted by."""
    past = past_of(finding, page.history)
    return {
        "number": number,
        "fingerprint": finding.fingerprint,
        "status": finding.status.value,
        "kind": kind(finding.kind),
        "amount": page.amount(finding),
        "size": _weight(finding),
        "site": _site(finding, page),
        "whose": _whose(finding),
        "checks": len(finding.checks),
        "since": (past.first or "new") if past else "",
    }


def card(finding: Finding, number: int, page: Page) -> dict[str, Any]:
    """All that is known of one cause."""
    accept = f"pytest-leakguard baseline accept {finding.fingerprint}"
    details = (*finding.details, *_forecast(finding, page))
    return {
        "number": number,
        "fingerprint": finding.fingerprint,
        "status": finding.status.value,
        "amount": page.amount(finding),
        "site": _site(finding, page),
        "reason": one_line(finding.reason) if finding.status is not Status.NEW else "",
        "owner": one_line(finding.owner),
        "source": list(_source(finding, page)),
        "groups": calls_text.groups(finding, page.run.root, MOST_CALLS) if finding.stack else [],
        "details": [in_prose(detail) for detail in details if not detail.startswith("line: ")],
        "held_by": one_line(finding.way),
        "through": list(page.through.of(finding)),
        "checks": [one_line(check) for check in finding.checks[:MOST_CHECKS]],
        "more_checks": max(0, len(finding.checks) - MOST_CHECKS),
        "reproduce": _reproduce(finding, page),
        "accept": f'{accept} --reason "why it may stay" --owner @team',
        "past": _past(past_of(finding, page.history)),
    }


def _site(finding: Finding, page: Page) -> str:
    place = calls_text.site(finding, page.run.root)
    if place:
        return place
    if finding.rate is not None and finding.checks:
        return one_line(finding.checks[0])
    return "no stack was recorded"


def _whose(finding: Finding) -> str:
    """Whose line it is: the project's own, or that of the library in which the stack ends."""
    groups = calls_text.groups(finding, None, MOST_CALLS)
    for group in groups:
        if group.leaks:
            return group.library or "yours"
    return ""


def _weight(finding: Finding) -> float:
    """Bytes, whatever they are for; what has none is sorted by its number."""
    if finding.rate is not None and finding.rate.unit == "bytes":
        return round(finding.rate.per_iteration, 1)
    return float(finding.size_bytes or finding.blocks)


def _source(finding: Finding, page: Page) -> Iterator[dict[str, Any]]:
    """The leaking line in its file, or alone as the explanation has seen it."""
    frames = calls_text.context(finding, page.run.root, SOURCE_LINES)
    wanted = calls_text.line_of(finding)
    for number, text in frames:
        yield {"number": number, "text": text.expandtabs(4), "leaks": number == wanted}
    if not frames:
        for detail in finding.details:
            if detail.startswith("line: "):
                yield {"number": wanted or "", "text": one_line(detail[6:]), "leaks": True}
                return


def _reproduce(finding: Finding, page: Page) -> str:
    for name in finding.checks:
        check = page.checks.get(name)
        if check is not None and check.reproduce:
            return one_line(check.reproduce)
    return ""


def _forecast(finding: Finding, page: Page) -> Iterator[str]:
    """When the memory limit is reached, for growth."""
    for name in finding.checks:
        check = page.checks.get(name)
        if finding.rate is not None and check is not None and check.diagnosis:
            yield from growth_text.forecast(check.diagnosis)


def _past(past: Past | None) -> dict[str, Any] | None:
    if past is None:
        return None
    rows = [
        {"when": earlier.when, "commit": earlier.commit, "text": seen.text if seen else "not there"}
        for earlier, seen in past.points
    ]
    heights = past.heights()
    bars = [
        {"x": 6 * number, "height": round(30 * height, 1), "y": round(30 - 30 * height, 1)}
        for number, height in enumerate(heights)
    ]
    return {"summary": past.summary, "rows": rows, "bars": bars, "width": 6 * len(heights)}
