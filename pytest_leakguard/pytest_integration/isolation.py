"""Keeps pytest, coverage, other plugins and people from noticing that a test runs again."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from pytest_leakguard.counters.caches import RunnerCaches
from pytest_leakguard.pytest_integration import _other_plugins, _pytest_internals

RUNNER_CACHES = RunnerCaches(_pytest_internals.rewrite_caches, _other_plugins.empty_caches)
"""Caches of pytest and of hypothesis, which are no growth of a test."""


def is_of_hypothesis(item: pytest.Item) -> bool:
    """Whether hypothesis makes up the test's arguments, and fills its own caches with every run."""
    return _other_plugins.is_of_hypothesis(_function_of(item))


def _function_of(item: pytest.Item) -> Any:
    """The test's function, without making an instance of its class, as ``item.function`` does."""
    if isinstance(item.parent, pytest.Class):
        return getattr(item.parent.obj, getattr(item, "originalname", item.name), None)
    return getattr(item, "function", None)


@contextmanager
def undisturbed(item: pytest.Item) -> Iterator[None]:
    """While this lasts, runs of the test leave no trace with pytest and its plugins."""
    with ExitStack() as stack:
        # Subtests report while the test runs; plugins such as pytest-memray would measure every
        # run.
        stack.enter_context(silenced(item, "pytest_runtest_logreport"))
        for hook in ("pytest_pyfunc_call", "pytest_runtest_makereport"):
            is_measuring = _other_plugins.is_measuring
            stack.enter_context(_pytest_internals.hook_without(item.config, hook, is_measuring))
        stack.enter_context(_untraced())
        # tmp_path keeps a directory per run for three sessions; those of later runs go at once.
        stack.enter_context(_pytest_internals.removed_when_passed(item.config))
        stack.enter_context(_other_plugins.never_rerun(item))
        stack.enter_context(_other_plugins.few_examples(_function_of(item)))
        yield


@contextmanager
def silenced(item: pytest.Item, *hooks: str) -> Iterator[None]:
    """While this lasts, calls of these hooks reach nobody."""
    with ExitStack() as stack:
        for hook in hooks:
            without = _pytest_internals.hook_without(item.config, hook, lambda _: True)
            stack.enter_context(without)
        yield


@contextmanager
def _untraced() -> Iterator[None]:
    """Coverage counts what the first run covered; a debugger stops there and nowhere else."""
    of_this_thread, of_new_threads = sys.gettrace(), threading.gettrace()
    if of_this_thread is None and of_new_threads is None:
        yield
        return
    sys.settrace(None)
    threading.settrace(None)
    try:
        yield
    finally:
        threading.settrace(of_new_threads)
        sys.settrace(of_this_thread)
