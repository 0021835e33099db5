"""How many leaks of which size, and the verdict in one line: the words of every headline."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.leaks import Finding, LeakKind, Rate, Status
from pytest_leakguard.core.text import counted, one_line, quantity, size
from pytest_leakguard.verdict import Judged, Verdict, root_causes

PER_RUN = " per run"
_THING = re.compile(r"^[+-]?[\d.,e+]+ (block|byte|descriptor|thread|process|file|task)")
"""How the first detail of a finding of a test begins: what was counted."""
_THINGS = {
    LeakKind.FILE_DESCRIPTORS: "file descriptor",
    LeakKind.THREADS: "thread",
    LeakKind.CHILD_PROCESSES: "child process",
}
_COUNTED = {"file": "temporary file", "task": "task"}
_OF_KIND = {
    LeakKind.DEFINITELY_LOST: " definitely lost",
    LeakKind.INDIRECTLY_LOST: " indirectly lost",
    LeakKind.POSSIBLY_LOST: " possibly lost",
    LeakKind.STILL_REACHABLE: " still reachable",
    LeakKind.MAPPINGS: " mapped",
}
_KINDS = ("test", "program", "service")
_NATIVE = " of native memory"
_ADJECTIVES = (
    (Outcome.INCONCLUSIVE, "inconclusive"),
    (Outcome.CLEAN, "clean"),
    (Outcome.SKIPPED, "skipped"),
    (Outcome.NOT_REPEATABLE, "not repeatable"),
)


def per(finding: Finding, check: Check | None) -> str:
    """What a size is for: a run of a test, or all of a program; a watched block says it itself."""
    if check is None or check.kind != "test":
        return ""
    is_of_block = bool(finding.details) and finding.details[0].startswith("left ")
    return "" if is_of_block else PER_RUN


def amount_of(finding: Finding, each: str) -> str:
    """``384 B per run (5 blocks)``, ``480 B definitely lost (10 blocks)``, ``1 thread per run``."""
    if finding.rate is not None:
        return one_line(f"{_pace(finding.rate)} ({finding.rate.metric})")
    thing = _thing(finding)
    if thing != "block":
        size_text = f" and {size(finding.size_bytes)}" if finding.size_bytes else ""
        left = "" if each else " left open" * (finding.kind is LeakKind.FILE_DESCRIPTORS)
        return f"{counted(finding.blocks, thing)}{size_text}{each}{left}"
    is_native = finding.kind is LeakKind.GROWTH
    what = _NATIVE if is_native else _OF_KIND.get(finding.kind, "")
    return f"{size(finding.size_bytes)}{what}{each} ({counted(finding.blocks, 'block')})"


def headline(finding: Finding, check: Check | None = None) -> str:
    """How much leaks, as the terminal says it."""
    return amount_of(finding, per(finding, check))


def _thing(finding: Finding) -> str:
    if finding.kind in _THINGS:
        return _THINGS[finding.kind]
    match = _THING.match(finding.details[0]) if finding.details else None
    return _COUNTED.get(match.group(1), "block") if match else "block"


def _pace(rate: Rate) -> str:
    if rate.unit == "bytes":
        return f"{size(_three_digits(rate.per_iteration))} per {rate.per}"
    return f"{quantity(rate.per_iteration, rate.unit)} per {rate.per}"


def _three_digits(value: float) -> float:
    """A measured size, without digits that its interval does not bear."""
    return float(f"{value:.3g}")


def sum_of(findings: Sequence[Finding], checks: Mapping[str, Check]) -> str:
    """All sizes together, by what they are for: ``1.2 KiB per run, 2 threads per run``."""
    sums: dict[str, int] = {}
    things: dict[tuple[str, str], int] = {}
    rates: dict[tuple[str, str], float] = {}
    for finding in findings:
        each = per(finding, checks.get(finding.checks[0])) if finding.checks else ""
        if finding.rate is not None:
            key = (_unit_of(finding), finding.rate.per)
            rates[key] = rates.get(key, 0.0) + finding.rate.per_iteration
            continue
        thing = _thing(finding)
        if thing != "block":
            things[thing, each] = things.get((thing, each), 0) + finding.blocks
        if finding.size_bytes or thing == "block":
            sums[each] = sums.get(each, 0) + finding.size_bytes
    texts = [f"{size(total)}{each}" for each, total in sums.items()]
    texts.extend(f"{counted(count, thing)}{each}" for (thing, each), count in things.items())
    for (unit, each), pace in rates.items():
        texts.append(_pace(Rate("", unit, pace, pace, pace, per=each)))
    return ", ".join(texts)


def _unit_of(finding: Finding) -> str:
    """In our own words: the unit of a report that somebody else made may be any text."""
    if finding.rate is not None and finding.rate.unit == "bytes":
        return "bytes"
    thing = _THINGS.get(finding.kind, "unit")
    return f"{thing}{'es' if thing.endswith('s') else 's'}"


def in_words(verdict: Verdict) -> str:
    """``FAIL leakguard: 1 new leak (384 B per run) in 20 tests; 1 test clean``.

    No text of a target is in it.
    """
    texts = []
    if verdict.failing:
        # What was seen before a check became inconclusive is in none that leaks.
        checks = _of(verdict.checks, Outcome.LEAK) if verdict.summary[Outcome.LEAK] else ""
        texts.append(f"{_leaks(verdict)}{f' in {checks}' if checks else ''}")
    for outcome, adjective in _ADJECTIVES:
        if verdict.summary[outcome]:
            texts.append(f"{_of(verdict.checks, outcome)} {adjective}")
    if not verdict.was_measured and not verdict.summary[Outcome.INCONCLUSIVE]:
        counts = f" ({'; '.join(texts)})" if texts else ""
        return f"FAIL leakguard: nothing was measured{counts}"
    return f"{'FAIL' if verdict.has_failed else 'ok'} leakguard: {'; '.join(texts)}"


def _leaks(verdict: Verdict) -> str:
    causes = root_causes(verdict.failing)
    checks = checks_of(verdict)
    counts = dict.fromkeys((Status.NEW, Status.GROWN, Status.EXPIRED), 0)
    for cause in causes:
        counts[cause.status] += 1
    texts = []
    for status, count in counts.items():
        if count:
            texts.append(counted(count, f"{status} leak"))
    return f"{', '.join(texts)} ({sum_of(verdict.failing, checks)})"


def checks_of(verdict: Verdict) -> dict[str, Check]:
    """By their names."""
    return {judged.check.id: judged.check for judged in verdict.checks}


def _of(checks: Iterable[Judged], outcome: Outcome) -> str:
    """``19 tests``, ``2 tests and 1 program``."""
    counts: dict[str, int] = {}
    for judged in checks:
        if judged.outcome is outcome:
            kind = judged.check.kind if judged.check.kind in _KINDS else "check"
            counts[kind] = counts.get(kind, 0) + 1
    texts = [counted(number, kind) for kind, number in sorted(counts.items(), key=_tests_first)]
    return " and ".join(filter(None, (", ".join(texts[:-1]), *texts[-1:])))


def _tests_first(entry: tuple[str, int]) -> tuple[bool, str]:
    return entry[0] != "test", entry[0]
