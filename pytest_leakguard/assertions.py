"""The door for ``unittest`` and scripts: ``assert_no_leak`` and ``watch`` work without pytest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType

from pytest_leakguard.core import settings
from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.errors import InconclusiveCheck
from pytest_leakguard.counters._cpython import calling_frame
from pytest_leakguard.explain.code_owner import frames_of
from pytest_leakguard.reporters.terminal import failure_text
from pytest_leakguard.screening.loop import check_loop
from pytest_leakguard.screening.watch import Watches
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
    judged = _raise_for(check)
    if undecided := _undecided(check):
        raise InconclusiveCheck(f"{check.id}: {undecided}; give it more time with seconds=")
    return judged


@contextmanager
def watch(*, budget: int | str = 0) -> Iterator[None]:
    """Raises at the end of the block under ``with`` when it leaves something allocated.

    Counted is what the block itself has allocated and what is alive at its end: Python objects and
    native memory to the byte, descriptors, threads, child processes, temporary files, tasks.
    ``budget`` is what it may leave, in bytes or like ``"64 B"``. What a running call still has,
    what is bound to a name, what imports and caches keep is no leak; a block that is entered four
    times or more is judged by its entries alone. It cannot be used inside itself.

    Raises ``AssertionError`` with line, types and holders when it leaks; ``InconclusiveCheck`` when
    something could not be counted; ``UsageProblem`` for a budget that is no size. What the block
    raises is passed on.
    """
    budget_bytes = settings.size(str(budget))
    stack = frames_of(calling_frame().f_back)  # before it comes the context manager's own
    with _watches().watch(stack) as block:
        yield
    place = f"{block.stack[0].function} (line {block.stack[0].line})" if block.stack else "block"
    _raise_for(_watches().check(block, Check(place, "test", "tracker"), budget_bytes))


_made: list[Watches] = []


def _watches() -> Watches:
    """One for all blocks of this process, made with the first."""
    if not _made:
        _made.append(Watches())
    return _made[0]


def _raise_for(check: Check) -> Judged:
    policy = Policy()
    judged = judge_check(check, policy)
    text = failure_text(judged, policy, Path.cwd())
    if judged.outcome is Outcome.LEAK:
        raise AssertionError(text)
    if judged.outcome is not Outcome.CLEAN:
        raise InconclusiveCheck(f"{check.id}: {text}")
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
