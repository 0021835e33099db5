"""The cases of another test runner (CTest, GoogleTest): one run and one check for each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.programs import Target
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.programs.check import check_program


@dataclass(frozen=True, slots=True)
class Case:
    """One test of the other runner."""

    name: str
    target: Target | None = None
    """``None`` where there is nothing to run, and ``problem`` or ``skipped`` tells why."""
    expected_exit: int | None = 0
    must_fail: bool = False
    """The runner counts it as passed when its program fails."""
    skip_exit: int | None = None
    """The exit status by which a program says that it has skipped itself."""
    is_alone: bool = False
    """Nothing else may run at its time."""
    after: frozenset[str] = frozenset()
    """Names of the cases that have to be over before."""
    skipped: str = ""
    problem: str = ""


def check_case(case: Case, settings: Settings, check_id: str, tool: str | None = None) -> Check:
    """One case under a tool; the runner's own idea of success is kept."""
    blank = Check(check_id, "program", tool or settings.tool)
    if case.skipped:
        return replace(blank, skipped=case.skipped)
    if case.target is None:
        return replace(blank, problems=(case.problem,))
    expected = None if case.must_fail or case.skip_exit is not None else case.expected_exit
    try:
        check = check_program(case.target, settings, check_id, tool, expected)
    except UsageProblem as problem:
        return replace(blank, problems=(str(problem),))
    return _with_end(check, case)


def _with_end(check: Check, case: Case) -> Check:
    """What the runner would say to the way the program ended."""
    if case.skip_exit is not None and check.exit.code == case.skip_exit and not check.findings:
        return replace(check, skipped=f"it ended with {case.skip_exit}, by which it skips itself")
    if case.must_fail:
        has_failed = check.exit.code != 0 or check.exit.signal is not None
        if has_failed or check.problems:
            return check
        why = "the program was expected to fail (WILL_FAIL) and ended with exit status 0"
        return replace(check, problems=(why,))
    return replace(check, expected_exit=case.expected_exit)


def check_cases(
    cases: Iterable[Case],
    settings: Settings,
    tool: str | None = None,
    parallel: int | None = None,
    prefix: str = "",
) -> tuple[Check, ...]:
    """Every case, in the order they came; as many at once as there are processors."""
    cases = tuple(cases)
    done: dict[str, Check] = {}
    with ThreadPoolExecutor(parallel or os.cpu_count() or 1) as pool:
        for wave in _waves(cases):
            checks = pool.map(
                lambda case: check_case(case, settings, f"{prefix}{case.name}", tool), wave
            )
            done |= {case.name: check for case, check in zip(wave, checks, strict=True)}
    return tuple(done[case.name] for case in cases)


def _waves(cases: tuple[Case, ...]) -> Iterator[list[Case]]:
    """Cases that may run at one time, each wave after those it waits for.

    Where cases wait for each other in a circle, they run in the order they came.
    """
    known = {case.name for case in cases}
    left, over = list(cases), set[str]()
    while left:
        ready = [case for case in left if case.after & known <= over] or left[:1]
        together = [case for case in ready if not case.is_alone]
        wave = together or ready[:1]
        yield wave
        over |= {case.name for case in wave}
        left = [case for case in left if case.name not in over]
