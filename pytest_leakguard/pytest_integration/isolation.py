"""Keeps pytest, coverage, other plugins and people from noticing that a test runs again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from pytest_leakguard.counters.caches import RunnerCaches
from pytest_leakguard.pytest_integration import _other_plugins, _pytest_internals
from pytest_leakguard.pytest_integration.observers import unobserved
from pytest_leakguard.pytest_integration.own_hooks import watchers_left_out

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
        # Subtests report while the test runs.
        stack.enter_context(silenced(item, "pytest_runtest_logreport"))
        stack.enter_context(watchers_left_out(item.config))
        attachments = _other_plugins.attachment_hooks()
        if attachments is not None:
            nobody = _pytest_internals.hooks_without(attachments, lambda *_: True)
            stack.enter_context(nobody)
        stack.enter_context(unobserved())
        # tmp_path keeps a directory per run for three sessions; those of later runs go at once.
        stack.enter_context(_pytest_internals.removed_when_passed(item.config))
        stack.enter_context(_other_plugins.never_rerun(item))
        stack.enter_context(_other_plugins.not_benchmarked(item.config))
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
