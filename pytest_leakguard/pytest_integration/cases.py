"""``leakguard.ctest(...)`` and ``leakguard.gtest(...)``: a test function with an item per case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_leakguard.core.errors import LeakguardError
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.counters._cpython import calling_frame
from pytest_leakguard.programs import ctest as of_ctest
from pytest_leakguard.programs import gtest as of_gtest
from pytest_leakguard.programs.cases import Case

if TYPE_CHECKING:
    from pytest_leakguard.pytest_integration.fixture import Leakguard

Test = Callable[["Leakguard", Case], None]


def ctest(directory: str = "build", *arguments: str, tool: str | None = None) -> Test:
    """A test with one item per test that CTest knows in ``directory``.

    ``arguments`` are CTest's own, such as ``"-R", "codec"``. Write
    ``test_native = leakguard.ctest("build")`` at the top level of a test module, after
    ``import pytest_leakguard as leakguard``. The directory is relative to that module, or to where
    pytest was started.
    """
    place = _placed(directory)
    return _test(lambda: of_ctest.read_cases(place, Settings().timeout_s, arguments), tool)


def gtest(program: str, filter: str = "", *, tool: str | None = None) -> Test:
    """A test with one item per case of a GoogleTest program, each in a process of its own."""
    place = str(_placed(program))
    return _test(lambda: of_gtest.read_cases(place, Settings().timeout_s, filter), tool)


def _placed(name: str) -> Path:
    """``name`` beside the module that calls, where it is there; else from where we are."""
    caller = calling_frame().f_back
    module = caller.f_globals.get("__file__") if caller is not None else None
    beside = Path(module).parent / name if module else Path(name)
    return beside if beside.exists() else Path(name).absolute()


def _test(read: Callable[[], Sequence[Case]], tool: str | None) -> Test:
    try:
        cases = read()
    except (LeakguardError, OSError) as error:
        # Not at collection: other tests of the module have nothing to do with it.
        cases = (Case("build", problem=str(error)),)

    @pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])
    def test(leakguard: Leakguard, case: Case) -> None:
        leakguard.case(case, tool)

    return test
