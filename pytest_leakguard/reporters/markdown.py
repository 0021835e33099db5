"""``summary.md``: the verdict for people who read a job summary or a comment; GitHub-flavoured Markdown.

Text of a target stands in ``<code>`` or ``<pre>`` only, with every character that Markdown knows as an entity:
it makes no link, no mention, no heading and no row.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence

from pytest_leakguard.baseline.compare import growth_key
from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.leaks import Finding, Status
from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.core.text import one_line, printable, quantity, shortened
from pytest_leakguard.reporters import growth_text
from pytest_leakguard.reporters.terminal import (
    finding_lines,
    headline,
    in_words,
    leaked,
    root_causes,
)
from pytest_leakguard.verdict import Judged, Run, Verdict, failing, fails

MOST_BYTES = 900 * 1024
"""GitHub refuses a summary above 1 MiB and keeps the job green; what others wrote into it needs room as well."""
LEAST_BYTES = 4096
MOST_ROWS = 200
MOST_LEAKS = 50
MOST_CODE = 300
MOST_LINE = 2000
"""Characters of one text, which may come from a target: none may take the room of all others."""
UNFOLDED = 1
_MARKDOWN = re.compile(r"[\\`*_{}\[\]()#!|~:@&<>]|(?<=www)\.")
_ANSWERS = {
    Outcome.CLEAN: "✅ clean",
    Outcome.LEAK: "❌ leak",
    Outcome.INCONCLUSIVE: "❌ inconclusive",
    Outcome.SKIPPED: "⚪ skipped",
    Outcome.NOT_REPEATABLE: "⚪ not repeatable",
}


def code(text: str) -> str:
    """``text`` as inline code that means nothing but itself, in a table as well."""
    escaped = _MARKDOWN.sub(
        lambda match: f"&#{ord(match.group())};", shortened(one_line(text), MOST_CODE)
    )
    return f"<code>{escaped}</code>" if escaped else ""


def block(lines: Sequence[str]) -> str:
    """Lines as preformatted text; no empty line, which would end it."""
    return (
        "<pre>"
        + html.escape("\n".join(shortened(printable(line), MOST_LINE) or " " for line in lines))
        + "</pre>"
    )


def render(verdict: Verdict, run: Run, most_bytes: int = MOST_BYTES) -> str:
    """The whole summary in at most ``most_bytes`` of UTF-8; what had to be left out is said at its end."""
    kept: list[str] = []
    room = most_bytes - 200  # for the sentence that says so
    parts = list(_parts(verdict, run))
    for part in parts:
        room -= len(part.encode("utf-8", "backslashreplace")) + 2
        if room < 0:
            break
        kept.append(part)
    if len(kept) < len(parts):
        kept.append(
            f"**Cut off here** at {most_bytes // 1024:,} KiB; everything is in `report.html` and `report.json`."
        )
    return "\n\n".join(kept) + "\n"


def _parts(verdict: Verdict, run: Run) -> Iterator[str]:
    """Paragraphs, the most important first."""
    found = failing(verdict, run.policy)
    causes = root_causes(found)
    mark = "❌" if verdict.has_failed else "✅"
    yield f"## {mark} {in_words(verdict)}"
    if verdict.problems:
        yield "\n".join(f"- **Run:** {code(problem)}" for problem in verdict.problems)
    rows = [judged for judged in verdict.checks if _is_shown(judged)]
    if rows:
        yield "\n".join(_table(rows[:MOST_ROWS], run))
    if others := _others(verdict, rows):
        yield others
    for number, finding in enumerate(causes[:MOST_LEAKS]):
        yield _leak(finding, number < UNFOLDED, found, verdict, run)
    if len(causes) > MOST_LEAKS:
        yield f"and {len(causes) - MOST_LEAKS} more leaks; all are in `report.html` and `report.json`."
    yield from _unanswered(verdict)
    yield from _baseline(verdict)
    if causes:
        yield _accept(causes)


def _is_shown(judged: Judged) -> bool:
    return (
        judged.outcome in (Outcome.LEAK, Outcome.INCONCLUSIVE)
        or judged.check.kind != "test"
        or bool(judged.check.findings)
    )


def _table(rows: Sequence[Judged], run: Run) -> Iterator[str]:
    yield "| check | tool | growth or size | 95 % interval | allowed | answer | course |"
    yield "|---|---|---|---|---|---|---|"
    order = list(_ANSWERS)
    worst_first = sorted(
        rows, key=lambda one: (order.index(one.outcome) not in (1, 2), one.check.id)
    )
    for judged in worst_first:
        figures = map(code, _figures(judged.check, run))
        tool = code(judged.check.tool or "sampling")
        cells = (code(judged.check.id), tool, *figures, _ANSWERS[judged.outcome])
        yield f"| {' | '.join(cells)} | {_course(judged.check)} |"


def _figures(check: Check, run: Run) -> tuple[str, str, str]:
    """Size, interval and what is allowed of what decided."""
    rates = [finding for finding in check.findings if finding.rate is not None]
    if rates and (rate := rates[0].rate) is not None:
        entry = run.baseline.growth.get(growth_key(check.id, rate))
        low, high = (
            quantity(rate.low, rate.unit),
            quantity(rate.high, rate.unit),
        )
        pace = f"{quantity(rate.per_iteration, rate.unit)} per request"
        return (
            pace,
            f"{low} to {high}",
            quantity(entry.allowed if entry else 0.0, rate.unit),
        )
    if total := leaked(check, run.policy):
        failed = (finding for finding in check.findings if fails(finding, run.policy))
        accepted = (run.baseline.leaks.get(finding.fingerprint) for finding in failed)
        ceiling = f"{sum(entry.max_bytes for entry in accepted if entry):,} bytes"
        repeated = next((one for one in check.growth if one.shape is Shape.LEAK), None)
        if repeated is None:
            return total, "exact", ceiling
        return (
            f"{total} per run",
            f"{repeated.low:,.4g} to {repeated.high:,.4g} {repeated.unit}",
            ceiling,
        )
    if check.diagnosis and (decisive := growth_text.deciding(check.diagnosis, check.growth)):
        low, high = (quantity(value, decisive.unit) for value in (decisive.low, decisive.high))
        return growth_text.head(check.diagnosis, check.growth), f"{low} to {high}", ""
    return "", "", ""


def _course(check: Check) -> str:
    decisive = (
        growth_text.deciding(check.diagnosis, check.growth)
        if check.diagnosis
        else next(iter(check.growth), None)
    )
    return growth_text.curve(decisive.samples) if decisive and len(decisive.samples) > 1 else ""


def _others(verdict: Verdict, rows: Sequence[Judged]) -> str:
    counts = dict.fromkeys(Outcome, 0)
    for judged in verdict.checks:
        counts[judged.outcome] += 1
    for judged in rows[:MOST_ROWS]:
        counts[judged.outcome] -= 1
    told = ", ".join(f"{count:,} {_ANSWERS[outcome]}" for outcome, count in counts.items() if count)
    return f"and {told} not listed" if told and rows else told


def _leak(
    finding: Finding, is_open: bool, found: Sequence[Finding], verdict: Verdict, run: Run
) -> str:
    title = f"{code(headline(finding))} {finding.status} {code(finding.fingerprint)}"
    lines = [line.text for line in finding_lines(finding, list(found), verdict, run.root)]
    opened = " open" if is_open else ""
    return f"<details{opened}><summary>{title}</summary>\n\n{block(lines[1:])}\n\n</details>"


def _unanswered(verdict: Verdict) -> Iterator[str]:
    open_ = [judged for judged in verdict.checks if judged.outcome is Outcome.INCONCLUSIVE]
    for judged in open_[:MOST_LEAKS]:
        reasons = "\n".join(f"- {code(reason)}" for reason in judged.reasons)
        again = f"\n- reproduce: {code(judged.check.reproduce)}" if judged.check.reproduce else ""
        yield f"**Inconclusive:** {code(judged.check.id)}\n\n{reasons}{again}"
    if len(open_) > MOST_LEAKS:
        yield f"and {len(open_) - MOST_LEAKS} more without an answer"


def _baseline(verdict: Verdict) -> Iterator[str]:
    known = [finding for finding in verdict.findings if finding.status is Status.KNOWN]
    if known:
        yield f"Accepted: {len(known)} known leak(s), {sum(one.size_bytes for one in known):,} bytes."
    if verdict.fixed:
        names = ", ".join(code(key) for key in verdict.fixed[:20])
        prune = "`pytest --leakguard --leakguard-prune`"
        yield f"Fixed: {len(verdict.fixed)} accepted leak(s) are gone ({names}); remove: {prune}"
    if verdict.expired:
        yield f"Expired: {', '.join(code(key) for key in verdict.expired[:20])}"
    if verdict.not_checked:
        yield f"Not checked: {len(verdict.not_checked)} accepted leak(s) of targets that did not run whole."


def _accept(causes: Sequence[Finding]) -> str:
    one = causes[0].fingerprint
    lines = [
        'pytest --leakguard --leakguard-accept="why they may stay"',
        f'pytest-leakguard baseline accept {one} --reason "why it may stay" --owner @team',
    ]
    return f"Fix it, or accept it on your machine and commit the baseline (all of them, or one):\n\n{block(lines)}"
