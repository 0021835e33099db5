"""What must not notice that a test runs again: reports, coverage, other measuring plugins, files kept for people."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

_MEASURING = ("pytest_memray", "memray_manager")
"""Plugins that measure memory themselves, by module and by name: only the test's own run is theirs."""
_RERUNS = "execution_count"
EXAMPLES = 10
"""Of a hypothesis test in each later run."""


def is_of_hypothesis(item: pytest.Item) -> bool:
    """Whether hypothesis makes up the test's arguments, and fills its own caches with every run."""
    return hasattr(_function_of(item), "_hypothesis_internal_use_settings")


def _function_of(item: pytest.Item) -> Any:
    """The test's function, without making an instance of its class, as ``item.function`` does."""
    if isinstance(item.parent, pytest.Class):
        return getattr(item.parent.obj, getattr(item, "originalname", item.name), None)
    return getattr(item, "function", None)


@contextmanager
def undisturbed(item: pytest.Item) -> Iterator[None]:
    """While this lasts, runs of the test leave no trace with pytest and its plugins."""
    with ExitStack() as stack:
        for enter in (_silent, _untraced, _tidy, _never_rerun, _tolerant_hypothesis):
            stack.enter_context(enter(item))
        yield


@contextmanager
def silenced(item: pytest.Item, *hooks: str) -> Iterator[None]:
    """Calls of these hooks reach nobody; proxies of a directory read the same lists."""
    callers: list[Any] = [getattr(item.config.hook, hook) for hook in hooks]
    saved = [list(caller._hookimpls) for caller in callers]
    for caller in callers:
        caller._hookimpls[:] = []
    try:
        yield
    finally:
        for caller, implementations in zip(callers, saved, strict=True):
            caller._hookimpls[:] = implementations


@contextmanager
def _silent(item: pytest.Item) -> Iterator[None]:
    """Subtests report while the test runs; memray would track every run."""
    with silenced(item, "pytest_runtest_logreport"), ExitStack() as stack:
        for hook in ("pytest_pyfunc_call", "pytest_runtest_makereport"):
            caller: Any = getattr(item.config.hook, hook)
            saved = list(caller._hookimpls)
            left = [one for one in saved if not _is_measuring(one)]
            if len(left) < len(saved):
                caller._hookimpls[:] = left
                stack.callback(caller._hookimpls.__setitem__, slice(None), saved)
        yield


def _is_measuring(implementation: Any) -> bool:
    module = str(getattr(implementation.function, "__module__", ""))
    return implementation.plugin_name in _MEASURING or module.startswith(_MEASURING)


@contextmanager
def _untraced(item: pytest.Item) -> Iterator[None]:
    """Coverage counts what the test's own run covered; a debugger stops there and nowhere else."""
    ours, threads = sys.gettrace(), threading.gettrace()
    if ours is None and threads is None:
        yield
        return
    sys.settrace(None)
    threading.settrace(None)
    try:
        yield
    finally:
        threading.settrace(threads)
        sys.settrace(ours)


@contextmanager
def _tidy(item: pytest.Item) -> Iterator[None]:
    """``tmp_path`` keeps a directory per run for three sessions; those of later runs go at once."""
    factory: Any = getattr(item.config, "_tmp_path_factory", None)
    policy = getattr(factory, "_retention_policy", None)
    if policy != "all":
        yield
        return
    factory._retention_policy = "failed"
    try:
        yield
    finally:
        factory._retention_policy = policy


@contextmanager
def _never_rerun(item: pytest.Item) -> Iterator[None]:
    """pytest-rerunfailures sets larger fixtures aside when a run fails that it means to repeat."""
    attempts = item.__dict__.get(_RERUNS)
    if attempts is None:
        yield
        return
    item.__dict__[_RERUNS] = sys.maxsize
    try:
        yield
    finally:
        item.__dict__[_RERUNS] = attempts


@contextmanager
def _tolerant_hypothesis(item: pytest.Item) -> Iterator[None]:
    """hypothesis objects to a second instance of the test's class, and to an example that takes long once.

    Ever new examples would fill its own caches with every run; a few that are always the same show a leak as well.
    """
    function = _function_of(item)
    settings = getattr(function, "_hypothesis_internal_use_settings", None)
    if settings is None:
        yield
        return
    import hypothesis

    allowed = [*settings.suppress_health_check, hypothesis.HealthCheck.differing_executors]
    function._hypothesis_internal_use_settings = hypothesis.settings(
        settings,
        suppress_health_check=allowed,
        deadline=None,
        database=None,
        derandomize=True,
        max_examples=min(settings.max_examples, EXAMPLES),
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )
    try:
        yield
    finally:
        function._hypothesis_internal_use_settings = settings
