"""Writes every report of a run, and tells GitHub Actions where it listens. Formats nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pytest_leakguard.baseline import store
from pytest_leakguard.verdict import Run, Verdict

_FILES = (
    "report.json",
    "report.html",
    "junit.xml",
    "summary.md",
    "report.sarif",
    "gl-code-quality.json",
    "stacks.collapsed",
    "stacks.speedscope.json",
)
"""``report.json`` first, since the others can be made from it."""


def _reporters() -> Iterable[Callable[[Verdict, Run], str]]:
    """In the order of the files; imported when they are needed, since most runs write no report."""
    from pytest_leakguard.reporters import exports, html, junit, markdown, sarif
    from pytest_leakguard.reporters import json as report_json

    return (
        report_json.render,
        html.render,
        lambda verdict, run: junit.render(verdict, run.policy, run.root),
        markdown.render,
        sarif.render,
        exports.code_quality,
        exports.collapsed,
        exports.speedscope,
    )


def render_all(verdict: Verdict, run: Run) -> Iterator[tuple[str, str]]:
    """File name and text of each report."""
    for name, render in zip(_FILES, _reporters(), strict=True):
        yield name, render(verdict, run)


def write(directory: Path, verdict: Verdict, run: Run) -> None:
    """Every report of a run into one directory. Raises ``OSError`` when it cannot be written."""
    for name, text in render_all(verdict, run):
        store.write_text(directory / name, text)


def clear(directory: Path) -> None:
    """Removes the reports of an earlier run, so that none of them is taken for this one should it never end."""
    for name in _FILES:
        (directory / name).unlink(missing_ok=True)
