"""Leaks in other tools' formats: GitLab's code quality, collapsed stacks, speedscope."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pytest_leakguard import __version__
from pytest_leakguard.core.fingerprint import calls
from pytest_leakguard.core.leaks import Finding, Frame
from pytest_leakguard.core.text import one_line, place
from pytest_leakguard.reporters.counts import checks_of
from pytest_leakguard.reporters.leak_text import sentence
from pytest_leakguard.reporters.locations import of_baseline, of_finding
from pytest_leakguard.reporters.rules import RULES
from pytest_leakguard.verdict import Run, Verdict, actionable, failing


def code_quality(verdict: Verdict, run: Run) -> str:
    """GitLab's code quality report: the widget of a merge request and marks in its diff."""
    failed = {finding.fingerprint for finding in failing(verdict, run.policy)}
    issues, checks = [], checks_of(verdict)
    for finding in actionable(verdict, run.policy):
        location = of_finding(finding, run) or of_baseline(run)
        issues.append(
            {
                "description": sentence(finding, checks, run.root),
                "check_name": RULES[finding.kind].id,
                "fingerprint": finding.fingerprint,
                "severity": "critical" if finding.fingerprint in failed else "minor",
                "location": {"path": location.file, "lines": {"begin": location.line}},
            }
        )
    return json.dumps(issues, indent=2, ensure_ascii=True) + "\n"


def collapsed(verdict: Verdict, run: Run) -> str:
    """One line per leak, ``main;push;make_node 800``: outermost call first, then bytes."""
    lines = []
    for finding in weighed(verdict, run):
        stack = ";".join(_folded(frame) for frame in stack_of(finding))
        lines.append(f"{stack} {finding.size_bytes}\n")
    return "".join(lines)


def speedscope(verdict: Verdict, run: Run) -> str:
    """A sampled profile whose weights are leaked bytes.

    For https://www.speedscope.app/ and for editors.
    """
    index: dict[tuple[str, str, int], int] = {}
    samples: list[list[int]] = []
    weights: list[int] = []
    for finding in weighed(verdict, run):
        weights.append(finding.size_bytes)
        samples.append([])
        for frame in stack_of(finding):
            samples[-1].append(index.setdefault(_key(frame), len(index)))
    data: dict[str, Any] = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "name": "leaked bytes",
        "exporter": f"pytest-leakguard@{__version__}",
        "shared": {"frames": [_speedscope_frame(*key) for key in index]},
        "profiles": [
            {
                "type": "sampled",
                "name": "leaked bytes",
                "unit": "bytes",
                "startValue": 0,
                "endValue": sum(weights),
                "samples": samples,
                "weights": weights,
            }
        ],
    }
    return json.dumps(data, ensure_ascii=True) + "\n"


def weighed(verdict: Verdict, run: Run) -> Iterator[Finding]:
    """What fails and has bytes and a stack.

    Growth has no stack; descriptors and threads have no bytes.
    """
    for finding in failing(verdict, run.policy):
        if finding.size_bytes > 0 and finding.stack:
            yield finding


def stack_of(finding: Finding) -> tuple[Frame, ...]:
    """Outermost call first, without what lies below ``main`` and without allocators."""
    return tuple(reversed(calls(finding.stack) or finding.stack))


def _folded(frame: Frame) -> str:
    """A name without what separates names."""
    return one_line(frame.function or place(frame)).replace(";", ":").replace(" ", "_") or "?"


def _key(frame: Frame) -> tuple[str, str, int]:
    return (
        one_line(frame.function or place(frame)) or "?",
        one_line(frame.file or ""),
        frame.line or 0,
    )


def _speedscope_frame(name: str, file: str, line: int) -> dict[str, Any]:
    frame: dict[str, Any] = {"name": name}
    if file:
        frame["file"] = file
    if line:
        frame["line"] = line
    return frame
