"""``summary.md``: the verdict as a job summary or a comment, in GitHub-flavoured Markdown.

Text of a target stands in ``<code>`` or ``<pre>`` only, with every character that Markdown knows as
an entity: it makes no link, no mention, no heading and no row.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence

from pytest_leakguard.baseline import edit, store
from pytest_leakguard.baseline.compare import growth_key
from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.fingerprint import is_nameless
from pytest_leakguard.core.leaks import Finding, Rate, Status
from pytest_leakguard.core.options import BASELINE_NAME
from pytest_leakguard.core.text import counted, one_line, printable, shortened, size
from pytest_leakguard.reporters import growth_text
from pytest_leakguard.reporters.counts import checks_of, sum_of
from pytest_leakguard.reporters.leak_text import Page, below, beside, unnamed_title
from pytest_leakguard.reporters.terminal import in_words, leaked
from pytest_leakguard.verdict import Judged, Run, Verdict, failing, fails, root_causes

MOST_BYTES = 900 * 1024
"""GitHub drops a summary above 1 MiB and stays green; what others wrote needs room too."""
LEAST_BYTES = 4096
"""A summary that has to be shorter says nothing that is worth the rest of others' room."""
MOST_ROWS = 200
"""Checks in the table; nobody reads more, and the report has all of them."""
MOST_LEAKS = 50
"""Leaks, and inconclusive checks, that are described."""
_NOTHING = "nothing"
"""What is allowed of a leak that nobody has accepted."""
_MOST_KEYS = 20
"""Keys of the baseline listed in one line."""
MOST_CODE = 300
"""Characters of one inline text, which may come from a target: none may take the room of all."""
MOST_LINE = 2000
"""Characters of one line of preformatted text, for the same reason."""
UNFOLDED = 1
"""Leaks that are shown without a click."""
_ROOM_FOR_CUT_BYTES = 200
"""Kept free for the sentence that says that something was left out."""
_MARKDOWN = re.compile(r"[\\`*_{}\[\]()#!|~:@&<>]|(?<=www)\.")
_ANSWERS = {
    Outcome.CLEAN: "✅ clean",
    Outcome.LEAK: "❌ leak",
    Outcome.INCONCLUSIVE: "❌ inconclusive",
    Outcome.SKIPPED: "⚪ skipped",
    Outcome.NOT_REPEATABLE: "⚪ not repeatable",
}


MOST_ENTRIES = 20
"""Entries to paste; with more, a run that accepts them is the shorter way."""
LONGEST_ENTRY = 8_000
"""Characters of an entry to paste; the identifiers of its checks may be as long as tests like."""
_REASON = ""
"""Left for who pastes the entry: a baseline with an entry without a reason is refused."""


def code(text: str) -> str:
    """``text`` as inline code that means nothing but itself, in a table as well."""
    escaped = _MARKDOWN.sub(
        lambda match: f"&#{ord(match.group())};", shortened(one_line(text), MOST_CODE)
    )
    return f"<code>{escaped}</code>" if escaped else ""


def block(lines: Sequence[str]) -> str:
    """Lines as preformatted text; no empty line, which would end it."""
    text = "\n".join(shortened(printable(line), MOST_LINE) or " " for line in lines)
    return f"<pre>{html.escape(text)}</pre>"


def render(verdict: Verdict, run: Run, most_bytes: int = MOST_BYTES) -> str:
    """The whole summary in at most ``most_bytes`` of UTF-8.

    What had to be left out is said at its end.
    """
    kept: list[str] = []
    room = most_bytes - _ROOM_FOR_CUT_BYTES
    parts = list(_parts(verdict, run))
    for part in parts:
        room -= len(part.encode("utf-8", "backslashreplace")) + 2
        if room < 0:
            break
        kept.append(part)
    if len(kept) < len(parts):
        kept.append(
            f"**Cut off here** at {most_bytes // 1024:,} KiB; "
            "everything is in `report.html` and `report.json`."
        )
    return "\n\n".join(kept) + "\n"


def _parts(verdict: Verdict, run: Run) -> Iterator[str]:
    """Paragraphs, the most important first."""
    found = failing(verdict, run.policy)
    causes = root_causes(found)
    page = beside(verdict, causes, run.root)
    mark = "❌" if verdict.has_failed else "✅"
    yield f"## {mark} {in_words(verdict)}"
    if verdict.problems:
        yield "\n".join(f"- **Run:** {code(problem)}" for problem in verdict.problems)
    if verdict.notes:
        yield "\n".join(f"- **Note:** {code(note)}" for note in verdict.notes)
    rows = [judged for judged in verdict.checks if _is_shown(judged)]
    if rows:
        yield "\n".join(_table(rows[:MOST_ROWS], run))
    if others := _others(verdict, rows):
        yield others
    for number, finding in enumerate(causes[:MOST_LEAKS]):
        yield _leak(finding, number < UNFOLDED, page)
    if len(causes) > MOST_LEAKS:
        more = f"and {len(causes) - MOST_LEAKS} more leaks"
        yield f"{more}; all are in `report.html` and `report.json`."
    yield from _unanswered(verdict)
    yield from _baseline(verdict)
    if causes:
        yield _accept(causes)
        if entries := _entries(found, run):
            yield entries


def _is_shown(judged: Judged) -> bool:
    return (
        judged.outcome in (Outcome.LEAK, Outcome.INCONCLUSIVE)
        or judged.check.kind != "test"
        or bool(judged.check.findings)
    )


def _table(rows: Sequence[Judged], run: Run) -> Iterator[str]:
    yield "| Check | Result | Leaked | Allowed | Trend |"
    yield "|---|---|---|---|---|"
    for judged in sorted(rows, key=lambda judged: (not judged.has_failed, judged.check.id)):
        check = judged.check
        under = "" if check.kind == "test" else f" ({code(check.tool or 'sampling')})"
        cells = (
            f"{code(check.id)}{under}",
            _ANSWERS[judged.outcome],
            *map(code, _figures(check, run)),
            _timeline(check),
        )
        yield f"| {' | '.join(cells)} |"


def _figures(check: Check, run: Run) -> tuple[str, str]:
    """How much of what decided leaked, and how much of it is allowed."""
    for finding in check.findings:
        if finding.rate is not None:
            return _rate_figures(check, finding.rate, run)
    if total := leaked(check, run.policy):
        return total, _allowed(check, run)
    if check.diagnosis and (decisive := growth_text.deciding(check.diagnosis, check.growth)):
        interval = growth_text.interval(decisive)
        return f"{growth_text.head(check.diagnosis, check.growth)} {interval}", ""
    return "", ""


def _rate_figures(check: Check, rate: Rate, run: Run) -> tuple[str, str]:
    entry = run.baseline.growth.get(growth_key(check.id, rate))
    pace = f"{growth_text.measured(rate.per_iteration, rate.unit)} per {rate.per}"
    allowed = growth_text.measured(entry.allowed, rate.unit) if entry else _NOTHING
    return f"{pace} {growth_text.interval(rate)}", allowed


def _allowed(check: Check, run: Run) -> str:
    accepted_bytes = 0
    for finding in check.findings:
        entry = run.baseline.leaks.get(finding.fingerprint)
        if entry and fails(finding, run.policy):
            accepted_bytes += entry.max_bytes
    return size(accepted_bytes) if accepted_bytes else _NOTHING


def _timeline(check: Check) -> str:
    if check.diagnosis:
        growth = growth_text.deciding(check.diagnosis, check.growth)
    else:
        growth = next(iter(check.growth), None)
    return growth_text.curve(growth.samples) if growth and len(growth.samples) > 1 else ""


def _others(verdict: Verdict, rows: Sequence[Judged]) -> str:
    counts = dict.fromkeys(Outcome, 0)
    for judged in verdict.checks:
        counts[judged.outcome] += 1
    for judged in rows[:MOST_ROWS]:
        counts[judged.outcome] -= 1
    texts = []
    for outcome, count in counts.items():
        if count:
            texts.append(f"{count:,} {_ANSWERS[outcome]}")
    text = ", ".join(texts)
    return f"and {text} not listed" if text and rows else text


def _leak(finding: Finding, is_open: bool, page: Page) -> str:
    head = f"{code(unnamed_title(finding, page))} {code(finding.fingerprint)}"
    lines = [text.removeprefix("     ") for text in below(finding, page)]
    opened = " open" if is_open else ""
    return f"<details{opened}><summary>{head}</summary>\n\n{block(lines)}\n\n</details>"


def _unanswered(verdict: Verdict) -> Iterator[str]:
    open_ = [judged for judged in verdict.checks if judged.outcome is Outcome.INCONCLUSIVE]
    for judged in open_[:MOST_LEAKS]:
        reasons = "\n".join(f"- {code(reason)}" for reason in judged.reasons)
        again = f"\n- reproduce: {code(judged.check.reproduce)}" if judged.check.reproduce else ""
        yield f"**Inconclusive:** {code(judged.check.id)}\n\n{reasons}{again}"
    if len(open_) > MOST_LEAKS:
        yield f"and {len(open_) - MOST_LEAKS} more that are inconclusive"


def _baseline(verdict: Verdict) -> Iterator[str]:
    accepted = [finding for finding in verdict.findings if finding.status is Status.KNOWN]
    if accepted:
        size_text = sum_of(accepted, checks_of(verdict))
        yield f"Accepted: {counted(len(accepted), 'known leak')} ({size_text})."
    if verdict.fixed:
        keys = ", ".join(code(key) for key in verdict.fixed[:_MOST_KEYS])
        prune = "`pytest --leakguard --leakguard-prune`"
        count = counted(len(verdict.fixed), "accepted leak")
        yield f"Fixed: {count} no longer found ({keys}); remove: {prune}"
    if verdict.expired:
        yield f"Expired: {', '.join(code(key) for key in verdict.expired[:_MOST_KEYS])}"
    if verdict.not_checked:
        count = counted(len(verdict.not_checked), "accepted leak")
        yield f"Not checked: {count} of targets that did not run to the end."


def _can_be_accepted(finding: Finding) -> bool:
    """Leaks without a stack share one name, and no entry covers it."""
    return not is_nameless(finding.fingerprint)


def _accept(causes: Sequence[Finding]) -> str:
    named = [cause for cause in causes if _can_be_accepted(cause)]
    if not named:
        return (
            "Fix it. What has no stack cannot be accepted, since the acceptance would cover every "
            "leak without one: build with -g, or run with longer stacks."
        )
    accept = f"pytest-leakguard baseline accept {named[0].fingerprint}"
    lines = [
        'pytest --leakguard --leakguard-accept="why they may stay"',
        f'{accept} --from leakguard-report --reason "why it may stay" --owner @team',
    ]
    advice = (
        "Fix it, or accept it on your machine and commit the baseline (all of them by running it "
        "again, or one from the report of this run, downloaded):"
    )
    return f"{advice}\n\n{block(lines)}"


def _tables(findings: Sequence[Finding], run: Run) -> str:
    leaks = store.entries_for(findings, run.baseline, _REASON, "")
    growth = store.growth_entries_for(findings, run.baseline, _REASON, "")
    return edit.tables(leaks, growth).strip("\n")


def _entries(found: Sequence[Finding], run: Run) -> str:
    """What to paste into the baseline, where nothing can be run or downloaded."""
    shown = []
    for finding in filter(_can_be_accepted, found[:MOST_ENTRIES]):
        if len(_tables([finding], run)) <= LONGEST_ENTRY:
            shown.append(finding)
    if not shown:
        return ""
    text = _tables(shown, run)
    # An empty line would end the block, and a line that is cut would be no TOML.
    lines = [html.escape(printable(line)) or " " for line in text.split("\n")]
    name = code(run.baseline_file or BASELINE_NAME)
    more = f" (the first {len(shown)} of {len(found)})" if len(found) > len(shown) else ""
    body = f"<pre>{chr(10).join(lines)}</pre>"
    title = f"To paste into {name}, with a reason{more}"
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"
