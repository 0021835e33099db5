"""Proves that descriptors, threads, children and tasks are counted; says which are not and why."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from pytest_leakguard.counters import _cpython
from pytest_leakguard.counters.reader import (
    CHILDREN,
    DESCRIPTORS,
    TASKS,
    THREADS,
    children,
    descriptor_count,
    reason_of,
    thread_count,
)


def find_uncounted() -> dict[int, str]:
    """By counter why it does not see; empty where all do. Takes less than a millisecond.

    Opens a pipe and starts a thread. No process is started: that may be noticed. asyncio is asked
    only where somebody has imported it.
    """
    found = {}
    for counter, check in _CHECKS:
        reason = _reason(check)
        if reason:
            found[counter] = reason
    return found


def _reason(check: Callable[[], str]) -> str:
    try:
        return check()
    except OSError as error:
        return reason_of(error)
    except RuntimeError as error:  # no thread can be started
        return str(error)


def _descriptors() -> str:
    before = descriptor_count()
    ends = os.pipe()
    try:
        risen = descriptor_count() - before
    finally:
        for end in ends:
            os.close(end)
    return "" if risen == len(ends) else f"a pipe has {len(ends)}, {risen} were seen"


def _threads() -> str:
    before, end = thread_count(), threading.Event()
    thread = threading.Thread(target=end.wait, name="pytest-leakguard canary", daemon=True)
    thread.start()
    try:
        risen = thread_count() - before
    finally:
        end.set()
        thread.join()
    return "" if risen == 1 else f"one was started, {risen} were seen"


def _children() -> str:
    children()
    return ""


def _tasks() -> str:
    return _cpython.task_probe().look() if _cpython.has_asyncio() else ""


_CHECKS = (
    (DESCRIPTORS, _descriptors),
    (THREADS, _threads),
    (CHILDREN, _children),
    (TASKS, _tasks),
)
