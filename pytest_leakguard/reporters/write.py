"""Every report of a run in its file. Formats nothing itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.reporters.history import Earlier
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
UNFINISHED = "leakguard-unfinished"
"""The file that lies in a report directory from the start of a run until it has been judged."""
NOT_STARTED = "pytest could not start: "
"""Begins the reason of a run that has never begun."""
_MOST_OF_A_REASON = 500
"""Characters of a reason; an import error with its path has fewer."""
_WHY_UNFINISHED = (
    "pytest ended before the run was judged (os._exit in a test, a kill, or no memory), "
    "so nothing in this directory is its report"
)


def renderers(
    history: Sequence[Earlier] = (),
) -> Iterator[tuple[str, Callable[[Verdict, Run], str]]]:
    """File name and renderer of each report; imported here, since most runs write no report."""
    from pytest_leakguard.reporters import exports, html, junit, markdown, sarif
    from pytest_leakguard.reporters import json as report_json

    in_order = (
        report_json.render,
        partial(html.render, history=history),
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


def begin(directory: Path, why: str = _WHY_UNFINISHED) -> None:
    """Marks ``directory`` as one whose run has not ended; where it cannot, the end will say so.

    The mark of a directory that is not there yet lies beside it: making it is the end's affair.
    ``why`` is for a run of which it is known that it will never end.
    """
    inside, beside = _marks(directory)
    mark = inside if directory.is_dir() else beside
    with suppress(OSError):
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(why + "\n", encoding="utf-8")


def forget(directory: Path) -> None:
    """Removes what earlier runs have left there: neither a report nor a mark answers for the next.

    Raises ``UsageProblem`` where that is no directory, or may not be changed.
    """
    clear(directory)
    end(directory)


def end(directory: Path) -> None:
    """Takes the mark away."""
    for mark in _marks(directory):
        with suppress(OSError):
            mark.unlink(missing_ok=True)


def why_unfinished(directory: Path) -> str:
    """Why what lies in ``directory`` is no report of a whole run; empty when nothing says so."""
    return _WHY_UNFINISHED if any(map(os.path.lexists, _marks(directory))) else ""


def why_not_started(directory: Path) -> str:
    """What kept pytest from starting, where the plugin has seen it; empty otherwise.

    A test may have written anything there, so this is only ever shown beside an error.
    """
    for mark in _marks(directory):
        with suppress(OSError), mark.open(encoding="utf-8", errors="replace") as stream:
            text = stream.read(_MOST_OF_A_REASON).strip()
            if text.startswith(NOT_STARTED):
                return text
    return ""


def _marks(directory: Path) -> tuple[Path, Path]:
    directory = directory.absolute()
    return directory / UNFINISHED, directory.with_name(f".{directory.name}.{UNFINISHED}")
