"""Every report of a run in its file. Formats nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pytest_leakguard.core.errors import UsageProblem
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


def renderers() -> Iterator[tuple[str, Callable[[Verdict, Run], str]]]:
    """File name and renderer of each report; imported here, since most runs write no report."""
    from pytest_leakguard.reporters import exports, html, junit, markdown, sarif
    from pytest_leakguard.reporters import json as report_json

    in_order = (
        report_json.render,
        html.render,
        junit.render,
        markdown.render,
        sarif.render,
        exports.code_quality,
        exports.collapsed,
        exports.speedscope,
    )
    yield from zip(_FILES, in_order, strict=True)


def render_all(verdict: Verdict, run: Run) -> Iterator[tuple[str, str]]:
    """File name and text of each report."""
    for name, render in renderers():
        yield name, render(verdict, run)


def clear(directory: Path) -> None:
    """Removes the reports of an earlier run, so that none is taken for this one's if it dies.

    Raises ``UsageProblem`` where that is no directory, or may not be changed.
    """
    for name in _FILES:
        try:
            (directory / name).unlink(missing_ok=True)
        except OSError as error:
            raise UsageProblem(f"{directory / name} cannot be removed: {error.strerror}") from None
