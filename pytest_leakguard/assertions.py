"""The door for ``unittest`` and scripts: ``assert_no_leak`` works without pytest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType

from pytest_leakguard.core import settings
from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.errors import InconclusiveCheck
from pytest_leakguard.reporters.terminal import failure_text
from pytest_leakguard.screening.loop import check_loop
from pytest_leakguard.verdict import Judged, Policy, judge_check

_FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType)
"""Types whose names are read from them; anything else is named by its type, which runs no code."""


def assert_no_leak(
    work: Callable[[], object],
    iterations: int | None = None,
    *,
    budget: int | str = 0,
    seconds: float = settings.Settings().confirm_s,
) -> Judged:
    """Calls ``work`` repeatedly and raises when something of it is left behind call after call.

    ``iterations`` calls without growth are clean (default 1,500); a callable that grows is called
    on until it is proved a leak or levels off, for at most ``seconds`` (default 10). ``budget`` is
    growth per call that is no leak yet, in bytes or like ``"64 B"``. A coroutine function is run on
    one event loop for all calls. Returns the check.

    Raises ``AssertionError`` with line, types and holders when it leaks; ``InconclusiveCheck`` when
    that cannot be decided; ``UsageProblem`` for a budget that is no size. What ``work`` raises is
    passed on.
    """
    check = check_loop(
        work,
        _name(work),
        iterations=iterations,
        budget_bytes=settings.size(str(budget)),
        seconds=seconds,
    )
    policy = Policy()
    judged = judge_check(check, policy)
    text = failure_text(judged, policy, Path.cwd())
    if judged.outcome is Outcome.LEAK:
        raise AssertionError(text)
    if judged.outcome is not Outcome.CLEAN:
        raise InconclusiveCheck(f"{check.id}: {text}")
    if undecided := _undecided(check):
        raise InconclusiveCheck(f"{check.id}: {undecided}; give it more time with seconds=")
    return judged


def _name(work: Callable[[], object]) -> str:
    for function_type in _FUNCTIONS:
        if type(work) is function_type:
            return f"{work.__module__}.{work.__qualname__}"
    return type(work).__qualname__


def _undecided(check: Check) -> str:
    """What grew without proof. In a suite that is a note; here nobody would read it."""
    if all(growth.shape != "undecided" for growth in check.growth):
        return ""
    return "; ".join(check.notes)
