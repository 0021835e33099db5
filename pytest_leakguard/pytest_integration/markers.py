"""Checks what ``@pytest.mark.leakguard`` is given at collection; makes one of a test's markers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from pytest_leakguard.core import settings
from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.options import OPTIONS
from pytest_leakguard.pytest_integration import _other_plugins
from pytest_leakguard.pytest_integration.misspelt import meant_by

NAME = "leakguard"
_WRONG = "leakguard_wrong_markers"
_OPTIONS = {option.in_marker: option for option in OPTIONS if option.in_marker}
_OWN_KEYWORDS = ("skip", "iterations")
MOST_PROBLEMS = 20
"""Wrong markers that are shown; a module of parametrized tests may have thousands."""


class Markers:
    """Registered beside the session."""

    def __init__(self, config: pytest.Config) -> None:
        _other_plugins.declare_limit_leaks(config)
        self._of_workers: dict[str, None] = {}
        """What workers of pytest-xdist have found; the controller itself collects nothing."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Before -k and -m: what is wrong ends the session with exit status 4."""
        problems: dict[str, None] = {}
        for item in items:
            for problem in _merge(item):
                problems[problem] = None
        if not problems:
            return
        shown = list(problems)[:MOST_PROBLEMS]
        if not _other_plugins.is_xdist_worker(config):
            raise pytest.UsageError(*shown)
        _other_plugins.xdist_output(config)[_WRONG] = shown
        items.clear()  # an error here would be one of the worker, which would be started again

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Takes over what a worker has found."""
        output = _other_plugins.xdist_output_of(node) or {}
        self._of_workers.update(dict.fromkeys(output.get(_WRONG, ())))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """The same exit status as without workers."""
        if self._of_workers:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Says so where nobody else could."""
        for problem in self._of_workers:
            terminalreporter.write_line(f"ERROR: {problem}", red=True)


def _merge(item: pytest.Item) -> Iterator[str]:
    """Puts one marker in front of a test's own; yields what is wrong with them.

    The function's keywords win over the class's, and those over the module's. The limit of
    pytest-memray's marker is a budget where none is given.
    """
    yield from _misspelt(item)
    merged: dict[str, Any] = {}
    count = 0
    for node, mark in item.iter_markers_with_node(NAME):
        count += 1
        where = _place(cast("pytest.Item | pytest.Collector", node))
        if mark.args:
            yield (
                f"{where}: marker {NAME} takes keywords only, such as "
                f"@pytest.mark.{NAME}(budget='64 B'); given: {mark.args[0]!r}"
            )
        for key, value in mark.kwargs.items():
            if problem := _wrong(key, value):
                yield f"{where}: marker {NAME}: {problem}"
            merged.setdefault(key, value)
    limit = item.get_closest_marker(_other_plugins.LIMIT_LEAKS)
    if limit is not None and "budget" not in merged:
        try:
            merged["budget"] = _other_plugins.limit_of_memray(*limit.args, **limit.kwargs)
        except UsageProblem as problem:
            yield f"{_place(item)}: marker {_other_plugins.LIMIT_LEAKS}: {problem}"
    if count > 1 or limit is not None:
        item.add_marker(pytest.mark.leakguard(**merged), append=False)


def _misspelt(item: pytest.Item) -> Iterator[str]:
    """Markers of no plugin's that look like ours: they would tune and skip nothing."""
    for node, mark in item.iter_markers_with_node():
        if mark.name == NAME or meant_by(mark.name, [NAME]) != NAME:
            continue
        declared = [line.split(":")[0].split("(")[0] for line in item.config.getini("markers")]
        if mark.name not in declared:
            where = _place(cast("pytest.Item | pytest.Collector", node))
            yield f"{where}: no marker {mark.name!r}; did you mean {NAME!r}?"


def _wrong(key: str, value: Any) -> str:
    """What is wrong with one keyword; empty when nothing is."""
    if key == "skip":
        is_reason = isinstance(value, str) and value.strip()
        return "" if is_reason else f"skip={value!r} is no reason: write why, as a text"
    if key == "iterations":
        is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
        return "" if is_count else f"iterations={value!r} is no whole number above 0"
    option = _OPTIONS.get(key)
    if option is None:
        return f"no keyword {key!r}; known: {', '.join((*_OPTIONS, *_OWN_KEYWORDS))}"
    try:
        settings.value_of(option, value)
    except UsageProblem as problem:
        return f"{key}: {str(problem).removeprefix(f'{option.flag}: ')}"
    return ""


def _place(node: pytest.Item | pytest.Collector) -> str:
    """File and line of a test, a class or a module."""
    if isinstance(node, pytest.Item):
        path, line, _ = node.location
        return f"{path}:{(line or 0) + 1}"
    path, line = str(node.path), 1
    if isinstance(node, pytest.Class):
        try:
            line = inspect.getsourcelines(node.obj)[1]
        except (OSError, TypeError):
            line = 1
    root = node.config.rootpath
    where = Path(path)
    shown = where.relative_to(root) if where.is_relative_to(root) else where
    return f"{shown}:{line}"
