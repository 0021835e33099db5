"""``pytest-leakguard ctest``: every test of CTest under a tool, one check for each."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.options import TOOLS
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.programs import ctest
from pytest_leakguard.programs.cases import check_cases


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The build directory, CTest's own way to choose tests, and how many run at once."""
    parser.add_argument("--test-dir", type=Path, default=Path(), metavar="DIR")
    parser.add_argument("--tool", default="auto", choices=TOOLS)
    parser.add_argument("-R", "--tests-regex", metavar="REGEX", help="run matching tests only")
    parser.add_argument("-E", "--exclude-regex", metavar="REGEX", help="leave matching tests out")
    parser.add_argument("-L", "--label-regex", metavar="REGEX", help="run tests with such labels")
    parser.add_argument("-C", "--build-config", metavar="CONFIG", help="of builds with several")
    parser.add_argument("-j", "--parallel", metavar="N", help="so many at once (default: CPUs)")


def checks(arguments: argparse.Namespace, settings: Settings) -> tuple[Check, ...]:
    """Runs what the arguments choose. Raises ``UsageProblem``."""
    chosen: list[str] = []
    for flag, value in (
        ("-R", arguments.tests_regex),
        ("-E", arguments.exclude_regex),
        ("-L", arguments.label_regex),
        ("-C", arguments.build_config),
    ):
        if value:
            chosen.extend((flag, value))
    cases = ctest.read_cases(arguments.test_dir, settings.timeout_s, chosen)
    return check_cases(cases, settings, arguments.tool, _parallel(arguments.parallel))


def _parallel(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _MOST:
        raise UsageProblem(f"--parallel: must be a number from 1 to {_MOST} (got {text!r})")
    return int(text)


_MOST = 1000
"""Programs at once; more would only wait for memory."""
