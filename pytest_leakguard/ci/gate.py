"""What a build system needs to know of a finished run: pass, fail or error.

Knows no build system in particular.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pytest_leakguard.core.checks import Outcome
from pytest_leakguard.core.errors import LeakguardError
from pytest_leakguard.core.leaks import Status
from pytest_leakguard.core.text import counted, one_line
from pytest_leakguard.reporters import json_reader
from pytest_leakguard.reporters import write as reports
from pytest_leakguard.reporters.conclude import repository_of
from pytest_leakguard.reporters.provenance import commits
from pytest_leakguard.reporters.terminal import in_words
from pytest_leakguard.verdict import CLEAN, INCONCLUSIVE, LEAKS, Run, Verdict, failing

PASS, FAIL, ERROR = "pass", "fail", "error"
EXIT_STATUS = {PASS: CLEAN, FAIL: LEAKS, ERROR: INCONCLUSIVE}
"""Exit status of ``pytest-leakguard ci result`` for each answer."""
_FILES = {
    "report-json": "report.json",
    "report-html": "report.html",
    "sarif": "report.sarif",
    "summary": "summary.md",
}
"""Name of an output, and the file whose path it is."""
_PYTEST_ENDED = {
    2: "pytest was interrupted, or could not collect the tests",
    3: "pytest failed by an internal error",
    4: "pytest did not accept its options",
    5: "pytest ran no test: none was collected, or all were deselected",
}
_REFUSED = 4
"""Exit status of pytest for options that it does not accept."""
_BLOCKED = (
    "pytest did not accept its options: pytest-leakguard was not active (not installed for this "
    "Python, or blocked by -p no:leakguard or --disable-plugin-autoload on the command line, in "
    "PYTEST_ADDOPTS or in addopts), or an option has a bad value, which pytest's last lines name"
)
_NOT_LOADED = (
    "pytest-leakguard was not active, so nothing was measured: PYTEST_DISABLE_PLUGIN_AUTOLOAD is "
    "set; unset it, or add -p pytest_leakguard.plugin"
)
_NO_AUTOLOAD = "PYTEST_DISABLE_PLUGIN_AUTOLOAD"
_SHOWN_OF_COMMIT = 12
"""Digits of a commit that people are shown; git shows 7 to 12."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """The answer a merge is blocked by, with what a workflow may want to know of it."""

    result: str
    """``pass``, ``fail`` (leaks, or failing tests), or ``error``.

    ``error`` is where nothing proves that anything was measured.
    """
    why: str
    directory: Path
    new_leaks: int = 0
    grown_leaks: int = 0
    inconclusive: int = 0
    stale_entries: int = 0

    @property
    def exit_status(self) -> int:
        """That of the console script."""
        return EXIT_STATUS[self.result]

    def outputs(self) -> dict[str, str]:
        """Name and value of everything a later step can ask for.

        The value for a file that is not there is empty.
        """
        paths = {}
        for name, file in _FILES.items():
            path = self.directory / file
            paths[name] = str(path) if path.is_file() else ""
        return {
            "result": self.result,
            "new-leaks": str(self.new_leaks),
            "grown-leaks": str(self.grown_leaks),
            "inconclusive": str(self.inconclusive),
            "stale-entries": str(self.stale_entries),
            "report": str(self.directory) if self.directory.is_dir() else "",
            **paths,
        }


def read_result(directory: Path, pytest_exit: int | None = None) -> GateResult:
    """The answer of the run that wrote ``directory``.

    ``pytest_exit`` is pytest's exit status where pytest ran. Never raises: whatever is missing or
    damaged is an ``error``, and the reason is in ``why``.
    """
    directory = directory.absolute()
    unfinished = reports.why_unfinished(directory)
    try:
        run = json_reader.read_run(directory / "report.json")
    except LeakguardError as error:
        why = _why_no_report(directory, pytest_exit, error)
        return GateResult(ERROR, one_line(why), directory)
    # Whatever lies beside the mark of an unfinished run, a test may have written it.
    unfinished = unfinished and (reports.why_not_started(directory) or unfinished)
    if wrong := unfinished or _of_another_commit(run, directory):
        return GateResult(ERROR, one_line(wrong), directory)
    verdict = run.judge()
    failed = Counter(finding.status for finding in failing(verdict, run.policy))
    result, why = _answer(verdict, pytest_exit)
    if not verdict.was_measured and run.selection.ran_unchecked:
        why = f"{why}: {_why_unchecked(len(run.selection.ran_unchecked))}"
    return GateResult(
        result,
        one_line(why),
        directory,
        new_leaks=failed[Status.NEW],
        grown_leaks=failed[Status.GROWN],
        inconclusive=verdict.summary[Outcome.INCONCLUSIVE],
        stale_entries=len(verdict.fixed),
    )


def _why_no_report(directory: Path, pytest_exit: int | None, error: LeakguardError) -> str:
    """The real reason, as far as anybody has left word of it."""
    if real := reports.why_not_started(directory):
        return real
    ended = _ended(pytest_exit)
    told = [ended, reports.why_unfinished(directory)]
    if any(told):
        if pytest_exit == _REFUSED:
            return _NOT_LOADED if os.environ.get(_NO_AUTOLOAD) else _BLOCKED
        return "; ".join(filter(None, (*told, "" if told[1] else "it has left no report.json")))
    if (directory / "report.json").exists():
        return str(error)
    return (
        f"nothing was measured: there is no report.json in {directory}; pytest ran without "
        "--leakguard-report, with another folder, or only listed the tests (--collect-only)"
    )


def _why_unchecked(ran: int) -> str:
    """What may be said of tests that ran and in which no check was made."""
    return (
        f"{counted(ran, 'test')} ran, and none was screened: all of them failed or were skipped, "
        "or --leakguard-scope=marked found none with the marker"
    )


def _of_another_commit(run: Run, directory: Path) -> str:
    """Why the report does not speak for what is checked out; empty where it may."""
    commit, here = run.environment.get("commit", ""), commits(repository_of(directory))
    if not commit or not here or commit in here:
        return ""
    now = " or ".join(sorted(name[:_SHOWN_OF_COMMIT] for name in here))
    return (
        f"the report is of another commit ({commit[:_SHOWN_OF_COMMIT]}, and {now} is checked out), "
        "so this one was not measured"
    )


def _answer(verdict: Verdict, pytest_exit: int | None) -> tuple[str, str]:
    """The verdict of the report, and what pytest itself adds to it: it can only make it worse."""
    counts, ended = in_words(verdict).partition(": ")[2], _ended(pytest_exit)
    if verdict.exit_status == LEAKS:
        return FAIL, counts
    if ended:
        return ERROR, f"{counts}: {'; '.join(verdict.problems) or ended}"
    if verdict.exit_status != CLEAN:
        return ERROR, "; ".join((counts, *verdict.problems))
    if pytest_exit == 1:
        return FAIL, f"tests failed; the leak checks that were made: {counts}"
    return PASS, counts


def _ended(pytest_exit: int | None) -> str:
    """How pytest ended where no verdict can be trusted after it; empty otherwise."""
    if pytest_exit in (None, 0, 1):
        return ""
    return _PYTEST_ENDED.get(pytest_exit or 0, f"pytest ended with exit status {pytest_exit}")
