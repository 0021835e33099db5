"""What a build system needs to know of a finished run: pass, fail or error.

Knows no build system in particular.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pytest_leakguard.core.checks import Outcome
from pytest_leakguard.core.errors import LeakguardError
from pytest_leakguard.core.leaks import Status
from pytest_leakguard.core.text import one_line
from pytest_leakguard.reporters import json_reader
from pytest_leakguard.reporters import write as reports
from pytest_leakguard.reporters.terminal import in_words
from pytest_leakguard.verdict import CLEAN, INCONCLUSIVE, LEAKS, Verdict, failing

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
    4: "pytest did not accept its options: is pytest-leakguard installed and active, and the "
    "baseline valid?",
    5: "pytest collected no tests",
}


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
    ended = _ended(pytest_exit)
    unfinished = reports.why_unfinished(directory)
    try:
        run = json_reader.read_run(directory / "report.json")
    except LeakguardError as error:
        why = f"{ended}; no report.json of this run" if ended else str(error)
        also = f"; {unfinished}" if unfinished else ""
        real = reports.why_not_started(directory)
        return GateResult(ERROR, one_line(real or f"{why}{also}"), directory)
    if unfinished:  # whatever lies there, a test may have written it
        return GateResult(ERROR, one_line(unfinished), directory)
    verdict = run.judge()
    failed = Counter(finding.status for finding in failing(verdict, run.policy))
    result, why = _answer(verdict, pytest_exit)
    return GateResult(
        result,
        one_line(why),
        directory,
        new_leaks=failed[Status.NEW],
        grown_leaks=failed[Status.GROWN],
        inconclusive=verdict.summary[Outcome.INCONCLUSIVE],
        stale_entries=len(verdict.fixed),
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
