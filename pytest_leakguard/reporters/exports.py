"""Leaks in other tools' formats: GitLab's code quality, collapsed stacks for flame graphs, speedscope."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pytest_leakguard import __version__
from pytest_leakguard.core.fingerprint import calls
from pytest_leakguard.core.leaks import Finding, Frame
from pytest_leakguard.core.text import one_line, place
from pytest_leakguard.reporters.locations import Location, of_finding
from pytest_leakguard.reporters.rules import RULES
from pytest_leakguard.reporters.sarif import reported
from pytest_leakguard.reporters.terminal import headline
from pytest_leakguard.verdict import Run, Verdict, failing


def code_quality(verdict: Verdict, run: Run) -> str:
    """GitLab's code quality report: the widget of a merge request and marks in its diff."""
    failed = {finding.fingerprint for finding in failing(verdict, run.policy)}
    told = []
    for finding in reported(verdict, run):
        location = of_finding(finding, run) or Location(
            run.baseline_file or "leakguard-baseline.toml", 1
        )
        told.append(
            {
                "description": headline(finding),
                "check_name": RULES[finding.kind].id,
                "fingerprint": finding.fingerprint,
                "severity": "critical" if finding.fingerprint in failed else "minor",
                "location": {"path": location.file, "lines": {"begin": location.line}},
            }
        )
    return json.dumps(told, indent=2, ensure_ascii=True) + "\n"


def collapsed(verdict: Verdict, run: Run) -> str:
    """One line per leak, ``main;push;make_node 800``: outermost call first, then bytes."""
    lines = (
        f"{';'.join(_folded(frame) for frame in stack_of(finding))} {finding.size_bytes}"
        for finding in weighed(verdict, run)
    )
    return "".join(f"{line}\n" for line in lines)


def speedscope(verdict: Verdict, run: Run) -> str:
    """A sampled profile whose weights are leaked bytes, for https://www.speedscope.app/ and editors."""
    index: dict[tuple[str, str, int], int] = {}
    found = list(weighed(verdict, run))
    samples = [
        [index.setdefault(_key(frame), len(index)) for frame in stack_of(one)] for one in found
    ]
    weights = [finding.size_bytes for finding in found]
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
    """What fails and has bytes and a stack; growth has no stack, descriptors and threads have no bytes."""
    return (one for one in failing(verdict, run.policy) if one.size_bytes > 0 and one.stack)


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
    return {"name": name, **({"file": file} if file else {}), **({"line": line} if line else {})}
