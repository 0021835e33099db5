"""Marks a report directory as unfinished until the run has been judged.

A test that calls ``os._exit(0)`` ends pytest with exit status 0 and without a word, and whatever
lies in the directory then was not written by us.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.reporters import write as reports


class Sentinel:
    """Registered beside the session of the process that writes the reports."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._pid = directory, os.getpid()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Before the first test can run."""
        reports.begin(self._directory)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, Any, Any]:
        """After everybody else has ended the session, in this process and in no child of it."""
        result = yield
        if os.getpid() == self._pid:
            reports.end(self._directory)
        return result
