"""What takes long, shown while it does: which test, how many runs, why.

Nothing with ``-q``, nothing in workers.
"""

from __future__ import annotations

import pytest

from pytest_leakguard.core.clock import Clock
from pytest_leakguard.core.text import one_line
from pytest_leakguard.pytest_integration import _other_plugins, _pytest_internals

FIRST_S = 2.0
"""How long something takes before it is shown on a terminal, in seconds: most is over sooner."""
REWRITE_S = 0.2
"""Between two texts on a terminal, in seconds; a reader follows no more, and each costs some system
calls."""
EVERY_S = 15.0
"""Until the first line and between two where nobody can rewrite one, in seconds: a CI log keeps all
of them."""


class Progress:
    """One line about what takes long, for screening, loops and services alike.

    There is one of it in a session.

    Call it with a text as often as there is news; it decides whether it is time to show it. Call it
    with an empty text when the thing is over, which takes the line away again. The text may be
    shown from within a test, past pytest's capturing.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._is_quiet = config.get_verbosity() < 0 or _other_plugins.is_xdist_worker(config)
        self._due_s: float | None = None
        """When the next text may be shown; ``None`` while nothing is under way."""
        self._is_shown = False

    def __call__(self, text: str) -> None:
        """Shows ``text`` when it is time; an empty one says that the thing is over."""
        reporter = self._reporter()
        if reporter is None:
            return
        if not text:
            self._end(reporter)
            return
        now_s = Clock.elapsed_s()
        if self._due_s is None:
            self._due_s = now_s + (FIRST_S if reporter.isatty else EVERY_S)
        if now_s < self._due_s:
            return
        self._due_s = now_s + (REWRITE_S if reporter.isatty else EVERY_S)
        self._show(reporter, f"leakguard: {one_line(text)}")

    def _reporter(self) -> pytest.TerminalReporter | None:
        """Looked up when needed, since pytest registers it after most plugins are configured."""
        if self._is_quiet:
            return None
        return self._config.pluginmanager.get_plugin("terminalreporter")

    def _show(self, reporter: pytest.TerminalReporter, line: str) -> None:
        with _pytest_internals.uncaptured(self._config):
            if not self._is_shown:
                reporter.ensure_newline()
            if reporter.isatty:
                width = _pytest_internals.terminal_columns(reporter) - 1
                reporter.rewrite(line[:width], erase=True)
            else:
                reporter.write_line(line)
            reporter.flush()
        self._is_shown = True

    def _end(self, reporter: pytest.TerminalReporter) -> None:
        if self._is_shown and reporter.isatty:
            with _pytest_internals.uncaptured(self._config):
                reporter.rewrite("", erase=True)
                reporter.rewrite("")  # what comes next begins at the left
                reporter.flush()
        self._is_shown, self._due_s = False, None
