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
        self._refused = ""
        """Why pytest takes none of the files and folders that it was given."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Before the first test can run."""
        reports.begin(self._directory)

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, Any, Any]:
        """Keeps the reason where a file or folder that was asked for is not there."""
        try:
            return (yield)
        except pytest.UsageError as error:
            self._refused = ", ".join(map(str, error.args))
            raise

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, Any, Any]:
        """After everybody else has ended the session, in this process and in no child of it."""
        result = yield
        if os.getpid() == self._pid:
            reports.end(self._directory)
            if self._refused:
                reports.begin(self._directory, f"{reports.NOT_STARTED}{self._refused}")
        return result
