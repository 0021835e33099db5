"""``pytest-leakguard explain``: all that baseline, history and last report know of one leak."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from pytest_leakguard.baseline import store
from pytest_leakguard.baseline.compare import AcceptedGrowth, AcceptedLeak, growth_key
from pytest_leakguard.cli.baseline import report_path
from pytest_leakguard.core.errors import LeakguardError, UsageProblem
from pytest_leakguard.core.leaks import Finding
from pytest_leakguard.core.options import BASELINE_NAME
from pytest_leakguard.core.text import amount, indented, place, site
from pytest_leakguard.processes import supervisor
from pytest_leakguard.reporters import json_reader
from pytest_leakguard.reporters.counts import headline
from pytest_leakguard.reporters.rules import RULES
from pytest_leakguard.verdict import CLEAN

MOST_COMMITS = 10
"""Commits shown of the history of one entry."""
_GIT_TIMEOUT_S = 20.0
"""Seconds for git to search a history; a longer one is left out."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``explain``."""
    parser.add_argument(
        "fingerprint", help="16 digits of 0-9a-f, or TARGET[METRIC] of accepted growth"
    )
    parser.add_argument("--baseline", default=BASELINE_NAME, type=Path)
    parser.add_argument(
        "--report", default="leakguard-report", type=Path, help="directory or file of a report.json"
    )
    parser.set_defaults(action=_explain)


def _explain(arguments: argparse.Namespace) -> int:
    name, path = arguments.fingerprint, report_path(arguments.report)
    baseline = store.read_baseline(arguments.baseline)
    findings = json_reader.read_findings(path) if path.is_file() else []
    finding = next((finding for finding in findings if name in _names(finding)), None)
    keys = [name, *(_names(finding) if finding else ())]
    leak = baseline.leaks.get(name)
    growth = next((baseline.growth[key] for key in keys if key in baseline.growth), None)
    if leak is None and growth is None and finding is None:
        raise UsageProblem(f"{name} is neither in {arguments.baseline} nor in {path}")
    lines: list[str] = []
    if finding:
        lines.extend(_found(finding))
    else:
        lines.append(f"not in {path}: fixed, or not measured there")
    if leak:
        lines.extend(_accepted_leak(leak))
    if growth:
        lines.extend(_accepted_growth(growth))
    if not leak and not growth:
        lines.append(f"not accepted in {arguments.baseline}")
    lines.extend(_history(growth.id if growth else name, arguments.baseline))
    for line in lines:
        print(indented(line))
    return CLEAN


def _names(finding: Finding) -> tuple[str, ...]:
    """The fingerprint, and for growth the keys it would be accepted under."""
    keys = (growth_key(check, finding.rate) for check in finding.checks if finding.rate)
    return (finding.fingerprint, *keys)


def _found(finding: Finding) -> Iterator[str]:
    yield f"{headline(finding)} [{finding.status}]"
    yield f"    {RULES[finding.kind].short} {RULES[finding.kind].full}"
    if finding.stack:
        yield f"at {site(finding, Path.cwd())}; stack, innermost call first:"
        for frame in finding.stack:
            yield f"    {place(frame, Path.cwd())}"
    for detail in finding.details:
        yield f"    {detail}"
    if finding.way:
        yield f"held by {finding.way}"
    yield f"seen in: {', '.join(finding.checks)}"


def _accepted_leak(entry: AcceptedLeak) -> Iterator[str]:
    yield _by_whom(entry)
    most = amount(entry.max_bytes, entry.max_blocks)
    yield f"at most {most} in any one of: {', '.join(entry.targets)}"
    for call in entry.stack:
        yield f"    {call}"


def _accepted_growth(entry: AcceptedGrowth) -> Iterator[str]:
    yield _by_whom(entry)
    yield f"at most {entry.allowed:g} {entry.unit} as {entry.id}"


def _by_whom(entry: AcceptedLeak | AcceptedGrowth) -> str:
    owner = f" by {entry.owner}" if entry.owner else ""
    until = f" until {entry.expires}" if entry.expires else ""
    return f"accepted{owner}{until}: {entry.reason}"


def _history(name: str, baseline: Path) -> Iterator[str]:
    """Commits that brought, changed or removed the entry.

    Nothing where there is no git or no repository.
    """
    search = ["-s", "--date=short", "--format=%ad %h %an: %s", f"-n{MOST_COMMITS}", f"-S{name}"]
    search += ["--", baseline.name]
    folder = str(baseline.absolute().parent)
    try:
        code, output, _ = supervisor.capture(["git", "-C", folder, "log", *search], _GIT_TIMEOUT_S)
    except (LeakguardError, OSError):
        return
    if code != 0 or not output.strip():
        return
    yield "history of its entry, newest first:"
    for commit in output.decode("utf-8", "backslashreplace").splitlines():
        yield f"    {commit}"
