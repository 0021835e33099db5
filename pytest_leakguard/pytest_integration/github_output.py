"""On GitHub, what tests and their programs print is shown where it commands nothing."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from typing import Any

import pytest

from pytest_leakguard.reporters import conclude, github


class Muzzle:
    """Registered beside the session.

    GitHub obeys no workflow command while output of tests is shown.
    """

    def __init__(self, config: pytest.Config, is_worker: bool) -> None:
        self._config, self._is_worker = config, is_worker
        self._token = ""
        """While GitHub is told to obey nothing."""

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self) -> None:
        """What is printed past pytest's capture commands nothing either."""
        if not self._is_worker and self._config.getoption("capture", "fd") != "fd":
            self._stop(self._config.pluginmanager.get_plugin("terminalreporter"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> Generator[None, Any, Any]:
        """What failing tests have written is shown here."""
        self._stop(terminalreporter)
        try:
            return (yield)
        finally:
            self.resume(terminalreporter)

    @pytest.hookimpl(trylast=True, specname="pytest_terminal_summary")
    def pytest_short_summary_follows(self, terminalreporter: pytest.TerminalReporter) -> None:
        """pytest's own list of failures comes last, and has messages of tests in it."""
        self._stop(terminalreporter)

    def _stop(self, terminalreporter: pytest.TerminalReporter | None) -> None:
        """From here on GitHub obeys no command, whoever prints it."""
        if terminalreporter is None or self._token or not conclude.is_github(os.environ):
            return
        self._token = secrets.token_hex(16)
        terminalreporter.ensure_newline()
        terminalreporter.write_line(github.stopped(self._token))

    def resume(self, terminalreporter: pytest.TerminalReporter) -> None:
        """GitHub obeys again, so that our annotations and those of others count."""
        if self._token:
            terminalreporter.ensure_newline()
            terminalreporter.write_line(github.resumed(self._token))
            self._token = ""
