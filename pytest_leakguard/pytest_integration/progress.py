"""What takes long, told while it does: which test, how many runs, why. Nothing with ``-q``, nothing in workers."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pytest_leakguard.core.text import one_line

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


EVERY_S = 30.0
"""Between two lines where nobody can rewrite them, as in a CI log."""
FIRST_S = 1.0
"""A loop that is over sooner needs no progress on a terminal."""


class Heartbeat:
    """Writes through pytest's terminal reporter; says nothing with ``-q`` and in xdist's workers."""

    def __init__(self, config: pytest.Config) -> None:
        is_quiet = config.get_verbosity() < 0 or hasattr(config, "workerinput")
        self._reporter = None if is_quiet else config.pluginmanager.get_plugin("terminalreporter")
        self._can_rewrite = bool(self._reporter and self._reporter.isatty)
        self._next_s = time.monotonic() + (FIRST_S if self._can_rewrite else EVERY_S)
        self._is_shown = False

    def __call__(self, text: str) -> None:
        """Show ``text`` when it is time; nothing wipes away what was shown."""
        if self._reporter is None or time.monotonic() < self._next_s:
            return
        if not text:
            if self._is_shown and self._can_rewrite:
                self._reporter.rewrite("", erase=True)
            self._is_shown = False
            return
        if not self._is_shown:
            self._reporter.ensure_newline()
        self._is_shown = True
        if self._can_rewrite:
            width = max(20, self._reporter._tw.fullwidth - 1)
            self._reporter.rewrite(f"leakguard: {text}"[:width], erase=True)
        else:
            self._next_s = time.monotonic() + EVERY_S
            self._reporter.write_line(f"leakguard: {text}")
        self._reporter.flush()
