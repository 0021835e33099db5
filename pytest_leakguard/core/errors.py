"""What can go wrong, by whose turn it is: the user's, the target's, the tool's, ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_leakguard.core.programs import Report


class LeakguardError(Exception):
    """Base of all errors this package raises on purpose."""


class UsageProblem(LeakguardError):
    """The user's turn: an option, the configuration or the baseline is wrong."""


class BaselineError(UsageProblem):
    """The baseline file cannot be used as it is; names file, line and what to do."""


class ToolMissing(LeakguardError):
    """The tool a check needs is not on this machine; says how to get it."""


class TargetNotStarted(LeakguardError):
    """The program to run cannot be started at all; names it and says why."""


class InconclusiveCheck(LeakguardError):
    """A check is inconclusive; says why, and what it would take."""


class MalformedReport(LeakguardError):
    """A tool's report is damaged; ``recovered`` holds what could still be read."""

    def __init__(self, message: str, recovered: Report | None = None) -> None:
        super().__init__(message)
        self.recovered = recovered


class UnknownFormat(MalformedReport):
    """The content is no report of any tool this package knows."""
