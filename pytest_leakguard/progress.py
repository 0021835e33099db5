"""What takes long, told while it does: which test, how many runs, why. Nothing with ``-q``, nothing in workers."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pytest_leakguard.reporters.words import one_line

PATIENCE_S = 2.0
"""Nothing is said of what is over sooner."""
EVERY_S = 15.0
"""Between two lines of one confirmation."""


class Progress:
    """One line when something begins to take long, then one now and then."""

    def __init__(self, reporter: Any) -> None:
        self._reporter = reporter
        self._what = ""
        self._due = 0.0

    @classmethod
    def of(cls, config: pytest.Config) -> Progress:
        """For this session; silent where nobody reads it."""
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        is_quiet = reporter is None or reporter.verbosity < 0 or hasattr(config, "workerinput")
        return cls(None if is_quiet else reporter)

    def begin(self, what: str) -> None:
        """From now on this is what takes the time."""
        self._what, self._due = what, time.monotonic() + PATIENCE_S

    def runs(self, count: int) -> None:
        """So many runs by now."""
        if self._reporter is None or not self._what or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + EVERY_S
        self._reporter.ensure_newline()
        self._reporter.write_line(f"leakguard: {one_line(self._what)}, {count:,} runs so far")

    def done(self) -> None:
        """Nothing takes time any more."""
        self._what = ""
